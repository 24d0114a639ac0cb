"""What the core needs of the outside: a store, a bus, a clock. Declared here, implemented elsewhere."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Protocol, TypeVar

from penstock.tasks.model import (
    AccessKey,
    Account,
    Area,
    Desired,
    Domain,
    Edge,
    Event,
    HubStatus,
    Observed,
    SdkApp,
    ServiceName,
    ServiceState,
    State,
    Task,
)

T = TypeVar("T")


class Tx(Protocol):
    """The verbs of one transaction. Nothing is visible outside until it commits; an error undoes all."""

    # accounts
    def add_account(self, name: str, *, task_limit: int) -> Account:
        """Raise `Conflict` if the name is taken."""
        ...

    def account(self, account_id: int) -> Account | None: ...
    def account_named(self, name: str) -> Account | None: ...
    def first_account(self) -> Account | None:
        """The one that was made first."""
        ...

    def accounts(self) -> Sequence[Account]:
        """In the order of their making."""
        ...

    def change_account(
        self,
        account_id: int,
        *,
        task_limit: int | None = None,
        suspended: Mapping[ServiceName, ServiceState] | None = None,
    ) -> None:
        """Change what is given."""
        ...

    def add_key(self, key: AccessKey) -> None: ...
    def key(self, secret_id: str) -> AccessKey | None: ...
    def keys(self, account_id: int) -> Sequence[AccessKey]: ...
    def enable_keys(self, account_id: int, enabled: bool) -> None:
        """All of the account's, or none."""
        ...

    def remove_keys(self, account_id: int) -> None: ...
    def callback_key(self, account_id: int) -> str | None:
        """What signs the account's callbacks; None: it has none yet."""
        ...

    def set_callback_key(self, account_id: int, secret_key: str) -> None: ...
    def push_keys(self, account_id: int | None = None) -> Mapping[int, str]:
        """What signs publishing to the hub, by account; of one account, or of all that have one."""
        ...

    def set_push_key(self, account_id: int, secret_key: str) -> None: ...
    def add_sdk_app(self, app: SdkApp) -> None:
        """Raise `Conflict` if the SdkAppId is taken, by whichever account."""
        ...

    def sdk_app(self, sdk_app_id: int) -> SdkApp | None: ...
    def sdk_apps(self, account_id: int) -> Sequence[SdkApp]: ...
    def add_domain(self, added: Domain) -> None:
        """Raise `Conflict` if the domain is taken, by whichever account."""
        ...

    def domain(self, name: str) -> Domain | None:
        """`name` in lower case."""
        ...

    def domains(self, account_id: int | None = None) -> Sequence[Domain]:
        """By name; None: of all accounts."""
        ...

    # edge nodes
    def add_edge(self, added: Edge) -> None:
        """Raise `Conflict` if the name is taken."""
        ...

    def edges(self) -> Sequence[Edge]:
        """All of them, by name."""
        ...

    def remove_edge(self, name: str) -> bool:
        """False: there is none of this name."""
        ...

    # tasks, as the API sees them: rows whose desired is not DELETE
    def next_task_number(self, family: str, first: int) -> int:
        """The next number of a family's own sequence, starting at `first`; never given twice."""
        ...

    def insert_task(
        self,
        *,
        account_id: int,
        family: str,
        id: str,
        spec: bytes,
        state: State,
        start_at: int,
        end_at: int | None,
        region: str,
        at: int,
        by: str,
        domain: str = "",
        affinity: str = "",
    ) -> Task:
        """Tasks of one `affinity` run on one worker; empty: anywhere. Raise `InvalidTaskId` if the id is taken."""
        ...

    def task(self, account_id: int, family: str, id: str) -> Task | None: ...
    def task_by_key(self, key: int) -> Task | None: ...
    def tasks(self, account_id: int | None, family: str | None, *, offset: int = 0, limit: int = -1) -> Sequence[Task]:
        """By update time, newest first (ties: newest row first). None means all."""
        ...

    def count_tasks(self, account_id: int, family: str) -> int: ...

    def tasks_of_domain(
        self,
        account_id: int,
        family: str,
        domain: str,
        *,
        since: int,
        until: int,
        offset: int = 0,
        limit: int = -1,
    ) -> Sequence[Task]:
        """Those made from `since` to `until` (both included), newest first (ties: newest row first)."""
        ...

    def count_tasks_of_domain(self, account_id: int, family: str, domain: str, *, since: int, until: int) -> int: ...

    def change_task(
        self,
        key: int,
        *,
        at: int,
        by: str,
        spec: bytes | None = None,
        desired: Desired | None = None,
        state: State | None = None,
        start_at: int | None = None,
        end_at: int | None = None,
    ) -> Task:
        """Change what is given, raise the revision, move updated_at. Raise `TaskNotFound`."""
        ...

    def remove_task(self, key: int) -> None:
        """Take the row away for good, with its status and its events."""
        ...

    def suspend(self, account_id: int, family: str, *, at: int, by: str, text: str) -> int:
        """Keep all that the account would run from running, each with its event; returns how many these are.

        What is paused or has ended stays as it is. `text` says why.
        """
        ...

    def reinstate(self, account_id: int, family: str, *, at: int, by: str, text: str) -> int:
        """Let all that is suspended run again, each with its event; returns how many these are."""
        ...

    # tasks, as a worker sees them. Each change of a state goes through `penstock.tasks.lifecycle`,
    # and writes its event in the same transaction.
    def claimable_owners(self) -> Sequence[str]:
        """Owners of all owned rows, sorted; the caller finds out which of them are dead."""
        ...

    def claim(
        self,
        owner: str,
        *,
        dead: Collection[str],
        now: int,
        limit: int,
        fits: Callable[[Task], bool] = lambda _: True,
    ) -> Sequence[Task]:
        """Take up to `limit` due, enabled tasks that nobody owns or a dead owner holds; raise each epoch.

        `fits` says of each whether it may be taken, in order, and once; what does not fit keeps none behind it waiting.
        Those that have been due longest come first. One whose affinity another worker's tasks have is left to that
        worker.
        """
        ...

    def owned(self, owner: str) -> Sequence[Task]:
        """All rows of this owner, whatever is desired of them."""
        ...

    def set_state(self, key: int, *, owner: str, epoch: int, state: State, at: int, text: str = "") -> bool:
        """Write the state (STARTING, ACTIVE or INACTIVE) where owner and epoch still hold.

        `text` is the sentence of its event, secrets masked. False: fenced, nothing written. A row that was
        paused or is to be deleted keeps its state, and that is no fence.
        """
        ...

    def release(
        self,
        key: int,
        *,
        owner: str,
        epoch: int,
        state: State,
        at: int,
        revision: int | None = None,
        text: str = "",
    ) -> bool:
        """Give the task up where owner and epoch still hold. A row that is to be deleted goes for good.

        `state` is ENDED if the run came to its end; that is believed unless the row has moved on from
        `revision`. Otherwise the row comes to rest as is desired of it now: WAITING or PAUSED. `text` is the
        sentence of the event.
        """
        ...

    def checkpoint(self, owner: str, observed: Iterable[Observed]) -> int:
        """Store statuses where owner and epoch still hold, in one batch; returns how many were written."""
        ...

    def sweep(self, now: int, *, dead: Collection[str]) -> Sequence[Task]:
        """Settle rows that no living worker owns: remove those to be deleted, mark ENDED those whose end
        time has passed, WAITING those whose owner is dead. Returns the rows as they are after the change;
        one that was removed is DELETED."""
        ...

    def prune(self, now: int) -> int:
        """Keep the bounds: 10,000 events per task, 30 days of events and of ended tasks.

        A call does a bounded amount of work; returns how many rows went. Call it every few minutes.
        """
        ...

    # history
    def add_event(self, task_key: int, *, at: int, name: str, text: str, by: str) -> None:
        """Does nothing if the task is gone."""
        ...

    def events(self, task_key: int, *, after: int = 0, limit: int = 100) -> Sequence[Event]:
        """Oldest first, ids greater than `after`."""
        ...

    def last_events(self, task_key: int, limit: int) -> Sequence[Event]:
        """The newest `limit`, oldest of them first."""
        ...


class Store(Protocol):
    """Where accounts, tasks and events are kept."""

    async def read(self, work: Callable[[Tx], T]) -> T:
        """Run `work` on one consistent snapshot. Raise `StoreError` if the database cannot answer."""
        ...

    async def write(self, work: Callable[[Tx], T]) -> T:
        """Run `work` in one transaction: durable when this returns.

        It may be run again, if what others wrote meanwhile has undone it. Raise `StoreError` if the database
        cannot answer; one that fell silent may have carried it out.
        """
        ...

    async def probe(self) -> None:
        """Raise `StoreError` unless it can be read and written now, and has the tables of this version."""
        ...

    def close(self) -> None: ...


class Hints(Protocol):
    """Tells workers that something changed in the store. A lost hint costs seconds, never truth."""

    def tasks_changed(self) -> None: ...


class LiveStatus(Protocol):
    """The statuses that living workers report now."""

    def observed(self, key: int) -> Observed | None: ...

    def waiting(self, cost: int = 1) -> str:
        """Why nobody takes a task of so many cost units that is due; empty: one will.

        ``no worker``, ``no capacity (200/200)``, ``no capacity (380/400, 25 needed of one worker)``.
        """
        ...


class LiveHub(Protocol):
    """What the hub of this machine measures now."""

    def hub(self) -> HubStatus | None:
        """None: it is not there."""
        ...


class Live(LiveStatus, LiveHub, Protocol):
    """All that living processes report now."""


class Edges(Protocol):
    """The operator's edge nodes, as they are registered now."""

    def of_area(self, area: Area) -> Sequence[Edge]:
        """Those that serve an area, by name: its own and the global ones; `Area.GLOBAL`: all."""
        ...


class AddressCheck(Protocol):
    """The network policy, asked before a URL is accepted."""

    async def check(self, host: str, port: int | None) -> None:
        """Raise `AddressRefused` if the address is forbidden; a name that does not resolve now passes."""
        ...

    def is_hub(self, host: str, port: int | None, scheme: str = "rtmp") -> bool:
        """Whether this means our own hub."""
        ...


class Clock(Protocol):
    """Wall-clock time."""

    def __call__(self) -> int:
        """Unix milliseconds."""
        ...
