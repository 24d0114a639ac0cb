"""What callers may do with pull tasks: create, look, change, restart, delete.

Each call reads and writes in one transaction, with its event in the same; workers are hinted after it.
Whatever a caller may not do is a `penstock.errors.Refused`.
"""

import asyncio
import re
from collections.abc import Iterable, Sequence
from urllib.parse import SplitResult

from penstock.errors import (
    AccountNotFound,
    AddressRefused,
    Conflict,
    InvalidBackupToUrl,
    InvalidCallbackUrl,
    InvalidSourceUrl,
    InvalidTaskId,
    InvalidToUrl,
    Refused,
    TaskNotFound,
    TooManyTasks,
    ToUrlForbidden,
)
from penstock.tasks import lifecycle, observation, times
from penstock.tasks.accounts import check_service, domain_owner
from penstock.tasks.families import pull, pull_rules
from penstock.tasks.families.pull import PullChange, PullSpec, RunStatus
from penstock.tasks.lifecycle import Cause
from penstock.tasks.model import Account, Desired, Event, ServiceName, State, Struct, Task
from penstock.tasks.ports import AddressCheck, Clock, Hints, LiveStatus, Store, Tx

_TASK_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
#: Longest operator's name, in bytes of UTF-8.
MAX_OPERATOR = 255

_OVER = "The task has ended; give it a later EndTime first."


class PullView(Struct):
    """A task, what was asked of it, and what is going on."""

    task: Task
    spec: PullSpec
    run: RunStatus


class PullRows(Struct):
    """Some of an account's tasks as they are stored."""

    tasks: Sequence[Task]
    total: int
    limit: int


class PullPage(Struct):
    """Some of an account's tasks, those changed last first."""

    views: tuple[PullView, ...]
    #: How many there are in all.
    total: int
    #: How many there may be.
    limit: int


class PullTasks:
    """The family ``pull`` as its API sees it."""

    def __init__(
        self,
        store: Store,
        *,
        clock: Clock,
        hints: Hints,
        live: LiveStatus,
        addresses: AddressCheck,
        max_task_days: int = 30,
    ) -> None:
        """`max_task_days`: longest time from start to end, 0 for no limit."""
        self._store = store
        self._clock = clock
        self._hints = hints
        self._live = live
        self._addresses = addresses
        self._max_days = max_task_days

    async def create(
        self, account_id: int, spec: PullSpec, *, operator: str, region: str, specify_task_id: str = ""
    ) -> str:
        """Make a task and return its TaskId: `specify_task_id`, or else a number of our own.

        Raise `TooManyTasks` at the account's limit, `InvalidTaskId` for an id that is taken or malformed,
        `ToUrlForbidden` for a destination of another account, and what the checks of `pull_rules` raise.
        """
        pull_rules.check_text("Operator", operator, MAX_OPERATOR)
        if specify_task_id and not _TASK_ID.fullmatch(specify_task_id):
            raise InvalidTaskId("SpecifyTaskId must be 1 to 64 letters, digits, hyphens or underscores.")
        pull_rules.check(spec)
        await self._check_addresses(spec)
        now = self._clock()
        start_at, end_at = pull_rules.span(spec, now=now, max_days=self._max_days)

        def work(tx: Tx) -> str:
            if specify_task_id and tx.task(account_id, pull.FAMILY, specify_task_id):
                raise InvalidTaskId(f"SpecifyTaskId {specify_task_id} belongs to another task.")
            account = check_service(tx, account_id, ServiceName.LIVE)
            if tx.count_tasks(account_id, pull.FAMILY) >= account.task_limit:
                raise TooManyTasks
            self._check_owner(tx, account_id, pull_rules.destination_address(spec))
            self._check_owner(tx, account_id, pull_rules.backup_destination_address(spec))
            self._check_loop(tx, spec)
            task = tx.insert_task(
                account_id=account_id,
                family=pull.FAMILY,
                id=specify_task_id or _free_number(tx, account_id),
                spec=pull.encode(spec),
                state=lifecycle.INITIAL,
                start_at=start_at,
                end_at=end_at,
                region=region,
                at=now,
                by=operator,
            )
            text = f"created, to run from {times.text(start_at)} to {times.text(end_at)}"
            tx.add_event(task.key, at=now, name=lifecycle.CREATED, text=text, by=operator)
            return task.id

        task_id = await self._store.write(work)
        self._hints.tasks_changed()
        return task_id

    async def modify(self, account_id: int, task_id: str, change: PullChange, *, operator: str) -> None:
        """Change a task; what is not given stays. A change of EndTime alone leaves the media alone.

        Raise `TaskNotFound`, `Conflict` if Status is given for a task that has ended, `ToUrlForbidden` for
        a new destination of another account, and what the checks of `pull_rules` raise.
        """
        pull_rules.check_text("Operator", operator, MAX_OPERATOR)
        pull_rules.check_change(change)

        # Outside of the transaction that writes, since this takes as long as DNS does.
        task = await self._store.read(lambda tx: _found(tx, account_id, task_id))
        before = pull.decode(task.spec)
        after = pull.apply(before, change)
        pull_rules.check(after)
        await self._check_addresses(after, before)
        now = self._clock()

        def work(tx: Tx) -> None:
            check_service(tx, account_id, ServiceName.LIVE)
            task = _found(tx, account_id, task_id)
            spec = pull.apply(pull.decode(task.spec), change)
            pull_rules.check(spec)
            if change.to_url:
                self._check_owner(tx, account_id, pull_rules.destination_address(spec))
            if change.backup_to_url:
                self._check_owner(tx, account_id, pull_rules.backup_destination_address(spec))
            if change.moves_media():
                self._check_loop(tx, spec)
            moved = change.start_time is not None or change.end_time is not None
            start_at, end_at = (
                pull_rules.span(spec, now=now, max_days=self._max_days) if moved else (task.start_at, task.end_at)
            )
            causes = _causes(task, change, end_at=end_at, now=now)
            if Cause.RENEWED in causes and change.file_index is None and _is_finished(task):
                spec = pull.from_the_beginning(spec)
            state = task.state
            for cause in causes:
                state = lifecycle.after(state, cause)
            tx.change_task(
                task.key,
                at=now,
                by=operator,
                spec=pull.encode(spec),
                desired=Desired(change.status) if change.status else None,
                state=state,
                start_at=start_at,
                end_at=end_at,
            )
            for name, text in _history(causes, change):
                tx.add_event(task.key, at=now, name=name, text=text, by=operator)

        await self._store.write(work)
        self._hints.tasks_changed()

    async def restart(self, account_id: int, task_id: str, *, operator: str) -> None:
        """Have a task's run begin anew: both sides are closed, then connected again.

        Raise `TaskNotFound`, and `Conflict` for a task that is not meant to run now.
        """
        now = self._clock()
        pull_rules.check_text("Operator", operator, MAX_OPERATOR)

        def work(tx: Tx) -> None:
            check_service(tx, account_id, ServiceName.LIVE)
            task = _found(tx, account_id, task_id)
            state = _restarted(task, now)
            spec = pull.restarted(pull.decode(task.spec), over=task.state is State.ENDED)
            tx.change_task(task.key, at=now, by=operator, spec=pull.encode(spec), state=state)
            tx.add_event(task.key, at=now, name=lifecycle.EVENTS[Cause.RESTARTED], text="restarted", by=operator)

        await self._store.write(work)
        self._hints.tasks_changed()

    async def delete(self, account_id: int, task_id: str, *, operator: str) -> None:
        """Delete a task: no call sees it again, and its worker stops it. Raise `TaskNotFound`."""
        now = self._clock()
        pull_rules.check_text("Operator", operator, MAX_OPERATOR)

        def work(tx: Tx) -> None:
            task = _found(tx, account_id, task_id)
            if task.owner is None:
                tx.remove_task(task.key)
                return
            state = lifecycle.after(task.state, Cause.DELETED)
            tx.change_task(task.key, at=now, by=operator, desired=Desired.DELETE, state=state)
            name = lifecycle.EVENTS[Cause.DELETED]
            tx.add_event(task.key, at=now, name=name, text="deleted", by=operator)

        await self._store.write(work)
        self._hints.tasks_changed()

    async def describe(self, account_id: int, *, task_id: str = "", page: int = 1, size: int = 10) -> PullPage:
        """One page (the first is 1) of the account's tasks, or the one task that is asked for, if there."""

        def work(tx: Tx) -> PullRows:
            if (account := tx.account(account_id)) is None:
                raise AccountNotFound
            return self.page_rows(tx, account, task_id=task_id, page=page, size=size)

        return self.page(await self._store.read(work))

    async def status(self, account_id: int, task_id: str) -> PullView:
        """One task. Raise `TaskNotFound`."""
        return self.view(await self._store.read(lambda tx: self.row(tx, account_id, task_id)))

    # The same in two steps, for who has a transaction: what is stored, then what is going on now.

    def page_rows(self, tx: Tx, account: Account, *, task_id: str = "", page: int = 1, size: int = 10) -> PullRows:
        """What `page` needs of the store."""
        if task_id:
            found = tx.task(account.id, pull.FAMILY, task_id)
            return PullRows(tasks=(found,) if found else (), total=1 if found else 0, limit=account.task_limit)
        tasks = tx.tasks(account.id, pull.FAMILY, offset=(page - 1) * size, limit=size)
        return PullRows(tasks=tasks, total=tx.count_tasks(account.id, pull.FAMILY), limit=account.task_limit)

    def page(self, rows: PullRows) -> PullPage:
        """These tasks as they are now."""
        return PullPage(views=_views(rows.tasks, self._live, self._clock()), total=rows.total, limit=rows.limit)

    def row(self, tx: Tx, account_id: int, task_id: str) -> Task:
        """What `view` needs of the store. Raise `TaskNotFound`."""
        return _found(tx, account_id, task_id)

    def view(self, task: Task) -> PullView:
        """This task as it is now."""
        return _views([task], self._live, self._clock())[0]

    async def _check_addresses(self, spec: PullSpec, before: PullSpec | None = None) -> None:
        """Ask the network policy about each address that was not in the spec before, about all at once."""
        known = _addresses(before) if before else []
        asked = [one for one in dict.fromkeys(_addresses(spec)) if one not in known]
        checks = (self._addresses.check(*address) for _, address in asked)
        for (refusal, _), error in zip(asked, await asyncio.gather(*checks, return_exceptions=True), strict=True):
            if isinstance(error, AddressRefused):
                raise refusal(error.message) from error
            if error is not None:
                raise error

    def _check_owner(self, tx: Tx, account_id: int, address: tuple[str, int | None] | None) -> None:
        """Raise `ToUrlForbidden` if a destination's domain belongs to another account."""
        if address is None:
            return
        host, port = address
        if domain_owner(tx, host, is_hub=self._addresses.is_hub(host, port)) not in (None, account_id):
            raise ToUrlForbidden(f"The domain {host} belongs to another account.")

    def _check_loop(self, tx: Tx, spec: PullSpec) -> None:
        """Raise `InvalidToUrl` or `InvalidBackupToUrl` if a task would push to a stream that it pulls from."""

        def whose(parts: SplitResult) -> int | None:
            host = parts.hostname or ""
            is_hub = self._addresses.is_hub(host, parts.port, parts.scheme)
            return domain_owner(tx, host, is_hub=True) if is_hub else None

        pull_rules.check_loop(spec, whose)


async def list_tasks(
    store: Store,
    live: LiveStatus,
    now: int,
    *,
    account_id: int | None = None,
    offset: int = 0,
    limit: int = -1,
) -> Sequence[PullView]:
    """Pull tasks of one account or of all, those changed last first; `limit` -1: all from `offset` on."""
    tasks = await store.read(lambda tx: tx.tasks(account_id, pull.FAMILY, offset=offset, limit=limit))
    return list(_views(tasks, live, now))


async def show_task(
    store: Store, live: LiveStatus, now: int, *, account_id: int, task_id: str, events: int = 100
) -> tuple[PullView, Sequence[Event]]:
    """One pull task and its newest `events`, oldest of them first. Raise `TaskNotFound`."""

    def work(tx: Tx) -> tuple[Task, Sequence[Event]]:
        task = _found(tx, account_id, task_id)
        return task, tx.last_events(task.key, events)

    task, history = await store.read(work)
    return _views([task], live, now)[0], history


async def find_key(store: Store, *, account_id: int, task_id: str) -> int:
    """The row of a pull task. Raise `TaskNotFound`."""
    return await store.read(lambda tx: _found(tx, account_id, task_id).key)


def _views(tasks: Iterable[Task], live: LiveStatus, now: int) -> tuple[PullView, ...]:
    """The tasks as they are at `now`."""
    waiting = live.waiting()
    views = []
    for task in tasks:
        spec = pull.decode(task.spec)
        observed = observation.newest(live.observed(task.key), task.observed)
        run = pull.run_status(task, spec, observed, now, waiting=waiting)
        views.append(PullView(task=task, spec=spec, run=run))
    return tuple(views)


def _addresses(spec: PullSpec) -> Sequence[tuple[type[Refused], tuple[str, int | None]]]:
    """Where a spec leads, each with what is raised if that is forbidden."""
    found: list[tuple[type[Refused], tuple[str, int | None] | None]] = [
        *((InvalidSourceUrl, address) for address in pull_rules.source_addresses(spec)),
        (InvalidSourceUrl, pull_rules.backup_source_address(spec)),
        (InvalidToUrl, pull_rules.destination_address(spec)),
        (InvalidBackupToUrl, pull_rules.backup_destination_address(spec)),
        (InvalidCallbackUrl, pull_rules.callback_address(spec)),
    ]
    return [(refusal, address) for refusal, address in found if address]


def _found(tx: Tx, account_id: int, task_id: str) -> Task:
    task = tx.task(account_id, pull.FAMILY, task_id)
    if task is None:
        raise TaskNotFound
    return task


def _is_finished(task: Task) -> bool:
    """Whether the last thing that the task did was to play the last round of its files to the end."""
    return task.observed is not None and task.observed.finished


def _restarted(task: Task, now: int) -> State:
    """The state of a task whose run begins anew. Raise `Conflict` unless it is meant to run at `now`."""
    if task.desired is Desired.PAUSE:
        raise Conflict("The task is paused; enable it instead.")
    if now < task.start_at:
        raise Conflict("The task has not begun yet.")
    if task.end_at is not None and task.end_at <= now:
        raise Conflict(_OVER)
    if task.state is State.ENDED:  # with its last round
        return lifecycle.after(task.state, Cause.RENEWED)
    # One that waits for a worker begins anew with it.
    return task.state if task.owner is None else lifecycle.after(task.state, Cause.RESTARTED)


def _free_number(tx: Tx, account_id: int) -> str:
    """The family's next number that no caller has taken as a SpecifyTaskId of this account."""
    while True:
        number = str(tx.next_task_number(pull.FAMILY, pull.FIRST_NUMBER))
        if tx.task(account_id, pull.FAMILY, number) is None:
            return number


def _causes(task: Task, change: PullChange, *, end_at: int | None, now: int) -> list[Cause]:
    """What a change means for the task's state, in order. Raise `Conflict`."""
    ended = end_at is not None and end_at <= now
    renewed = task.state is State.ENDED and change.end_time is not None
    if change.status and (ended or (task.state is State.ENDED and not renewed)):
        raise Conflict(
            _OVER if ended else "The last round has been played; restart the task, or give it a later EndTime."
        )
    causes = [Cause.RENEWED] if renewed else []
    if change.status == "pause" or (renewed and not change.status and task.desired is Desired.PAUSE):
        causes.append(Cause.PAUSED)
    elif change.status == "enable":
        causes.append(Cause.ENABLED if task.owner is None else Cause.RESUMED)
    return causes


def _history(causes: Sequence[Cause], change: PullChange) -> Sequence[tuple[str, str]]:
    """Names and sentences of the events that a change leaves: no values, since these may hold keys."""
    lines = [(lifecycle.EVENTS[cause], cause.value) for cause in causes]
    fields = [name for name in change.given() if name != "status"]
    if fields or not lines:
        lines.append((lifecycle.MODIFIED, f"changed {', '.join(fields) or 'nothing'}"))
    return lines
