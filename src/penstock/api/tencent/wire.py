"""The endpoint of Tencent Cloud API 3.0: finds service and action, authenticates, runs, answers.

Answers are HTTP 200 always: ``{"Response": {..., "RequestId": "..."}}``, or with an ``Error`` of ``Code`` and
``Message``.
"""

import uuid
from collections.abc import Mapping, Sequence

import msgspec

from penstock.api.door import Action, Door, UnknownKey
from penstock.api.exchange import replied
from penstock.api.http import Head, ReadBody, Reply
from penstock.api.limits import TooManyWaiting, TooOften
from penstock.api.schema import Answer, shown
from penstock.api.tencent import codes, signature
from penstock.api.tencent.calls import Common, call_of, recognises
from penstock.api.tencent.codes import ApiError
from penstock.errors import Refused, ServiceNotActive
from penstock.tasks.model import AccessKey, Account, ServiceName, ServiceState
from penstock.tasks.ports import Clock


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


class Exchange(msgspec.Struct, kw_only=True):
    """What is known of a call so far."""

    request_id: str
    language: str
    service: str = ""
    action: str = ""
    account_id: int | None = None
    limit: str = ""

    def success(self, answer: Answer) -> Reply:
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

    def __init__(self, services: Sequence[Service], *, door: Door, clock: Clock) -> None:
        self._services = {service.version: service for service in services}
        self._door = door
        self._clock = clock

    async def recognises(self, head: Head, _read: ReadBody) -> bool:
        """Whether a request is, or tries to be, such a call; a browser's plain GET is not."""
        return recognises(head)

    async def answer(self, head: Head, read: ReadBody) -> Reply:
        """Carry out the call that a request makes. Raise `BodyLost`, and nothing else."""
        exchange = Exchange(request_id=str(uuid.uuid4()), language=head.header("x-tc-language"))
        return await replied(
            exchange,
            head.client,
            self._reply(head, read, exchange),
            refused=ApiError,
            unavailable=codes.unavailable,
            internal_error=codes.internal_error,
        )

    async def _reply(self, head: Head, read: ReadBody, exchange: Exchange) -> Reply:
        return exchange.success(await self._carry_out(head, read, exchange))

    async def _carry_out(self, head: Head, read: ReadBody, exchange: Exchange) -> Answer:
        call = await call_of(head, read)
        exchange.language = call.common.language
        exchange.action = shown(call.common.action)
        service, action = self._action(call.common)
        exchange.service = service.name
        signature.check_time(call.common.timestamp_s(), self._clock() / 1000)
        if call.common.token:
            raise codes.token_unsupported()

        def admit(key: AccessKey, account: Account) -> str:
            call.verify(service=service.name, secret_key=key.secret_key)
            exchange.account_id = account.id
            service.check_state(account)
            service.check_region(call.common.region)
            return call.common.region

        try:
            return await self._door.carry_out(head, call, action, admit)
        except UnknownKey:
            raise codes.secret_id_not_found() from None
        except TooManyWaiting:
            exchange.limit = "queue"
            raise codes.too_many_waiting() from None
        except TooOften as error:
            exchange.limit = "rate"
            raise codes.called_too_often(error.calls, error.limit) from None
        except Refused as error:
            raise service.refusal(error) from error

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
