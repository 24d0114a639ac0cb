"""Agents beside each other: who gets which task, how much each takes, and that no task runs twice."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from penstock.tasks.families import pull
from penstock.tasks.model import Desired, State
from tests.unit.crew import World, clock, store_, world_  # noqa: F401 - fixtures
from tests.unit.making import NOW, add_task, make_spec, read_task

pytestmark = pytest.mark.looptime


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
