"""How callers change and delete pull tasks, on a real store."""

from typing import Any, Literal

import pytest

from penstock.errors import (
    Conflict,
    InvalidTaskTime,
    InvalidToUrl,
    TaskNotFound,
)
from penstock.store.sql import SqlStore
from penstock.tasks.families import pull
from penstock.tasks.model import Desired, State
from penstock.tasks.service import list_tasks, show_task
from tests.unit.making import (
    DAY,
    HOUR,
    NOW,
    add_account,
    claim,
    event_names,
    make_spec,
    read_task,
)
from tests.unit.world import World


@pytest.fixture
def world(store: SqlStore) -> World:
    return World(store)


@pytest.fixture
def account(world: World) -> int:
    return add_account(world.store, task_limit=3)


class TestModify:
    """Changing."""

    async def test_pause_and_enable_of_a_task_that_nobody_runs(self, world: World, account: int) -> None:
        await world.create(account, "a")
        world.now += 1000
        await world.modify(account, "a", status="pause")
        task = (await world.tasks.status(account, "a")).task
        assert (task.desired, task.state, task.state_at) == (Desired.PAUSE, State.PAUSED, world.now)
        assert claim(world.store, "w-1") == []
        await world.modify(account, "a", status="enable")
        task = (await world.tasks.status(account, "a")).task
        assert (task.desired, task.state, task.revision) == (Desired.ENABLE, State.WAITING, 3)
        assert event_names(world.store, task.key) == ["task.created", "task.paused", "task.enabled"]

    async def test_pause_of_a_running_task_waits_for_its_worker(self, world: World, account: int) -> None:
        await world.create(account, "a")
        [task] = claim(world.store, "w-1")
        await world.modify(account, "a", status="pause")
        [owned] = world.store.read_now(lambda tx: tx.owned("w-1"))
        assert (owned.desired, owned.state, owned.owner) == (Desired.PAUSE, State.PAUSED, "w-1")
        world.store.write_now(lambda tx: tx.release(task.key, owner="w-1", epoch=1, state=State.PAUSED, at=NOW))
        assert read_task(world.store, task.key).state is State.PAUSED

    async def test_task_enabled_before_its_worker_let_go_runs_on(self, world: World, account: int) -> None:
        await world.create(account, "a")
        claim(world.store, "w-1")
        await world.modify(account, "a", status="pause")
        await world.modify(account, "a", status="enable")
        task = (await world.tasks.status(account, "a")).task
        assert (task.state, task.owner, task.epoch) == (State.STARTING, "w-1", 1)

    async def test_what_is_not_given_stays(self, world: World, account: int) -> None:
        await world.create(account, "a", comment="x", callback_events=("TaskStart",))
        await world.modify(account, "a", source_urls=("rtmp://other.example/a/b",))
        view = await world.tasks.status(account, "a")
        assert view.spec == make_spec(
            comment="x", callback_events=("TaskStart",), source_urls=("rtmp://other.example/a/b",)
        )

    async def test_change_moves_update_time_and_operator_alone(self, world: World, account: int) -> None:
        await world.create(account, "a")
        world.now += 5000
        await world.modify(account, "a", comment="x")
        task = (await world.tasks.status(account, "a")).task
        assert (task.updated_at, task.updated_by) == (NOW + 5000, "bob")
        assert (task.created_at, task.created_by, task.state_at) == (NOW, "ann", NOW)

    async def test_event_names_what_changed_and_no_value(self, world: World, account: int) -> None:
        await world.create(account, "a")
        await world.modify(account, "a", to_url="rtmp://h/a/k3y", comment="c0mment")
        _, events = await show_task(world.store, world, NOW, account_id=account, task_id="a")
        assert [event.text for event in events][1:] == ["changed to_url, comment"]

    async def test_later_end_alone_leaves_a_running_task_running(self, world: World, account: int) -> None:
        await world.create(account, "a")
        [before] = claim(world.store, "w-1")
        await world.modify(account, "a", end_time="2026-01-31T20:00:00+08:00")
        task = (await world.tasks.status(account, "a")).task
        assert (task.end_at, task.state, task.owner, task.epoch) == (
            NOW + 2 * HOUR,
            before.state,
            "w-1",
            before.epoch,
        )
        view = await world.tasks.status(account, "a")
        assert view.spec.end_time == "2026-01-31T20:00:00+08:00"

    async def test_end_in_the_past_is_refused(self, world: World, account: int) -> None:
        await world.create(account, "a")
        with pytest.raises(InvalidTaskTime):
            await world.modify(account, "a", end_time="2026-01-31T10:00:00Z")

    async def test_start_and_end_are_judged_together(self, world: World, account: int) -> None:
        await world.create(account, "a")
        with pytest.raises(InvalidTaskTime):
            await world.modify(account, "a", start_time="2026-01-31T13:00:00Z")
        await world.modify(account, "a", start_time="2026-02-10T00:00:00Z", end_time="2026-02-11T00:00:00Z")
        assert claim(world.store, "w-1") == []

    @pytest.mark.parametrize("swept", [True, False])
    @pytest.mark.parametrize("status", ["enable", "pause"])
    async def test_ended_task_has_no_status_to_change(
        self, world: World, account: int, status: str, swept: bool
    ) -> None:
        await world.create(account, "a")
        world.now += DAY
        if swept:
            world.store.write_now(lambda tx: tx.sweep(world.now, dead=()))
        with pytest.raises(Conflict, match="ended"):
            await world.modify(account, "a", status=status)

    async def test_ended_task_may_be_given_a_comment(self, world: World, account: int) -> None:
        await world.create(account, "a")
        world.now += DAY
        world.store.write_now(lambda tx: tx.sweep(world.now, dead=()))
        await world.modify(account, "a", comment="x")
        assert (await world.tasks.status(account, "a")).task.state is State.ENDED

    @pytest.mark.parametrize(
        ("paused", "fields", "state"),
        [
            (False, {}, State.WAITING),
            (False, {"status": "pause"}, State.PAUSED),
            (True, {}, State.PAUSED),
            (True, {"status": "enable"}, State.WAITING),
        ],
    )
    async def test_ended_task_lives_again_with_a_later_end(
        self, world: World, account: int, paused: bool, fields: dict[str, Any], state: State
    ) -> None:
        await world.create(account, "a")
        if paused:
            await world.modify(account, "a", status="pause")
        world.now += DAY
        world.store.write_now(lambda tx: tx.sweep(world.now, dead=()))
        await world.modify(account, "a", end_time="2026-02-02T00:00:00Z", **fields)
        task = (await world.tasks.status(account, "a")).task
        assert task.state is state
        assert (task.desired is Desired.PAUSE) == (state is State.PAUSED)
        assert bool(claim(world.store, "w-1", now=world.now)) == (state is State.WAITING)

    async def test_only_new_addresses_are_asked_about(self, world: World, account: int) -> None:
        await world.create(account, "a")
        world.asked.clear()
        await world.modify(account, "a", comment="x", source_urls=("rtmp://new.example:1936/a/b",))
        assert world.asked == [("new.example", 1936)]

    async def test_refused_address_changes_nothing(self, world: World, account: int) -> None:
        await world.create(account, "a")
        with pytest.raises(InvalidToUrl, match=r"network\.allow"):
            await world.modify(account, "a", to_url="rtmp://10.1.1.1/a/b", comment="x")
        assert (await world.tasks.status(account, "a")).spec == make_spec()

    async def test_unknown_task_cannot_be_changed(self, world: World, account: int) -> None:
        with pytest.raises(TaskNotFound):
            await world.modify(account, "10001", status="pause")


class TestRestart:
    """Beginning anew."""

    async def test_running_task_starts_again_with_its_worker(self, world: World, account: int) -> None:
        await world.create(account, "a")
        [before] = claim(world.store, "w-1")
        world.store.write_now(lambda tx: tx.set_state(before.key, owner="w-1", epoch=1, state=State.ACTIVE, at=NOW))
        world.now += 5000
        hints = world.hints
        await world.tasks.restart(account, "a", operator="bob")
        task = (await world.tasks.status(account, "a")).task
        assert (task.state, task.owner, task.epoch) == (State.STARTING, "w-1", 1)
        assert (task.updated_at, task.updated_by, task.revision) == (world.now, "bob", before.revision + 1)
        assert pull.plan(task).generation == pull.plan(before).generation + 1
        assert event_names(world.store, task.key)[-1] == "task.restarted"
        assert world.hints == hints + 1

    async def test_task_that_waits_for_a_worker_goes_on_waiting(self, world: World, account: int) -> None:
        await world.create(account, "a")
        await world.tasks.restart(account, "a", operator="bob")
        assert (await world.tasks.status(account, "a")).task.state is State.WAITING
        assert len(claim(world.store, "w-1")) == 1

    @pytest.mark.parametrize("status", [None, "pause"])
    async def test_task_that_is_not_meant_to_run_is_a_conflict(
        self, world: World, account: int, status: Literal["pause"] | None
    ) -> None:
        await world.create(account, "a")
        await world.create(account, "later", start_time="2026-01-31T11:00:00Z")
        if status:
            await world.modify(account, "a", status=status)
        else:
            world.now += 2 * HOUR
        with pytest.raises(Conflict, match="paused; enable it" if status else "give it a later EndTime"):
            await world.tasks.restart(account, "a", operator="bob")
        world.now = NOW
        with pytest.raises(Conflict, match="has not begun"):
            await world.tasks.restart(account, "later", operator="bob")

    async def test_unknown_task_cannot_be_restarted(self, world: World, account: int) -> None:
        with pytest.raises(TaskNotFound):
            await world.tasks.restart(account, "10001", operator="bob")


class TestDelete:
    """Taking away."""

    async def test_task_that_nobody_runs_is_gone_for_good(self, world: World, account: int) -> None:
        key = (await world.tasks.status(account, await world.create(account, "a"))).task.key
        await world.tasks.delete(account, "a", operator="bob")
        assert (await world.tasks.describe(account, task_id="a")).total == 0
        assert event_names(world.store, key) == []
        assert world.hints == 2

    async def test_running_task_is_gone_for_callers_and_left_to_its_worker(self, world: World, account: int) -> None:
        await world.create(account, "a")
        [task] = claim(world.store, "w-1")
        await world.tasks.delete(account, "a", operator="bob")
        assert (await world.tasks.describe(account)).total == 0
        assert await list_tasks(world.store, world, NOW) == []
        [owned] = world.store.read_now(lambda tx: tx.owned("w-1"))
        assert (owned.desired, owned.state) == (Desired.DELETE, State.DELETED)
        assert event_names(world.store, task.key)[-1] == "task.deleted"
        world.store.write_now(lambda tx: tx.release(task.key, owner="w-1", epoch=1, state=State.WAITING, at=NOW))
        assert world.store.read_now(lambda tx: tx.owned("w-1")) == []
        assert event_names(world.store, task.key) == []

    async def test_deleted_task_cannot_be_deleted_again(self, world: World, account: int) -> None:
        await world.create(account, "a")
        claim(world.store, "w-1")
        await world.tasks.delete(account, "a", operator="bob")
        with pytest.raises(TaskNotFound):
            await world.tasks.delete(account, "a", operator="bob")
