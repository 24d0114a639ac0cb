"""A worker's agent on a real store, with an engine that only remembers, in virtual time."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import pytest
from msgspec.structs import replace

from penstock.errors import StoreError, Unsupported
from penstock.media.plan import Plan
from penstock.store.sql import SqlStore
from penstock.tasks.families import preload, pull
from penstock.tasks.families.preload import PreloadSpec
from penstock.tasks.model import Area, Desired, Edge, Observed, Playback, State, Task
from penstock.tasks.ports import Tx
from penstock.worker.agent import Agent
from penstock.worker.history import History
from tests.unit.making import DAY, NOW, add_account, add_task, event_names, make_spec, observe, open_new, read_task

pytestmark = pytest.mark.looptime

T = TypeVar("T")

HOUR = DAY // 24


def clock() -> int:
    """Virtual Unix milliseconds: the loop began at NOW."""
    return NOW + int(asyncio.get_running_loop().time() * 1000)


class MemoryEngine:
    """Remembers what it was told to run; a stop takes a tenth of a second."""

    def __init__(self) -> None:
        self.runs: dict[int, int] = {}
        self.plans: dict[int, list[Plan]] = {}
        self.state_of: dict[int, State] = {}
        self.stopped: list[int] = []

    def run(self, key: int, epoch: int, plan: Plan, playback: Playback | None = None) -> None:
        self.runs[key] = epoch
        self.plans.setdefault(key, []).append(plan)
        self.state_of.setdefault(key, State.STARTING)

    async def stop(self, key: int) -> None:
        if self.runs.pop(key, None) is not None:
            self.stopped.append(key)
            self.state_of.pop(key)
            await asyncio.sleep(0.1)

    def running(self) -> Mapping[int, int]:
        return dict(self.runs)

    def states(self) -> Mapping[int, tuple[int, State]]:
        return {key: (epoch, self.state_of[key]) for key, epoch in self.runs.items()}

    def snapshot(self) -> Sequence[Observed]:
        return [
            observe(key, epoch, state=self.state_of[key], at=clock(), since=clock()) for key, epoch in self.runs.items()
        ]


class FrailStore:
    """A store that cannot answer while it is `down`."""

    def __init__(self, store: SqlStore) -> None:
        self._store = store
        self.down = False

    async def read(self, work: Callable[[Tx], T]) -> T:
        return await self._answer(self._store.read, work)

    async def write(self, work: Callable[[Tx], T]) -> T:
        return await self._answer(self._store.write, work)

    async def _answer(self, call: Callable[[Any], Any], work: Callable[[Tx], T]) -> T:
        if self.down:
            raise StoreError("The disk is full.")
        answer: T = await call(work)
        return answer

    async def probe(self) -> None:
        await self._store.probe()

    def close(self) -> None:
        self._store.close()


class World:
    """One store, and workers on it that may be killed."""

    def __init__(self, store: SqlStore) -> None:
        self.store = store
        self.account = add_account(store)
        self.workers: dict[str, Worker] = {}
        #: By how much (ms) the wall clock was set forward, or back.
        self.stepped = 0

    def clock(self) -> int:
        return clock() + self.stepped

    def alive(self, incarnation: str) -> bool:
        return incarnation in self.workers

    def start(self, name: str, *, capacity: int = 200) -> "Worker":
        self.workers[name] = worker = Worker(self, name, capacity)
        return worker

    def change(self, task: Task, **fields: Any) -> Task:
        """What the API does."""
        return self.store.write_now(lambda tx: tx.change_task(task.key, at=clock(), by="operator", **fields))

    def pause(self, task: Task) -> Task:
        return self.change(task, desired=Desired.PAUSE, state=State.PAUSED)


class Worker:
    """One agent with its engine."""

    def __init__(self, world: World, name: str, capacity: int) -> None:
        self.engine = MemoryEngine()
        self.history = History(world.clock)
        self.store = FrailStore(world.store)
        self._world, self._name = world, name
        self.agent = Agent(
            id=name,
            store=self.store,
            engine=self.engine,
            plan=make_plan,
            alive=world.alive,
            clock=world.clock,
            rng=random.Random(name),
            history=self.history,
            capacity=capacity,
        )
        self._living = asyncio.create_task(self.agent.run())

    async def kill(self) -> None:
        """Dead without a word."""
        del self._world.workers[self._name]
        self._living.cancel()
        await asyncio.wait([self._living])
        for stopping in self.agent._stopping.values():
            stopping.cancel()

    async def leave(self) -> None:
        """Dead in order."""
        self._living.cancel()
        await asyncio.wait([self._living])
        await self.agent.drain()
        del self._world.workers[self._name]


def make_plan(task: Task) -> Plan:
    if task.id == "odd":
        raise Unsupported("this task is odd")
    if task.id.startswith("cost-"):
        edges = [Edge(name=str(number), area=Area.GLOBAL, rtmp="h") for number in range(40 * int(task.id[5:]))]
        spec = PreloadSpec(play_url="rtmp://play.example/live/a", area=Area.GLOBAL)
        return preload.plan(replace(task, spec=preload.encode(spec)), edges)
    return pull.plan(task)


@pytest.fixture(name="store")
def store_(tmp_path: Path) -> Iterator[SqlStore]:
    store = open_new(tmp_path)
    yield store
    store.close()


@pytest.fixture(name="world")
async def world_(store: SqlStore) -> AsyncIterator[World]:
    world = World(store)
    yield world
    for worker in list(world.workers.values()):
        await worker.kill()


async def test_due_task_runs_under_its_owner_and_epoch(world: World) -> None:
    task = add_task(world.store, world.account, "1")
    worker = world.start("w-1")
    await asyncio.sleep(3)
    row = read_task(world.store, task.key)
    assert (row.owner, row.epoch, row.state) == ("w-1", 1, State.STARTING)
    assert worker.engine.runs == {task.key: 1}
    assert worker.engine.plans[task.key] == [pull.plan(task)]


async def test_new_task_waits_for_the_poll_or_comes_at_once_with_a_hint(world: World) -> None:
    worker = world.start("w-1")
    await asyncio.sleep(0.1)
    first = add_task(world.store, world.account, "1")
    await asyncio.sleep(1)
    assert worker.engine.runs == {}
    worker.agent.hint()
    await asyncio.sleep(0.01)
    assert worker.engine.runs == {first.key: 1}
    second = add_task(world.store, world.account, "2")
    await asyncio.sleep(2.5)
    assert worker.engine.runs == {first.key: 1, second.key: 1}


async def test_task_begins_when_it_is_due_and_ends_on_the_moment(world: World) -> None:
    task = add_task(world.store, world.account, "1", start_at=NOW + 10_000, end_at=NOW + 20_000)
    worker = world.start("w-1")
    await asyncio.sleep(9.9)
    assert worker.engine.runs == {}
    await asyncio.sleep(2.7)
    assert worker.engine.runs == {task.key: 1}
    await asyncio.sleep(20.05 - 12.6)
    assert worker.engine.runs == {}
    await asyncio.sleep(0.2)
    row = read_task(world.store, task.key)
    assert (row.state, row.owner) == (State.ENDED, None)
    assert event_names(world.store, task.key)[-1] == "task.ended"


async def test_clock_that_is_set_back_stops_nothing_that_has_begun(world: World) -> None:
    begun = add_task(world.store, world.account, "1", end_at=NOW + HOUR)
    waits = add_task(world.store, world.account, "2", start_at=NOW + 5_000)
    worker = world.start("w-1")
    await asyncio.sleep(3)
    world.stepped = -HOUR
    await asyncio.sleep(10)
    assert worker.engine.runs == {begun.key: 1}
    world.change(begun, spec=pull.encode(make_spec(comment="changed")))
    await asyncio.sleep(3)
    assert worker.engine.runs == {begun.key: 1}
    assert worker.engine.stopped == []
    await asyncio.sleep(HOUR / 1000)
    assert worker.engine.runs == {begun.key: 1, waits.key: 1}
    world.change(begun, start_at=NOW + 2 * HOUR, end_at=NOW + 3 * HOUR)
    await asyncio.sleep(3)
    assert worker.engine.runs == {waits.key: 1}


async def test_clock_that_is_set_forward_begins_and_ends_what_is_due_by_it(world: World) -> None:
    ends = add_task(world.store, world.account, "1", end_at=NOW + HOUR // 2)
    begins = add_task(world.store, world.account, "2", start_at=NOW + HOUR // 2)
    worker = world.start("w-1")
    await asyncio.sleep(3)
    world.stepped = HOUR
    await asyncio.sleep(3)
    assert worker.engine.runs == {begins.key: 1}
    assert read_task(world.store, ends.key).state is State.ENDED
    world.stepped = 0
    await asyncio.sleep(3)
    assert worker.engine.runs == {begins.key: 1}
    assert read_task(world.store, ends.key).state is State.ENDED


async def test_paused_task_is_closed_and_given_up_and_runs_again_when_enabled(world: World) -> None:
    task = add_task(world.store, world.account, "1")
    worker = world.start("w-1")
    await asyncio.sleep(3)
    world.pause(task)
    worker.agent.hint()
    await asyncio.sleep(0.2)
    row = read_task(world.store, task.key)
    assert (worker.engine.stopped, row.state, row.owner) == ([task.key], State.PAUSED, None)
    await asyncio.sleep(10)
    assert worker.engine.runs == {}
    world.change(task, desired=Desired.ENABLE, state=State.WAITING)
    worker.agent.hint()
    await asyncio.sleep(0.01)
    assert worker.engine.runs == {task.key: 2}


async def test_task_of_a_suspended_service_is_closed_and_runs_again_when_that_is_active(world: World) -> None:
    task = add_task(world.store, world.account, "1")
    worker = world.start("w-1")
    await asyncio.sleep(3)
    world.store.write_now(lambda tx: tx.suspend(world.account, pull.FAMILY, at=clock(), by="admin", text="frozen"))
    worker.agent.hint()
    await asyncio.sleep(0.2)
    row = read_task(world.store, task.key)
    assert (worker.engine.stopped, row.state, row.owner) == ([task.key], State.SUSPENDED, None)
    await asyncio.sleep(10)
    assert worker.engine.runs == {}
    world.store.write_now(lambda tx: tx.reinstate(world.account, pull.FAMILY, at=clock(), by="admin", text="active"))
    worker.agent.hint()
    await asyncio.sleep(0.01)
    assert worker.engine.runs == {task.key: 2}
    names = ["task.claimed", "task.suspended", "task.released", "task.enabled", "task.claimed"]
    assert event_names(world.store, task.key) == names


async def test_suspended_task_of_a_worker_that_died_is_run_by_nobody(world: World) -> None:
    task = add_task(world.store, world.account, "1")
    first = world.start("w-1")
    await asyncio.sleep(3)
    world.store.write_now(lambda tx: tx.suspend(world.account, pull.FAMILY, at=clock(), by="admin", text="frozen"))
    await first.kill()
    second = world.start("w-2")
    await asyncio.sleep(10)
    assert second.engine.runs == {}
    assert read_task(world.store, task.key).state is State.SUSPENDED


async def test_task_enabled_while_it_is_being_closed_runs_again(world: World) -> None:
    task = add_task(world.store, world.account, "1")
    worker = world.start("w-1")
    await asyncio.sleep(3)
    world.pause(task)
    worker.agent.hint()
    await asyncio.sleep(0.05)
    world.change(task, desired=Desired.ENABLE, state=State.STARTING)
    worker.agent.hint()
    await asyncio.sleep(0.2)
    assert (worker.engine.stopped, worker.engine.runs) == ([task.key], {task.key: 2})


async def test_deleted_task_is_closed_and_its_row_goes(world: World) -> None:
    task = add_task(world.store, world.account, "1")
    worker = world.start("w-1")
    await asyncio.sleep(3)
    world.change(task, desired=Desired.DELETE, state=State.DELETED)
    worker.agent.hint()
    await asyncio.sleep(0.2)
    assert (worker.engine.stopped, worker.engine.runs) == ([task.key], {})
    assert world.store.read_now(lambda tx: tx.task_by_key(task.key)) is None


async def test_changed_task_gets_its_new_plan_and_is_not_stopped(world: World) -> None:
    task = add_task(world.store, world.account, "1")
    worker = world.start("w-1")
    await asyncio.sleep(3)
    spec = make_spec(to_url="rtmp://other.example/live/x")
    changed = world.change(task, spec=pull.encode(spec))
    worker.agent.hint()
    await asyncio.sleep(10)
    assert worker.engine.plans[task.key] == [pull.plan(task), pull.plan(changed)]
    assert (worker.engine.stopped, worker.engine.runs) == ([], {task.key: 1})


async def test_dead_workers_tasks_move_at_once_on_a_hint_with_a_higher_epoch(world: World) -> None:
    task = add_task(world.store, world.account, "1")
    first = world.start("w-1")
    await asyncio.sleep(3)
    second = world.start("w-2")
    await asyncio.sleep(3)
    await first.kill()
    second.agent.hint()
    await asyncio.sleep(0.01)
    row = read_task(world.store, task.key)
    assert (row.owner, row.epoch, second.engine.runs) == ("w-2", 2, {task.key: 2})


async def test_living_worker_keeps_its_tasks_however_silent_it_is(world: World) -> None:
    task = add_task(world.store, world.account, "1")
    first = world.start("w-1")
    await asyncio.sleep(3)
    first.store.down = True
    second = world.start("w-2")
    await asyncio.sleep(600)
    assert (first.engine.runs, second.engine.runs) == ({task.key: 1}, {})


async def test_full_worker_claims_no_more(world: World) -> None:
    tasks = [add_task(world.store, world.account, str(number)) for number in range(20)]
    small, large = world.start("w-1", capacity=3), world.start("w-2", capacity=15)
    await asyncio.sleep(10)
    assert (len(small.engine.runs), len(large.engine.runs)) == (3, 15)
    waiting = [task for task in tasks if read_task(world.store, task.key).state is State.WAITING]
    assert len(waiting) == 2
    world.pause(next(task for task in tasks if task.key in small.engine.runs))
    await asyncio.sleep(5)
    assert (len(small.engine.runs), len(large.engine.runs)) == (3, 15)


async def test_task_with_a_backup_takes_up_two_units(world: World) -> None:
    backup = {"backup_source_type": "PullLivePushLive", "backup_source_url": "rtmp://backup.example/live/a"}
    spec = pull.encode(make_spec(**backup))
    tasks = [add_task(world.store, world.account, str(number), spec=spec) for number in range(6)]
    worker = world.start("w-1", capacity=8)
    await asyncio.sleep(10)
    assert len(worker.engine.runs) == 4
    for task in [task for task in tasks if task.key in worker.engine.runs][:2]:
        world.change(task, spec=pull.encode(make_spec()))
    worker.agent.hint()
    await asyncio.sleep(5)
    assert len(worker.engine.runs) == 5


async def test_task_with_children_takes_up_ten_units_for_each(world: World) -> None:
    heavy = pull.encode(make_spec(source_urls=("https://h/a.m3u8",), to_url="srt://h:9000"))
    for number in range(3):
        add_task(world.store, world.account, str(number), spec=heavy)
    worker = world.start("w-1", capacity=43)
    await asyncio.sleep(10)
    assert len(worker.engine.runs) == 2


async def test_large_task_goes_where_there_is_room_for_it(world: World) -> None:
    """And lets small ones pass; one larger than every worker has one to itself."""
    small = [add_task(world.store, world.account, str(number)) for number in range(12)]
    workers = [world.start(f"w-{number}", capacity=10) for number in range(2)]
    await asyncio.sleep(10)
    large = add_task(world.store, world.account, "cost-9")
    late = add_task(world.store, world.account, "late", start_at=NOW + 1)
    await asyncio.sleep(10)
    assert read_task(world.store, large.key).owner is None
    assert read_task(world.store, late.key).owner
    for task in small:
        world.pause(task)
    await asyncio.sleep(10)
    assert read_task(world.store, large.key).owner
    assert sorted(worker.agent.used for worker in workers) in ([1, 9], [0, 10])
    for task in (large, late):
        world.pause(task)
    huge = add_task(world.store, world.account, "cost-99")
    await asyncio.sleep(10)
    assert read_task(world.store, huge.key).owner
    assert sorted(worker.agent.used for worker in workers) == [0, 10]


async def test_tasks_that_share_what_they_run_cost_as_much_as_the_largest(world: World) -> None:
    for name in ("cost-6", "cost-8"):
        add_task(world.store, world.account, name, affinity="x")
    workers = [world.start(f"w-{number}", capacity=10) for number in range(2)]
    await asyncio.sleep(10)
    assert sorted((len(worker.engine.runs), worker.agent.used) for worker in workers) == [(0, 0), (2, 8)]


async def test_many_tasks_spread_over_the_workers(world: World) -> None:
    for number in range(100):
        add_task(world.store, world.account, str(number))
    workers = [world.start(f"w-{number}") for number in range(4)]
    await asyncio.sleep(5)
    shares = [len(worker.engine.runs) for worker in workers]
    assert sum(shares) == 100
    assert min(shares) >= 10


async def test_state_is_written_within_a_second_and_leaves_one_event(world: World) -> None:
    task = add_task(world.store, world.account, "1")
    worker = world.start("w-1")
    await asyncio.sleep(3)
    for state in (State.ACTIVE, State.INACTIVE, State.ACTIVE):
        worker.engine.state_of[task.key] = state
        await asyncio.sleep(0.6)
        assert read_task(world.store, task.key).state is state
        await asyncio.sleep(20)
    assert event_names(world.store, task.key)[-4:] == ["task.claimed", "task.active", "task.inactive", "task.active"]


async def test_status_is_stored_every_two_seconds(world: World) -> None:
    task = add_task(world.store, world.account, "1")
    world.start("w-1")
    for _ in range(10):
        await asyncio.sleep(5)
        observed = read_task(world.store, task.key).observed
        assert observed
        assert clock() - observed.at <= 2500


async def test_task_that_another_worker_got_is_stopped_at_once(world: World) -> None:
    """As after a lock file was removed by hand: the fence holds."""
    task = add_task(world.store, world.account, "1")
    worker = world.start("w-1")
    await asyncio.sleep(3)
    world.store.write_now(lambda tx: tx.claim("w-2", dead=["w-1"], now=clock(), limit=9))
    worker.engine.state_of[task.key] = State.ACTIVE
    await asyncio.sleep(0.6)
    row = read_task(world.store, task.key)
    assert (worker.engine.runs, row.owner, row.state) == ({}, "w-2", State.STARTING)


async def test_task_that_another_worker_got_is_stopped_by_the_next_look(world: World) -> None:
    add_task(world.store, world.account, "1")
    worker = world.start("w-1")
    await asyncio.sleep(3)
    world.workers["w-2"] = worker  # it lives
    world.store.write_now(lambda tx: tx.claim("w-2", dead=["w-1"], now=clock(), limit=9))
    await asyncio.sleep(3)
    assert worker.engine.runs == {}
    del world.workers["w-2"]


async def test_store_that_cannot_answer_stops_nothing_and_loses_no_word(world: World) -> None:
    task = add_task(world.store, world.account, "1")
    worker = world.start("w-1")
    await asyncio.sleep(3)
    worker.store.down = True
    worker.engine.state_of[task.key] = State.ACTIVE
    worker.history.add(task.key, "source.lost", "connection reset")
    await asyncio.sleep(60)
    assert worker.engine.runs == {task.key: 1}
    assert read_task(world.store, task.key).state is State.STARTING
    worker.store.down = False
    await asyncio.sleep(1)
    assert read_task(world.store, task.key).state is State.ACTIVE
    assert event_names(world.store, task.key)[-3:] == ["task.claimed", "source.lost", "task.active"]


async def test_pause_during_an_outage_is_followed_after_it(world: World) -> None:
    task = add_task(world.store, world.account, "1")
    worker = world.start("w-1")
    await asyncio.sleep(3)
    world.pause(task)
    worker.store.down = True
    await asyncio.sleep(30)
    assert worker.engine.runs == {task.key: 1}
    worker.store.down = False
    await asyncio.sleep(3)
    row = read_task(world.store, task.key)
    assert (worker.engine.runs, row.owner, row.state) == ({}, None, State.PAUSED)


async def test_outage_between_stop_and_release_is_made_up_for(world: World) -> None:
    task = add_task(world.store, world.account, "1")
    worker = world.start("w-1")
    await asyncio.sleep(3)
    world.pause(task)
    worker.agent.hint()
    await asyncio.sleep(0.05)
    worker.store.down = True
    await asyncio.sleep(10)
    assert (worker.engine.runs, read_task(world.store, task.key).owner) == ({}, "w-1")
    worker.store.down = False
    await asyncio.sleep(3)
    assert read_task(world.store, task.key).owner is None


async def test_task_that_cannot_be_planned_stands_in_nobodys_way(world: World) -> None:
    odd, plain = add_task(world.store, world.account, "odd"), add_task(world.store, world.account, "1")
    worker = world.start("w-1")
    await asyncio.sleep(30)
    assert worker.engine.runs == {plain.key: 1}
    assert event_names(world.store, odd.key).count("task.unplannable") == 1


async def test_history_of_a_long_outage_is_bounded(world: World) -> None:
    task = add_task(world.store, world.account, "1")
    worker = world.start("w-1")
    await asyncio.sleep(3)
    worker.store.down = True
    for number in range(3000):
        worker.history.add(task.key, f"side-{number}.lost", str(number))
    worker.store.down = False
    await asyncio.sleep(1)
    events = world.store.read_now(lambda tx: tx.events(task.key, limit=5000))
    lost = [event.text for event in events if event.name.endswith(".lost")]
    assert lost == [str(number) for number in range(2000, 3000)]


async def test_worker_that_leaves_gives_up_its_tasks_at_once(world: World) -> None:
    tasks = [add_task(world.store, world.account, str(number)) for number in range(10)]
    world.pause(tasks[0])
    worker = world.start("w-1")
    await asyncio.sleep(5)
    await worker.leave()
    rows = [read_task(world.store, task.key) for task in tasks]
    assert {(row.owner, row.state) for row in rows[1:]} == {(None, State.WAITING)}
    assert (rows[0].owner, rows[0].state, worker.engine.runs) == (None, State.PAUSED, {})
    [last] = world.store.read_now(lambda tx: tx.last_events(tasks[1].key, 1))
    assert (last.name, last.text, last.by) == ("task.released", "given up by w-1, which ends", "w-1")


async def test_old_events_are_removed_in_time(world: World) -> None:
    task = add_task(world.store, world.account, "1")
    world.store.write_now(lambda tx: tx.add_event(task.key, at=NOW - 31 * DAY, name="old", text="", by="worker"))
    world.start("w-1")
    await asyncio.sleep(500)
    assert "old" not in event_names(world.store, task.key)


@asynccontextmanager
async def never_twice(world: World) -> AsyncIterator[None]:
    """Meanwhile no task runs in two workers."""

    async def look() -> None:
        while True:
            running = [key for worker in world.workers.values() for key in worker.engine.runs]
            assert len(running) == len(set(running))
            await asyncio.sleep(0.01)

    async with asyncio.TaskGroup() as group:
        looking = group.create_task(look())
        yield
        looking.cancel()


@pytest.mark.parametrize("seed", range(10))
async def test_through_random_deaths_and_outages_no_task_runs_twice_and_all_run_in_the_end(
    world: World, seed: int
) -> None:
    rng = random.Random(seed)
    tasks = [add_task(world.store, world.account, str(number)) for number in range(12)]
    names = (f"w-{number}" for number in range(1000))
    for _ in range(3):
        world.start(next(names))

    async with never_twice(world):
        for _ in range(40):
            await asyncio.sleep(rng.uniform(0, 1.5))
            worker = rng.choice(list(world.workers.values()))
            task = read_task(world.store, rng.choice(tasks).key)
            match rng.choice(["kill", "leave", "outage", "pause", "enable"]):
                case "kill":
                    await worker.kill()
                    world.start(next(names))
                case "leave":
                    await worker.leave()
                    world.start(next(names))
                case "outage":
                    worker.store.down = not worker.store.down
                case "pause" if task.desired is Desired.ENABLE:
                    world.pause(task)
                case "enable" if task.desired is Desired.PAUSE:
                    state = State.STARTING if task.owner else State.WAITING
                    world.change(task, desired=Desired.ENABLE, state=state)
            for other in world.workers.values():
                if rng.random() < 0.5:
                    other.agent.hint()
        for worker in world.workers.values():
            worker.store.down = False
        await asyncio.sleep(6)

    wanted = {key for key in (task.key for task in tasks) if read_task(world.store, key).desired is Desired.ENABLE}
    running = {key: epoch for worker in world.workers.values() for key, epoch in worker.engine.runs.items()}
    assert running == {key: read_task(world.store, key).epoch for key in wanted}
