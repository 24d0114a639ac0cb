"""The endpoint of Tencent Cloud API 3.0: finds service and action, authenticates, runs, answers.

Answers are HTTP 200 always: ``{"Response": {..., "RequestId": "..."}}``, or with an ``Error`` of ``Code`` and
``Message``.
"""

import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Generic, TypeVar

import msgspec
import structlog

from penstock.api.tencent import codes, schema, signature
from penstock.api.tencent.calls import BodyLost, Call, Common, ReadBody, call_of
from penstock.api.tencent.codes import ApiError
from penstock.api.tencent.signature import Head
from penstock.errors import Refused, StoreError
from penstock.tasks.model import AccessKey
from penstock.tasks.ports import Clock, Store

log = structlog.get_logger()

R = TypeVar("R", bound=schema.Request)


class Caller(msgspec.Struct, frozen=True, kw_only=True):
    """Who calls, and which region the call names."""

    account_id: int
    region: str


class Action(Generic[R]):
    """One action: the type of its parameters, and the function that carries it out."""

    def __init__(self, request: type[R], run: Callable[[Caller, R], Awaitable[schema.Answer]]) -> None:
        self.request = request
        self.run = run


class Service(msgspec.Struct, frozen=True, kw_only=True):
    """One version of one product's API."""

    name: str
    version: str
    #: Every call must name one of these.
    regions: frozenset[str]
    #: By the vendor's names.
    actions: Mapping[str, Action[Any]]
    #: For each kind of refusal its code, and what it means in Chinese.
    refusals: Mapping[type[Refused], tuple[str, str]]

    def check_region(self, region: str) -> None:
        """Raise `ApiError`."""
        if not region:
            raise codes.parameter_missing("Region")
        if region not in self.regions:
            raise codes.region_unsupported()

    def refusal(self, error: Refused) -> ApiError:
        code, chinese = self.refusals[type(error)]
        return ApiError(code, error.message, f"{chinese}: {error.message}")


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """What goes back, and what the access log says about it."""

    body: bytes
    request_id: str
    #: As the caller gave it, but short; empty: not known.
    action: str
    #: None: not authenticated.
    account_id: int | None
    #: Empty: the call succeeded.
    code: str


class Exchange(msgspec.Struct, kw_only=True):
    """What is known of a call so far."""

    request_id: str
    language: str
    action: str = ""
    account_id: int | None = None

    def success(self, answer: schema.Answer) -> Reply:
        answer.request_id = self.request_id
        return self._reply(answer, "")

    def failure(self, error: ApiError) -> Reply:
        words = {"Code": error.code, "Message": error.message(self.language)}
        return self._reply({"Error": words, "RequestId": self.request_id}, error.code)

    def _reply(self, response: object, code: str) -> Reply:
        return Reply(
            body=msgspec.json.encode({"Response": response}),
            request_id=self.request_id,
            action=self.action,
            account_id=self.account_id,
            code=code,
        )


class Tencent:
    """All Tencent services behind one address."""

    def __init__(self, services: Sequence[Service], *, store: Store, clock: Clock) -> None:
        self._services = {service.version: service for service in services}
        self._store = store
        self._clock = clock

    async def answer(self, head: Head, read: ReadBody) -> Reply:
        """Carry out the call that a request makes. Raise `BodyLost`, and nothing else."""
        exchange = Exchange(request_id=str(uuid.uuid4()), language=head.header("x-tc-language"))
        try:
            return exchange.success(await self._carry_out(head, read, exchange))
        except ApiError as error:
            return exchange.failure(error)
        except BodyLost:
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
        key = await self._authenticate(call, service)
        exchange.account_id = key.account_id
        service.check_region(call.common.region)
        request = await call.parameters(action.request)
        caller = Caller(account_id=key.account_id, region=call.common.region)
        try:
            return await action.run(caller, request)
        except Refused as error:
            raise service.refusal(error) from error

    def _action(self, common: Common) -> tuple[Service, Action[Any]]:
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

    async def _authenticate(self, call: Call, service: Service) -> AccessKey:
        """Cheapest first: a body is read only for a key that exists. Raise `ApiError`."""
        signature.check_time(call.common.timestamp_s(), self._clock() / 1000)
        if call.common.token:
            raise codes.token_unsupported()
        secret_id = call.secret_id()
        key = await self._store.read(lambda tx: tx.key(secret_id))
        if not key or not key.enabled:
            raise codes.secret_id_not_found()
        await call.verify(service=service.name, secret_key=key.secret_key)
        return key
