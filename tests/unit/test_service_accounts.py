"""What an account may do with pull tasks: with its own, towards its own domains, while its service is active."""

import pytest

from penstock.errors import InvalidBackupToUrl, InvalidToUrl, ServiceNotActive, TaskNotFound, ToUrlForbidden
from penstock.store.sql import SqlStore
from penstock.tasks.accounts import add_domain, set_service
from penstock.tasks.families import pull
from penstock.tasks.families.pull import PullChange
from penstock.tasks.model import Area, ServiceName, ServiceState
from tests.unit.making import NOW, add_account
from tests.unit.world import World

#: A destination in the hub.
HUB = {"domain_name": "hub.example", "app_name": "live", "stream_name": "a", "to_url": ""}


@pytest.fixture
def world(store: SqlStore) -> World:
    return World(store)


@pytest.fixture
def first(world: World) -> int:
    return add_account(world.store, "first")


@pytest.fixture
def second(world: World, first: int) -> int:
    return add_account(world.store, "second")


async def freeze(store: SqlStore, name: str, state: ServiceState = ServiceState.FROZEN) -> None:
    await set_service(store, name, ServiceName.LIVE, state, now=NOW, by="admin")


class TestDomains:
    """Whose destination it is."""

    async def test_hub_is_the_first_accounts(self, world: World, first: int, second: int) -> None:
        await world.create(first, **HUB)
        with pytest.raises(ToUrlForbidden, match=r"hub\.example"):
            await world.create(second, **HUB)
        with pytest.raises(ToUrlForbidden):
            await world.create(second, to_url="rtmp://HUB.example/live/a")
        assert (await world.tasks.describe(second)).total == 0

    async def test_hubs_domain_that_was_given_away_is_that_accounts(
        self, world: World, first: int, second: int
    ) -> None:
        await add_domain(world.store, "hub.example", "second", area=Area.GLOBAL)
        await world.create(second, **HUB)
        with pytest.raises(ToUrlForbidden):
            await world.create(first, **HUB)

    async def test_domain_of_an_account_is_closed_to_others(self, world: World, first: int, second: int) -> None:
        await add_domain(world.store, "push.second.example", "second", area=Area.GLOBAL)
        with pytest.raises(ToUrlForbidden):
            await world.create(first, to_url="rtmp://push.second.example/live/a")
        await world.create(second, to_url="rtmp://push.second.example/live/a")

    async def test_domain_of_nobody_is_open_to_all(self, world: World, first: int, second: int) -> None:
        for account in (first, second):
            await world.create(account, to_url="rtmp://cdn.example/live/a")

    async def test_task_cannot_be_turned_to_anothers_domain(self, world: World, first: int, second: int) -> None:
        task_id = await world.create(second)
        with pytest.raises(ToUrlForbidden):
            await world.modify(second, task_id, to_url="rtmp://hub.example/live/a")
        assert (await world.tasks.status(second, task_id)).spec.to_url == "rtmp://sink.example/live/key"

    async def test_task_made_before_the_domain_was_given_away_can_still_be_paused(
        self, world: World, first: int, second: int
    ) -> None:
        task_id = await world.create(first, **HUB)
        await add_domain(world.store, "hub.example", "second", area=Area.GLOBAL)
        await world.modify(first, task_id, status="pause")


class TestLoops:
    """A task is never its own source."""

    PULLED = "rtmp://hub.example/live/a?key=1"

    @pytest.mark.parametrize(
        ("source", "destination"),
        [
            (PULLED, "rtmp://hub.example/live/a"),
            (PULLED, "rtmp://LOCALHOST/live/a?key=2"),
            ("http://localhost/live/a.flv?token=1", "rtmp://hub.example/live/a"),
            ("rtmp://h.example/live/a", "rtmp://H.example:1935/live/a?key=1"),
            ("rtsp://h.example/live/a", "rtsp://h.example:554/live/a"),
            ("srt://h.example:9000?streamid=a", "srt://h.example:9000?streamid=a"),
        ],
    )
    async def test_destination_that_is_the_source_is_refused(
        self, world: World, first: int, source: str, destination: str
    ) -> None:
        """However the hub and its stream are spelled."""
        with pytest.raises(InvalidToUrl, match="the task itself pulls from"):
            await world.create(first, source_urls=(source,), to_url=destination)
        with pytest.raises(InvalidBackupToUrl, match="the task itself pulls from"):
            await world.create(first, source_urls=(source,), backup_to_url=destination)
        with pytest.raises(InvalidToUrl):
            await world.create(
                first, backup_source_type="PullLivePushLive", backup_source_url=source, to_url=destination
            )
        task_id = await world.create(first, source_urls=(source,))
        with pytest.raises(InvalidToUrl):
            await world.modify(first, task_id, to_url=destination)
        await world.modify(first, task_id, source_urls=("rtmp://other.example/live/a",), to_url=destination)
        with pytest.raises(InvalidToUrl):
            await world.modify(first, task_id, source_urls=(source,))

    @pytest.mark.parametrize(
        "destination",
        [
            "rtmp://hub.example/live/b",
            "rtmp://hub.example/other/a",
            "rtmp://h.example/live/a",
            "rtmps://hub.example/live/a",
        ],
    )
    async def test_another_stream_is_another_one(self, world: World, first: int, destination: str) -> None:
        await world.create(first, source_urls=(self.PULLED,), to_url=destination)

    async def test_stream_of_another_account_is_another_one(self, world: World, first: int, second: int) -> None:
        """Of the same name, at the same hub."""
        await add_domain(world.store, "localhost", "second", area=Area.GLOBAL)
        await world.create(second, source_urls=(self.PULLED,), to_url="rtmp://localhost/live/a")

    async def test_task_of_before_can_be_paused(self, world: World, first: int) -> None:
        """The rule is asked where a source or a destination changes."""
        task_id = await world.create(first, source_urls=(self.PULLED,), to_url="rtmp://localhost/live/b")
        task = (await world.tasks.status(first, task_id)).task
        old = pull.encode(pull.apply(pull.decode(task.spec), PullChange(to_url="rtmp://localhost/live/a")))
        await world.store.write(lambda tx: tx.change_task(task.key, at=NOW, by="", spec=old))
        await world.modify(first, task_id, status="pause", comment="mend me")
        with pytest.raises(InvalidToUrl):
            await world.modify(first, task_id, backup_to_url="")


class TestServiceStates:
    """The core's own guard, for calls that were let in just before the state changed."""

    @pytest.mark.parametrize("state", [state for state in ServiceState if state is not ServiceState.ACTIVE])
    async def test_no_task_is_made_or_changed_while_the_service_is_not_active(
        self, world: World, first: int, state: ServiceState
    ) -> None:
        task_id = await world.create(first)
        await freeze(world.store, "first", state)
        for call in (world.create(first), world.modify(first, task_id, status="enable")):
            with pytest.raises(ServiceNotActive, match=f"live is {state}"):
                await call
        await freeze(world.store, "first", ServiceState.ACTIVE)
        await world.create(first)
        await world.modify(first, task_id, status="pause")

    async def test_other_accounts_and_other_services_are_not_concerned(
        self, world: World, first: int, second: int
    ) -> None:
        await freeze(world.store, "first")
        await set_service(world.store, "second", ServiceName.MDC, ServiceState.BLOCKED, now=NOW, by="admin")
        await world.create(second)


class TestIsolation:
    """Another account's task is no task."""

    async def test_same_id_is_a_different_task_for_each(self, world: World, first: int, second: int) -> None:
        for account in (first, second):
            await world.create(account, "same", comment=str(account))
        await world.modify(first, "same", comment="changed")
        await world.tasks.delete(first, "same", operator="ann")
        assert (await world.tasks.status(second, "same")).spec.comment == str(second)
        with pytest.raises(TaskNotFound):
            await world.tasks.status(first, "same")

    async def test_limit_counts_ones_own(self, world: World, first: int) -> None:
        other = add_account(world.store, "small", task_limit=1)
        for _ in range(3):
            await world.create(first)
        await world.create(other)
        assert (await world.tasks.describe(other)).total == 1
