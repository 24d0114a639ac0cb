"""What makes a worker run the tasks that the store gives it: claim, reconcile, report.

The store is the truth. Every two seconds, or at once on a hint, the agent claims tasks that nobody alive
runs, and makes the engine run exactly those that this worker owns. Every write carries owner and epoch; where
they no longer hold, the task is stopped. A store that cannot answer stops no stream: the agent asks again.

Everything it depends on is handed in, so that its hours can be lived in virtual time.
"""

import asyncio
import random
from collections.abc import Callable, Collection, Coroutine, Mapping, Sequence
from contextlib import suppress
from typing import Any, Protocol, TypeVar

import structlog

from penstock.errors import PenstockError, StoreError
from penstock.media.plan import Plan
from penstock.tasks.model import Desired, Observed, Playback, State, Task
from penstock.tasks.ports import Clock, Store, Tx
from penstock.worker.history import History
from penstock.worker.room import Room

T = TypeVar("T")

log = structlog.get_logger()

#: How often the store is asked, in seconds; jittered, so that workers do not ask in step.
POLL = (1.5, 2.5)
#: How often changed states and new events are written, in seconds.
REPORT_EVERY = 0.5
#: Every so many reports, all statuses are stored as well.
REPORTS_PER_CHECKPOINT = 4
#: Tasks taken in one transaction. Few at a time spread many tasks over the workers.
BATCH = 8
#: Tasks whose costs are remembered.
MANY_COSTS = 10_000
#: The pause after a full batch, in seconds.
BATCH_PAUSE = (0.01, 0.05)
#: How often old events and ended tasks are removed, in seconds.
PRUNE_EVERY = 300.0
#: Why a task has ended before its end time.
LAST_ROUND = "the last round has been played"
#: What a state means where nothing is wrong.
MEANINGS = {
    State.STARTING: "the run begins anew",
    State.ACTIVE: "media reaches the destination",
    State.INACTIVE: "no media has reached the destination for 3 s",
}
#: The same of tasks that hold streams on edges.
MEANINGS_OF_HOLDS = MEANINGS | {
    State.ACTIVE: "the stream is warm on one edge at least",
    State.INACTIVE: "the stream is warm on no edge",
}


class Engine(Protocol):
    """What runs plans."""

    def run(self, key: int, epoch: int, plan: Plan, playback: Playback | None = None) -> None:
        """Start the task, or apply the difference to what runs. A playlist that starts goes on at `playback`."""
        ...

    async def stop(self, key: int) -> None:
        """Close cleanly, in bounded time; nothing happens if the task does not run."""
        ...

    def running(self) -> Mapping[int, int]:
        """The epoch of each task that runs."""
        ...

    def states(self) -> Mapping[int, tuple[int, State]]:
        """Epoch and state of each task that runs, now."""
        ...

    def finished(self) -> Collection[int]:
        """The tasks that run and have delivered all there was."""
        ...

    def observed(self, key: int) -> Observed | None:
        """The status of a task, measured now; None: it does not run."""
        ...

    def snapshot(self) -> Sequence[Observed]:
        """The status of each task that runs, measured now."""
        ...


class Agent:
    """One worker's link between the store and the engine.

    Args:
        id: this incarnation; the `owner` of what it claims.
        plan: what to run for a task.
        alive: whether another incarnation lives.
        history: events that the engine adds, and the agent writes.
        capacity: how many cost units of tasks may run here (`Plan.cost`).
    """

    def __init__(
        self,
        *,
        id: str,
        store: Store,
        engine: Engine,
        plan: Callable[[Task], Plan],
        alive: Callable[[str], bool],
        clock: Clock,
        rng: random.Random,
        history: History,
        capacity: int,
    ) -> None:
        self._id, self._capacity = id, capacity
        self._history = history
        self._store, self._engine, self._plan, self._alive = store, engine, plan, alive
        #: Cost units of what this worker owns, as it last looked.
        self.used = 0
        #: What tasks cost, by key and revision.
        self._costs: dict[tuple[int, int], int] = {}
        self._clock, self._rng = clock, rng
        self._hinted = asyncio.Event()
        #: What was last handed to the engine.
        self._applied: dict[int, Task] = {}
        #: Epoch and state as the store has them.
        self._written: dict[int, tuple[int, State]] = {}
        self._stopping: dict[int, asyncio.Task[bool | None]] = {}
        self._store_failed = False

    def hint(self) -> None:
        """Something changed in the store."""
        self._hinted.set()

    def replan(self) -> None:
        """What plans are made of has changed, beside the tasks: make all of them anew. Equal ones change nothing."""
        self._applied.clear()
        self._costs.clear()
        self.hint()

    async def run(self) -> None:
        """Live until cancelled. What runs then goes on running; `drain` ends it."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._reconcile_forever())
            group.create_task(self._report_forever())
            group.create_task(self._prune_forever())

    async def drain(self) -> None:
        """Stop all tasks cleanly and give them up, so that others may run them at once, and go on where they were."""
        seen = self._engine.snapshot()
        await asyncio.gather(*self._stopping.values(), *map(self._engine.stop, list(self._engine.running())))

        def release_all(tx: Tx) -> None:
            tx.checkpoint(self._id, seen)
            for task in tx.owned(self._id):
                self._release(tx, task, f"given up by {self._id}, which ends")

        await self._attempt(self._store.write(release_all))

    # claim and reconcile

    async def _reconcile_forever(self) -> None:
        while True:
            self._hinted.clear()
            pause = await self.reconcile()
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._hinted.wait()

    async def reconcile(self) -> float:
        """Claim what may be claimed, and make the engine run what this worker owns.

        Returns after how many seconds it is to be done again without a hint.
        """
        pause = self._rng.uniform(*POLL)
        owners = await self._attempt(self._store.read(lambda tx: tx.claimable_owners()))
        if owners is None:
            return pause
        dead = {owner for owner in owners if owner != self._id and not self._alive(owner)}
        now = self._clock()

        def claim(tx: Tx) -> tuple[Sequence[Task], Sequence[Task], int]:
            tx.sweep(now, dead=dead)
            owned = tx.owned(self._id)
            room = Room(self._capacity, self._cost)
            for task in owned:
                room.put(task)
            limit = BATCH if room.may_take else 0
            return owned, tx.claim(self._id, dead=dead, now=now, limit=limit, fits=room.take), room.used

        found = await self._attempt(self._store.write(claim))
        if found is None:
            return pause
        owned, claimed, self.used = found
        self._apply([*owned, *claimed])
        if len(claimed) == BATCH:
            return self._rng.uniform(*BATCH_PAUSE)
        ends = [task.end_at - now for task in [*owned, *claimed] if task.end_at is not None and task.end_at > now]
        return min([pause, *(end / 1000 for end in ends)])

    def _cost(self, task: Task) -> int:
        """Of a task in any state; 1 if it cannot be planned."""
        cost = self._costs.get((task.key, task.revision))
        if cost is None:
            if len(self._costs) >= MANY_COSTS:
                self._costs.clear()
            with suppress(PenstockError):
                cost = self._plan(task).cost
            self._costs[task.key, task.revision] = cost = cost or 1
        return cost

    def _apply(self, owned: Sequence[Task]) -> None:
        """Make the engine run these tasks, as far as they are to run, and no others."""
        for key in self._engine.running().keys() - {task.key for task in owned}:
            self._stop(key, self._engine.stop(key))
        for task in owned:
            if task.key in self._stopping:
                continue
            if not self._is_wanted(task):
                self._stop(task.key, self._settle(task))
                continue
            self._written[task.key] = (task.epoch, task.state)
            applied = self._applied.get(task.key)
            if applied is None or (applied.epoch, applied.revision) != (task.epoch, task.revision):
                self._applied[task.key] = task
                self._start(task)

    def _is_wanted(self, task: Task) -> bool:
        if task.desired is not Desired.ENABLE or task.state is State.SUSPENDED:
            return False
        # What has begun goes on if the clock is set back.
        applied = self._applied.get(task.key)
        begun = applied is not None and (applied.epoch, applied.start_at) == (task.epoch, task.start_at)
        return (begun or task.start_at <= self._clock()) and not self._has_ended(task)

    def _has_ended(self, task: Task) -> bool:
        return task.end_at is not None and task.end_at <= self._clock()

    def _start(self, task: Task) -> None:
        try:
            plan = self._plan(task)
        except PenstockError as error:
            # A row that this version cannot run must not keep the others from running.
            log.warning("a task cannot be planned", task=task.id, error=error.message)
            self._history.add(task.key, "task.unplannable", error.message)
        else:
            self._engine.run(task.key, task.epoch, plan, task.observed.playback if task.observed else None)

    def _stop(self, key: int, stop: Coroutine[Any, Any, bool | None]) -> None:
        """Let `stop` end a task in the background; until then it is left alone."""
        if key in self._stopping:
            stop.close()
            return
        self._applied.pop(key, None)
        self._written.pop(key, None)
        self._stopping[key] = asyncio.create_task(stop, name=f"stop-{key}")
        self._stopping[key].add_done_callback(lambda stopped: self._stopped(key, stopped))

    def _stopped(self, key: int, stopped: asyncio.Task[bool | None]) -> None:
        del self._stopping[key]
        if not stopped.cancelled() and stopped.result():
            self.hint()  # what was given up may have been enabled again meanwhile

    async def _settle(self, task: Task, *, finished: bool = False) -> bool | None:
        """Stop a task that is not to run, or has `finished`, then give it up; says whether that is done."""
        seen = self._engine.observed(task.key)
        await self._engine.stop(task.key)

        def release(tx: Tx) -> bool:
            tx.checkpoint(self._id, [seen] if seen else [])
            return self._release(tx, task, finished=finished)

        return await self._attempt(self._store.write(release))

    def _release(self, tx: Tx, task: Task, text: str = "", *, finished: bool = False) -> bool:
        state = State.WAITING
        if finished or self._has_ended(task):
            state, text = State.ENDED, LAST_ROUND if finished else ""
        return tx.release(
            task.key,
            owner=self._id,
            epoch=task.epoch,
            state=state,
            at=self._clock(),
            revision=task.revision,
            text=text,
        )

    # report

    async def _report_forever(self) -> None:
        await asyncio.sleep(self._rng.uniform(0, REPORT_EVERY))
        reports = 0
        while True:
            await asyncio.sleep(REPORT_EVERY)
            reports += 1
            await self.report(checkpoint=reports % REPORTS_PER_CHECKPOINT == 0)

    async def report(self, *, checkpoint: bool) -> None:
        """Write the states that changed and the events that came; with `checkpoint`, all statuses as well.

        What has finished is ended.
        """
        history, finished = self._history.waiting(), set(self._engine.finished()) - self._stopping.keys()
        if not (history or checkpoint or finished or self._has_news()):
            return
        seen = [observed for observed in self._engine.snapshot() if observed.key not in self._stopping]
        changed = [observed for observed in seen if self._written.get(observed.key) != (observed.epoch, observed.state)]
        if not (changed or history or seen):
            return

        def write(tx: Tx) -> list[int]:
            for line in history:
                tx.add_event(line.key, at=line.at, name=line.name, text=line.text, by=self._id)
            fenced = [observed.key for observed in changed if not self._write_state(tx, observed)]
            if checkpoint:
                tx.checkpoint(self._id, seen)
            return fenced

        fenced = await self._attempt(self._store.write(write))
        if fenced is None:
            return
        self._history.written(history)
        for observed in changed:
            self._written[observed.key] = (observed.epoch, observed.state)
        for key in fenced:
            log.warning("a task belongs to another worker now and is stopped here", task_key=key)
            self._stop(key, self._engine.stop(key))
        for key in finished & self._applied.keys():
            self._stop(key, self._settle(self._applied[key], finished=True))

    def _has_news(self) -> bool:
        """Whether the store does not know some task's state yet."""
        states = self._engine.states()
        return any(key not in self._stopping and self._written.get(key) != state for key, state in states.items())

    def _write_state(self, tx: Tx, observed: Observed) -> bool:
        return tx.set_state(
            observed.key,
            owner=self._id,
            epoch=observed.epoch,
            state=observed.state,
            at=observed.since,
            text=observed.error or (MEANINGS_OF_HOLDS if observed.holds else MEANINGS)[observed.state],
        )

    async def _prune_forever(self) -> None:
        while True:
            await asyncio.sleep(self._rng.uniform(0.5, 1.5) * PRUNE_EVERY)
            await self._attempt(self._store.write(lambda tx: tx.prune(self._clock())))

    async def _attempt(self, work: Coroutine[Any, Any, T]) -> T | None:
        """The answer of the store; None if it cannot answer, which is logged once until it can."""
        try:
            answer = await work
        except StoreError as error:
            if not self._store_failed:
                log.warning("the store cannot answer; what runs goes on", error=error.message)
            self._store_failed = True
            return None
        if self._store_failed:
            log.info("the store answers again")
        self._store_failed = False
        return answer
