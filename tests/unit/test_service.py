"""What callers may do with pull tasks, on a real store."""

import asyncio
from typing import Any

import pytest

from penstock.errors import (
    InvalidCallbackUrl,
    InvalidField,
    InvalidSourceUrl,
    InvalidTaskId,
    InvalidTaskTime,
    InvalidToUrl,
    TaskNotFound,
    TooManyTasks,
    Unsupported,
)
from penstock.store.sql import SqlStore
from penstock.tasks.model import Desired, State
from penstock.tasks.service import list_tasks, show_task
from tests.unit.making import (
    HOUR,
    NOW,
    add_account,
    claim,
    make_spec,
    observe,
)
from tests.unit.place import Place
from tests.unit.world import World


@pytest.fixture
def world(store: SqlStore) -> World:
    return World(store)


@pytest.fixture
def account(world: World) -> int:
    return add_account(world.store, task_limit=3)


class TestCreate:
    """Making a task."""

    async def test_ids_are_numbers_from_10001(self, world: World, account: int) -> None:
        assert [await world.create(account) for _ in range(2)] == ["10001", "10002"]

    async def test_new_task_is_as_it_was_asked_for(self, world: World, account: int) -> None:
        view = await world.tasks.status(account, await world.create(account, comment="好"))
        assert view.spec == make_spec(comment="好")
        task = view.task
        assert (task.desired, task.state, task.revision, task.owner) == (Desired.ENABLE, State.WAITING, 1, None)
        assert (task.start_at, task.end_at) == (NOW, NOW + 2 * HOUR)
        assert (task.created_by, task.updated_by, task.region) == ("ann", "ann", "ap-tokyo")
        assert (task.created_at, task.updated_at, task.state_at) == (NOW, NOW, NOW)
        assert not view.run.active

    async def test_workers_are_hinted(self, world: World, account: int) -> None:
        await world.create(account)
        assert world.hints == 1

    async def test_history_begins_with_its_creation(self, world: World, account: int) -> None:
        _, events = await show_task(world.store, world, NOW, account_id=account, task_id=await world.create(account))
        assert [(event.name, event.by, event.at) for event in events] == [("task.created", "ann", NOW)]
        assert events[0].text == "created, to run from 2026-01-31T10:00:00Z to 2026-01-31T12:00:00Z"

    async def test_specified_id_is_the_id(self, world: World, account: int) -> None:
        assert await world.create(account, "my-task_1") == "my-task_1"

    async def test_specified_id_makes_no_second_task(self, world: World, account: int) -> None:
        await world.create(account, "mine")
        with pytest.raises(InvalidTaskId, match="mine"):
            await world.create(account, "mine")
        assert (await world.tasks.describe(account)).total == 1

    async def test_full_account_still_says_that_the_id_is_taken(self, world: World, account: int) -> None:
        for name in ("a", "b", "c"):
            await world.create(account, name)
        with pytest.raises(InvalidTaskId):
            await world.create(account, "a")

    async def test_specified_id_may_be_used_by_another_account_and_after_a_delete(
        self, world: World, account: int
    ) -> None:
        await world.create(account, "mine")
        await world.create(add_account(world.store, "other"), "mine")
        await world.tasks.delete(account, "mine", operator="bob")
        await world.create(account, "mine")

    @pytest.mark.parametrize("task_id", ["a b", "a/b", "é", "x" * 65, "a\n"])
    async def test_malformed_id_is_refused(self, world: World, account: int, task_id: str) -> None:
        with pytest.raises(InvalidTaskId):
            await world.create(account, task_id)

    async def test_own_numbers_leave_out_those_that_callers_took(self, world: World, account: int) -> None:
        await world.create(account, "10001")
        assert await world.create(account) == "10002"

    async def test_limit_counts_every_task_that_is_not_deleted(self, world: World, account: int) -> None:
        ids = [await world.create(account) for _ in range(3)]
        await world.modify(account, ids[0], status="pause")
        with pytest.raises(TooManyTasks):
            await world.create(account)
        await world.tasks.delete(account, ids[0], operator="bob")
        await world.create(account)

    async def test_racing_creates_never_pass_the_limit(self, place: Place) -> None:
        stores = [place.open(inline=False) for _ in range(2)]
        account = add_account(stores[0], task_limit=5)
        calls = [World(store).create(account) for store in stores * 6]
        results = await asyncio.gather(*calls, return_exceptions=True)
        assert sum(isinstance(result, str) for result in results) == 5
        assert sum(isinstance(result, TooManyTasks) for result in results) == 7
        assert (await World(stores[0]).tasks.describe(account)).total == 5
        for store in stores:
            store.close()

    @pytest.mark.parametrize(
        ("fields", "refusal"),
        [
            ({"source_urls": ("garbage",)}, InvalidSourceUrl),
            ({"to_url": "garbage"}, InvalidToUrl),
            ({"end_time": "2026-01-31T09:00:00Z"}, InvalidTaskTime),
            ({"end_time": "2026-04-01T09:00:00Z"}, InvalidTaskTime),
            ({"record_template_id": "1"}, Unsupported),
            ({"source_urls": ("rtmp://10.0.0.1:99/a/b",)}, InvalidSourceUrl),
            ({"to_url": "rtmp://10.0.0.1/a/b"}, InvalidToUrl),
            ({"callback_url": "http://10.0.0.1/"}, InvalidCallbackUrl),
        ],
    )
    async def test_refused_task_leaves_nothing(
        self, world: World, account: int, fields: dict[str, Any], refusal: type[Exception]
    ) -> None:
        with pytest.raises(refusal):
            await world.create(account, **fields)
        assert (await world.tasks.describe(account)).total == 0
        assert world.hints == 0

    async def test_every_address_is_asked_about(self, world: World, account: int) -> None:
        await world.create(account, callback_url="http://hook.example:8080/x")
        assert world.asked == [("source.example", None), ("sink.example", None), ("hook.example", 8080)]

    async def test_operator_is_a_name(self, world: World, account: int) -> None:
        with pytest.raises(InvalidField, match="Operator"):
            await world.tasks.create(account, make_spec(), operator="a\nb", region="")


class TestDescribe:
    """Looking."""

    async def test_pages_go_from_the_latest_change_on(self, world: World, account: int) -> None:
        for name in ("a", "b", "c"):
            await world.create(account, name)
        world.now += 1
        await world.modify(account, "a", comment="x")
        pages = [await world.tasks.describe(account, page=page, size=2) for page in (1, 2, 3)]
        assert [[view.task.id for view in page.views] for page in pages] == [["a", "c"], ["b"], []]
        assert {(page.total, page.limit) for page in pages} == {(3, 3)}

    async def test_one_task_is_found_by_its_id(self, world: World, account: int) -> None:
        await world.create(account, "a")
        await world.create(account, "b")
        page = await world.tasks.describe(account, task_id="a")
        assert ([view.task.id for view in page.views], page.total, page.limit) == (["a"], 1, 3)

    async def test_unknown_task_is_an_empty_page(self, world: World, account: int) -> None:
        page = await world.tasks.describe(account, task_id="a")
        assert (page.views, page.total, page.limit) == ((), 0, 3)

    async def test_other_accounts_tasks_do_not_exist(self, world: World, account: int) -> None:
        await world.create(account, "a")
        other = add_account(world.store, "other")
        assert (await world.tasks.describe(other)).total == 0
        assert (await world.tasks.describe(other, task_id="a")).total == 0
        with pytest.raises(TaskNotFound):
            await world.tasks.status(other, "a")
        with pytest.raises(TaskNotFound):
            await world.modify(other, "a", status="pause")
        with pytest.raises(TaskNotFound):
            await world.tasks.delete(other, "a", operator="eve")

    async def test_page_far_beyond_the_end_is_empty(self, world: World, account: int) -> None:
        assert (await world.tasks.describe(account, page=10**30, size=20)).views == ()

    async def test_live_status_comes_before_the_stored_one(self, world: World, account: int) -> None:
        await world.create(account, "a")
        [task] = claim(world.store, "w-1")
        stored = observe(task.key, 1, state=State.INACTIVE, error="source: connection refused")
        world.store.write_now(lambda tx: tx.checkpoint("w-1", [stored]))
        assert (await world.tasks.status(account, "a")).run.error == "source: connection refused"
        world.live[task.key] = observe(task.key, 1, at=NOW + 1)
        assert (await world.tasks.status(account, "a")).run.active

    async def test_stored_status_of_a_later_run_comes_before_a_live_one(self, world: World, account: int) -> None:
        await world.create(account, "a")
        claim(world.store, "w-1")
        [task] = claim(world.store, "w-2", dead={"w-1"})
        world.store.write_now(lambda tx: tx.checkpoint("w-2", [observe(task.key, 2)]))
        world.live[task.key] = observe(task.key, 1, at=NOW + 1, state=State.INACTIVE)
        assert (await world.tasks.status(account, "a")).run.active

    async def test_command_line_sees_all_accounts(self, world: World, account: int) -> None:
        other = add_account(world.store, "other")
        await world.create(account, "a")
        await world.create(other, "b")
        ids = [view.task.id for view in await list_tasks(world.store, world, NOW)]
        assert sorted(ids) == ["a", "b"]
        [view] = await list_tasks(world.store, world, NOW, account_id=other)
        assert view.task.id == "b"

    async def test_shown_history_is_the_newest_in_order(self, world: World, account: int) -> None:
        await world.create(account, "a")
        for _ in range(2):
            await world.modify(account, "a", status="pause")
            await world.modify(account, "a", status="enable")
        _, events = await show_task(world.store, world, NOW, account_id=account, task_id="a", events=3)
        assert [event.name for event in events] == ["task.enabled", "task.paused", "task.enabled"]
