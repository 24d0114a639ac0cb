"""A worker's agent on a real store, with an engine that only remembers, in virtual time."""

import asyncio

import pytest

from penstock.tasks.families import pull
from penstock.tasks.model import Desired, State
from tests.unit.crew import HOUR, World, clock, store_, world_  # noqa: F401 - fixtures
from tests.unit.making import DAY, NOW, add_task, event_names, make_spec, read_task

pytestmark = pytest.mark.looptime


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


async def test_task_that_has_finished_ends_before_its_time_and_what_was_last_seen_is_kept(world: World) -> None:
    task, other = (add_task(world.store, world.account, name) for name in "12")
    worker = world.start("w-1")
    await asyncio.sleep(3)
    worker.engine.over.add(task.key)
    await asyncio.sleep(1)
    row = read_task(world.store, task.key)
    assert (row.state, row.owner, worker.engine.runs) == (State.ENDED, None, {other.key: 1})
    assert row.observed is not None
    assert row.observed.finished
    event = world.store.read_now(lambda tx: tx.last_events(task.key, 1))[0]
    assert (event.name, event.text, event.by) == ("task.ended", "the last round has been played", "w-1")


async def test_what_was_seen_last_is_kept_of_a_task_that_is_given_up(world: World) -> None:
    """So whoever runs it next goes on there: after a pause, and after the orderly end of a worker."""
    paused, drained = (add_task(world.store, world.account, name) for name in "12")
    worker = world.start("w-1")
    await asyncio.sleep(3.3)
    at = clock()
    world.pause(paused)
    worker.agent.hint()
    await worker.leave()
    for task in (paused, drained):
        row = read_task(world.store, task.key)
        assert (row.owner, row.observed is not None and row.observed.at >= at) == (None, True)


async def test_task_that_was_changed_while_it_finished_runs_again(world: World) -> None:
    task = add_task(world.store, world.account, "1")
    worker = world.start("w-1")
    await asyncio.sleep(3)
    worker.engine.over.add(task.key)
    world.change(task)
    await asyncio.sleep(4)
    assert (read_task(world.store, task.key).state, worker.engine.runs) == (State.STARTING, {task.key: 2})


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


async def test_task_that_cannot_be_planned_stands_in_nobodys_way(world: World) -> None:
    odd, plain = add_task(world.store, world.account, "odd"), add_task(world.store, world.account, "1")
    worker = world.start("w-1")
    await asyncio.sleep(30)
    assert worker.engine.runs == {plain.key: 1}
    assert event_names(world.store, odd.key).count("task.unplannable") == 1


async def test_old_events_are_removed_in_time(world: World) -> None:
    task = add_task(world.store, world.account, "1")
    world.store.write_now(lambda tx: tx.add_event(task.key, at=NOW - 31 * DAY, name="old", text="", by="worker"))
    world.start("w-1")
    await asyncio.sleep(500)
    assert "old" not in event_names(world.store, task.key)
