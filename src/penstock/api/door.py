"""What every call passes, whichever vendor's it is: whose key, whose turn, how often; and then the action itself."""

from collections.abc import Awaitable, Callable
from typing import Any, Generic, Protocol, TypeVar

import msgspec

from penstock.api.http import SMALL_BODY, Head
from penstock.api.limits import Rates, Turns
from penstock.api.schema import Answer, Request
from penstock.tasks.model import AccessKey, Account
from penstock.tasks.ports import Store, Tx

R = TypeVar("R", bound=Request)
T = TypeVar("T")


class UnknownKey(Exception):
    """There is no such key, or it may not be used now."""

    def __init__(self, *, disabled: bool) -> None:
        """`disabled`: there is one."""
        super().__init__("disabled" if disabled else "not found")
        self.disabled = disabled


class Caller(msgspec.Struct, frozen=True, kw_only=True):
    """Who calls, and which region the call names."""

    account: Account
    region: str

    @property
    def account_id(self) -> int:
        return self.account.id


class Change(Generic[R]):
    """An action that may change something: the type of its parameters, and the function that carries it out."""

    def __init__(self, request: type[R], run: Callable[[Caller, R], Awaitable[Answer]], *, per_second: int) -> None:
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
        answer: Callable[[R, T], Answer],
        *,
        per_second: int,
    ) -> None:
        """`per_second` as in `Change`."""
        self.request = request
        self.read = read
        self.answer = answer
        self.per_second = per_second


Action = Change[Any] | Look[Any, Any]


class Call(Protocol):
    """One call in any form. Every method may raise the vendor's own error."""

    def secret_id(self) -> str:
        """Whose key should have signed it."""
        ...

    async def arrive(self) -> None:
        """Wait until all of it is here; before that it cannot be verified."""
        ...

    def parameters(self, kind: type[R]) -> R:
        """The action's own parameters; those of a call that was not verified must not be believed."""
        ...


#: Raises the vendor's own error unless this key has signed the call and its account may make it; else the region.
Admit = Callable[[AccessKey, Account], str]


class Door:
    """Lets calls in."""

    def __init__(self, store: Store, rates: Rates) -> None:
        self._store = store
        self._rates = rates
        self._turns = Turns()

    async def carry_out(self, head: Head, call: Call, action: Action, admit: Admit) -> Answer:
        """Carry a call out.

        Raise `UnknownKey`, `TooManyWaiting`, `TooOften`, what `call` and `admit` raise, and what the action raises.
        """
        secret_id = call.secret_id()
        if head.announced > SMALL_BODY:
            await self._store.read(lambda tx: _key(tx, secret_id))
        await call.arrive()
        # A caller that has proven nothing yet can take turns of its own address only.
        async with self._turns.turn((secret_id, head.client)):
            return await self._in_turn(call, action, admit)

    async def _in_turn(self, call: Call, action: Action, admit: Admit) -> Answer:
        def admitted(tx: Tx) -> tuple[Caller, Any]:
            key = _key(tx, call.secret_id())
            account = tx.account(key.account_id)
            if not account:
                raise UnknownKey(disabled=False)
            caller = Caller(account=account, region=admit(key, account))
            self._rates.take((caller.account_id, action), action.per_second)
            return caller, call.parameters(action.request)

        if isinstance(action, Look):
            request, found = await self._store.read(lambda tx: _looked(tx, action, *admitted(tx)))
            return action.answer(request, found)
        caller, request = await self._store.read(admitted)
        return await action.run(caller, request)


def _key(tx: Tx, secret_id: str) -> AccessKey:
    key = tx.key(secret_id) if "\0" not in secret_id else None  # which PostgreSQL refuses to look for
    if not key or not key.enabled:
        raise UnknownKey(disabled=key is not None)
    return key


def _looked(tx: Tx, action: Look[R, T], caller: Caller, request: R) -> tuple[R, T]:
    return request, action.read(tx, caller, request)
