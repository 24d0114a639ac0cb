"""The endpoint of Alibaba Cloud's RPC style: finds service and action, authenticates, runs, answers.

Answers are HTTP 200 and the action's fields with a ``RequestId``; errors have a status of their own, and ``Code``,
``Message``, ``RequestId``, ``HostId`` and ``Recommend``.
"""

import uuid
from collections.abc import Mapping, Sequence

import msgspec

from penstock.api.aliyun import codes, envelope, signature
from penstock.api.aliyun.calls import BODY_LIMIT, FORM, call_of, in_form, recognises
from penstock.api.aliyun.codes import ApiError
from penstock.api.aliyun.nonces import Nonces
from penstock.api.door import Action, Door, UnknownKey
from penstock.api.exchange import replied
from penstock.api.http import BodyTooLarge, Head, ReadBody, Reply, media_type
from penstock.api.limits import TooManyWaiting, TooOften
from penstock.api.schema import Answer, shown
from penstock.errors import Refused, ServiceNotActive
from penstock.tasks.model import AccessKey, Account, ServiceName, ServiceState
from penstock.tasks.ports import Clock

#: Where the vendor explains a code.
RECOMMEND = "https://api.aliyun.com/troubleshoot?q={code}&product={product}"


class Service(msgspec.Struct, frozen=True, kw_only=True):
    """One version of one product's API."""

    product: str
    version: str
    #: By the vendor's names.
    actions: Mapping[str, Action]
    #: For each kind of refusal its HTTP status and its code.
    refusals: Mapping[type[Refused], tuple[int, str]]
    #: The account's service that it belongs to; while that is not active, each call is answered this.
    belongs_to: ServiceName
    #: HTTP status, code and message.
    states: Mapping[ServiceState, tuple[int, str, str]]

    def check_state(self, account: Account) -> None:
        """Raise `ApiError`."""
        state = account.service(self.belongs_to)
        if state is not ServiceState.ACTIVE:
            raise ApiError(*self.states[state])

    def refusal(self, error: Refused) -> ApiError:
        if isinstance(error, ServiceNotActive):
            return ApiError(*self.states[ServiceState(error.state)])
        status, code = self.refusals[type(error)]
        return ApiError(status, code, error.message)


class Exchange(msgspec.Struct, kw_only=True):
    """What is known of a call so far."""

    request_id: str
    #: As the caller named us.
    host: str
    kind: bytes = envelope.JSON
    #: JSON lists as the SDKs read them.
    nested: bool
    service: Service | None = None
    action: str = ""
    account_id: int | None = None
    limit: str = ""

    def success(self, answer: Answer) -> Reply:
        answer.request_id = self.request_id
        return self._reply(200, f"{self.action}Response", msgspec.to_builtins(answer), "")

    def failure(self, error: ApiError) -> Reply:
        product = self.service.product if self.service else ""
        words = {
            "RequestId": self.request_id,
            "HostId": self.host,
            "Code": error.code,
            "Message": error.message,
            "Recommend": RECOMMEND.format(code=error.code, product=product),
        }
        return self._reply(error.status, "Error", words, error.code)

    def _reply(self, status: int, root: str, tree: Mapping[str, object], code: str) -> Reply:
        return Reply(
            body=envelope.written(root, tree, self.kind, nested=self.nested),
            status=status,
            kind=self.kind,
            request_id=self.request_id,
            service=self.service.belongs_to.value if self.service else "",
            action=self.action,
            account_id=self.account_id,
            code=code,
            limit=self.limit,
        )


class Aliyun:
    """All Alibaba Cloud services behind one address."""

    def __init__(
        self, services: Sequence[Service], *, door: Door, clock: Clock, nonces: Nonces, nested: bool = True
    ) -> None:
        """`nested`: lists in JSON as the SDKs read them; else as the pages show them."""
        self._services = {service.version: service for service in services}
        self._door = door
        self._clock = clock
        self._nested = nested
        self._nonces = nonces

    async def recognises(self, head: Head, read: ReadBody) -> bool:
        """Whether a request is, or tries to be, such a call: what head and query do not say, a form does.

        Raise `BodyLost`.
        """
        return recognises(head) or await in_form(head, read)

    async def answer(self, head: Head, read: ReadBody) -> Reply:
        """Carry out the call that a request makes. Raise `BodyLost`, and nothing else."""
        exchange = Exchange(request_id=str(uuid.uuid4()).upper(), host=shown(head.header("host")), nested=self._nested)
        return await replied(
            exchange,
            head.client,
            self._reply(head, read, exchange),
            refused=ApiError,
            unavailable=codes.unavailable,
            internal_error=codes.internal_error,
        )

    async def _reply(self, head: Head, read: ReadBody, exchange: Exchange) -> Reply:
        exchange.kind = envelope.kind_asked(head, await _form(head, read))
        return exchange.success(await self._carry_out(head, read, exchange))

    async def _carry_out(self, head: Head, read: ReadBody, exchange: Exchange) -> Answer:
        call = await call_of(head, read)
        exchange.action = shown(call.action)
        exchange.service, action = self._action(call.action, call.version)
        service, nonce = exchange.service, call.nonce
        signature.check_time(call.time, self._clock())
        if len(nonce) > signature.MAX_NONCE:
            raise codes.parameter_invalid("SignatureNonce", nonce)
        if call.token:
            raise codes.token_unsupported()

        def admit(key: AccessKey, account: Account) -> str:
            call.verify(key.secret_key)
            if exchange.account_id is None:  # a transaction may be run again
                self._nonces.use(key.secret_id, nonce, self._clock())
            exchange.account_id = account.id
            service.check_state(account)
            return ""

        try:
            return await self._door.carry_out(head, call, action, admit)
        except UnknownKey as error:
            raise (codes.key_inactive() if error.disabled else codes.key_not_found()) from None
        except TooManyWaiting:
            exchange.limit = "queue"
            raise codes.called_too_often() from None
        except TooOften:
            exchange.limit = "rate"
            raise codes.called_too_often() from None
        except Refused as error:
            raise service.refusal(error) from error

    def _action(self, name: str, version: str) -> tuple[Service, Action]:
        """Raise `ApiError`."""
        for parameter, value in (("Action", name), ("Version", version)):
            if not value:
                raise codes.common_missing(parameter)
        service = self._services.get(version)
        if not service:
            raise codes.version_invalid()
        action = service.actions.get(name)
        if not action:
            raise codes.action_not_found()
        return service, action


async def _form(head: Head, read: ReadBody) -> str:
    """The body of a form, for its ``Format``; empty: it is none, or too long."""
    if head.method != "POST" or media_type(head) != FORM:
        return ""
    try:
        return (await read(BODY_LIMIT)).decode("latin-1")
    except BodyTooLarge:
        return ""
