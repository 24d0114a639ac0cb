"""A worker's agent whose store cannot answer for a time: nothing stops, and no word is lost."""

import asyncio

import pytest

from penstock.tasks.model import State
from tests.unit.crew import World, store_, world_  # noqa: F401 - fixtures
from tests.unit.making import add_task, event_names, read_task

pytestmark = pytest.mark.looptime


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
