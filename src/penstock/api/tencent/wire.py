"""The endpoint of Tencent Cloud API 3.0: finds service and action, authenticates, runs, answers.

Answers are HTTP 200 always: ``{"Response": {..., "RequestId": "..."}}``, or with an ``Error`` of ``Code`` and
``Message``.
"""

import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Generic, TypeVar

import msgspec
import structlog

from penstock.api.limits import Rates, TooManyWaiting, TooOften, Turns
from penstock.api.tencent import codes, schema, signature
from penstock.api.tencent.calls import BodyLost, Call, Common, ReadBody, call_of
from penstock.api.tencent.codes import ApiError
from penstock.api.tencent.signature import Head
from penstock.errors import Refused, ServiceNotActive, StoreError
from penstock.tasks.model import AccessKey, Account, ServiceName, ServiceState
from penstock.tasks.ports import Clock, Store, Tx

log = structlog.get_logger()

R = TypeVar("R", bound=schema.Request)
T = TypeVar("T")

#: Bytes of a body that is read before anything is known of its caller.
SMALL_BODY = 64 * 1024


class Caller(msgspec.Struct, frozen=True, kw_only=True):
    """Who calls, and which region the call names."""

    account: Account
    region: str

    @property
    def account_id(self) -> int:
        return self.account.id


class Change(Generic[R]):
    """An action that may change something: the type of its parameters, and the function that carries it out."""

    def __init__(
        self, request: type[R], run: Callable[[Caller, R], Awaitable[schema.Answer]], *, per_second: int
    ) -> None:
        """`per_second`: how often an account may call it, by the vendor's pages."""
        self.request = request
        self.run = run
        self.per_second = per_second


class Look(Generic[R, T]):
    """An action that only looks, in two steps: what it reads of the store, and what it makes of that.

    It reads in the same transaction that tells who calls, so that a call costs one visit to the store.
    """

    def __init__(
        self,
        request: type[R],
        read: Callable[[Tx, Caller, R], T],
        answer: Callable[[R, T], schema.Answer],
        *,
        per_second: int,
    ) -> None:
        """`per_second` as in `Change`."""
        self.request = request
        self.read = read
        self.answer = answer
        self.per_second = per_second


Action = Change[Any] | Look[Any, Any]


class Service(msgspec.Struct, frozen=True, kw_only=True):
    """One version of one product's API."""

    name: str
    version: str
    #: Every call must name one of these.
    regions: frozenset[str]
    #: By the vendor's names.
    actions: Mapping[str, Action]
    #: For each kind of refusal its code, and what it means in Chinese.
    refusals: Mapping[type[Refused], tuple[str, str]]
    #: The account's service that it belongs to; while that is not active, each call is answered this.
    belongs_to: ServiceName
    #: Code, English and Chinese.
    states: Mapping[ServiceState, tuple[str, str, str]]

    def check_region(self, region: str) -> None:
        """Raise `ApiError`."""
        if not region:
            raise codes.parameter_missing("Region")
        if region not in self.regions:
            raise codes.region_unsupported()

    def check_state(self, account: Account) -> None:
        """Raise `ApiError`."""
        state = account.service(self.belongs_to)
        if state is not ServiceState.ACTIVE:
            raise ApiError(*self.states[state])

    def refusal(self, error: Refused) -> ApiError:
        if isinstance(error, ServiceNotActive):
            return ApiError(*self.states[ServiceState(error.state)])
        code, chinese = self.refusals[type(error)]
        return ApiError(code, error.message, f"{chinese}: {error.message}")


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """What goes back, and what log and metrics say about it."""

    body: bytes
    request_id: str
    #: Empty: there is none of that name.
    service: str
    #: As the caller gave it, but short; empty: not known.
    action: str
    #: None: not authenticated.
    account_id: int | None
    #: Empty: the call succeeded.
    code: str
    #: What refused it if its caller calls too much: ``rate`` or ``queue``.
    limit: str


class Exchange(msgspec.Struct, kw_only=True):
    """What is known of a call so far."""

    request_id: str
    language: str
    service: str = ""
    action: str = ""
    account_id: int | None = None
    limit: str = ""

    def success(self, answer: schema.Answer) -> Reply:
        answer.request_id = self.request_id
        return self._reply(answer, "")

    def failure(self, error: ApiError) -> Reply:
        words = {"Code": error.code, "Message": error.message(self.language)}
        return self._reply({"Error": words, "RequestId": self.request_id}, error.code)

    def _reply(self, response: object, code: str) -> Reply:
        return Reply(
            body=_encode({"Response": response}),
            request_id=self.request_id,
            service=self.service,
            action=self.action,
            account_id=self.account_id,
            code=code,
            limit=self.limit,
        )


_encode = msgspec.json.Encoder().encode


class Tencent:
    """All Tencent services behind one address."""

    def __init__(self, services: Sequence[Service], *, store: Store, clock: Clock, rates: Rates) -> None:
        self._services = {service.version: service for service in services}
        self._store = store
        self._clock = clock
        self._rates = rates
        self._turns = Turns()

    async def answer(self, head: Head, read: ReadBody) -> Reply:
        """Carry out the call that a request makes. Raise `BodyLost`, and nothing else."""
        exchange = Exchange(request_id=str(uuid.uuid4()), language=head.header("x-tc-language"))
        try:
            return exchange.success(await self._carry_out(head, read, exchange))
        except ApiError as error:
            return exchange.failure(error)
        except BodyLost:
            log.info("api.body_lost", request_id=exchange.request_id, action=exchange.action, client=head.client)
            raise
        except StoreError as error:
            log.warning("api.store_failed", request_id=exchange.request_id, error=error.message)
            return exchange.failure(codes.unavailable())
        except Exception:
            log.exception("api.failed", request_id=exchange.request_id, action=exchange.action)
            return exchange.failure(codes.internal_error())

    async def _carry_out(self, head: Head, read: ReadBody, exchange: Exchange) -> schema.Answer:
        call = await call_of(head, read)
        exchange.language = call.common.language
        exchange.action = codes.shown(call.common.action)
        service, action = self._action(call.common)
        exchange.service = service.name
        signature.check_time(call.common.timestamp_s(), self._clock() / 1000)
        if call.common.token:
            raise codes.token_unsupported()
        secret_id = call.secret_id()
        if head.announced > SMALL_BODY:
            await self._store.read(lambda tx: self._key(tx, secret_id))
        await call.arrive()
        try:
            # A caller that has proven nothing yet can take turns of its own address only.
            async with self._turns.turn((secret_id, head.client)):
                return await self._in_turn(call, service, action, exchange)
        except TooManyWaiting:
            exchange.limit = "queue"
            raise codes.too_many_waiting() from None
        except Refused as error:
            raise service.refusal(error) from error

    async def _in_turn(self, call: Call, service: Service, action: Action, exchange: Exchange) -> schema.Answer:
        def admitted(tx: Tx) -> tuple[Caller, Any]:
            caller = self._admitted(tx, call, service, exchange)
            self._count(caller, action, exchange)
            return caller, call.parameters(action.request)

        if isinstance(action, Look):
            request, found = await self._store.read(lambda tx: _looked(tx, action, *admitted(tx)))
            return action.answer(request, found)
        caller, request = await self._store.read(admitted)
        return await action.run(caller, request)

    def _action(self, common: Common) -> tuple[Service, Action]:
        for name, value in (("Action", common.action), ("Version", common.version)):
            if not value:
                raise codes.parameter_missing(name)
        service = self._services.get(common.version)
        if not service:
            raise codes.version_not_found(common.version)
        action = service.actions.get(common.action)
        if not action:
            raise codes.action_not_found(common.action, service.name, service.version)
        return service, action

    def _admitted(self, tx: Tx, call: Call, service: Service, exchange: Exchange) -> Caller:
        """Who calls, if the call is theirs and they may call this service. Raise `ApiError`."""
        key = self._key(tx, call.secret_id())
        call.verify(service=service.name, secret_key=key.secret_key)
        exchange.account_id = key.account_id
        account = tx.account(key.account_id)
        if not account:
            raise codes.secret_id_not_found()
        service.check_state(account)
        service.check_region(call.common.region)
        return Caller(account=account, region=call.common.region)

    def _key(self, tx: Tx, secret_id: str) -> AccessKey:
        """Raise `ApiError`."""
        key = tx.key(secret_id)
        if not key or not key.enabled:
            raise codes.secret_id_not_found()
        return key

    def _count(self, caller: Caller, action: Action, exchange: Exchange) -> None:
        """Raise `ApiError` if that is once too often."""
        try:
            self._rates.take((caller.account_id, action), action.per_second)
        except TooOften as error:
            exchange.limit = "rate"
            raise codes.called_too_often(error.calls, error.limit) from None


def _looked(tx: Tx, action: Look[R, T], caller: Caller, request: R) -> tuple[R, T]:
    return request, action.read(tx, caller, request)
