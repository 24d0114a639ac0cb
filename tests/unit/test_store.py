"""The verbs of a transaction, on SQLite and on PostgreSQL."""

import pytest

from penstock.errors import InvalidTaskId, StoreError, TaskNotFound
from penstock.store import schema
from penstock.store.sql import SqlStore
from penstock.store.tx import KEEP_EVENTS, SqlTx
from penstock.tasks.accounts import create_account
from penstock.tasks.model import Desired
from tests.unit.making import (
    DAY,
    NOW,
    add_account,
    add_task,
    claim,
    event_names,
    read_task,
)
from tests.unit.place import Place


class TestTransactions:
    """All or nothing."""

    async def test_error_undoes_everything(self, store: SqlStore) -> None:
        def work(tx: SqlTx) -> None:
            tx.add_account("a", task_limit=1)
            raise TaskNotFound

        with pytest.raises(TaskNotFound):
            await store.write(work)
        assert await store.read(lambda tx: tx.accounts()) == []

    async def test_read_sees_one_moment(self, store: SqlStore, account: int) -> None:
        def work(tx: SqlTx) -> tuple[int, int]:
            before = tx.count_tasks(account, "pull")
            add_task(store, account, "a")
            return before, tx.count_tasks(account, "pull")

        assert await store.read(work) == (0, 0)
        assert await store.read(lambda tx: tx.count_tasks(account, "pull")) == 1

    async def test_reads_that_fail_again_and_again_leave_the_next_one_well(self, store: SqlStore) -> None:
        """More often than there are connections in the pool."""

        def work(tx: SqlTx) -> None:
            tx._db.exec_driver_sql("SELECT * FROM nowhere")

        for _ in range(30):
            with pytest.raises(StoreError, match=r"no such table|does not exist"):
                await store.read(work)
        assert await store.read(lambda tx: tx.accounts()) == []

    async def test_error_of_the_database_tells_no_value(self, store: SqlStore) -> None:
        with pytest.raises(StoreError) as refused:
            add_task(store, 999, "secret-id")
        assert "foreign key" in refused.value.message.lower()
        assert "secret-id" not in refused.value.message + str(refused.value.__cause__)

    async def test_closed_store_says_so(self, store: SqlStore) -> None:
        store.close()
        store.close()
        with pytest.raises(StoreError, match="closed"):
            await store.read(lambda tx: tx.accounts())


class TestSecrets:
    """What must not be read from the disk."""

    async def test_no_secret_stands_in_the_database(self, store: SqlStore, account: int, place: Place) -> None:
        made = await create_account(store, "other", sdk_app_ids=[7])
        add_task(store, account, "a", spec=b"rtmp://h/app/str3am-key")
        stored = place.everything()
        assert made.secret_id.encode() in stored
        for secret in (made.secret_key, made.sdk_apps[0].secret_key, "str3am-key"):
            assert secret.encode() not in stored

    async def test_secret_moved_to_another_row_does_not_open(self, store: SqlStore, account: int) -> None:
        first, second = add_task(store, account, "a"), add_task(store, account, "b")
        with store._writing.begin() as connection:
            connection.exec_driver_sql(
                f"UPDATE task SET spec = (SELECT spec FROM task WHERE key = {first.key}) WHERE key = {second.key}"
            )
        with pytest.raises(StoreError, match="cannot be opened"):
            read_task(store, second.key)
        assert read_task(store, first.key) == first


class TestRows:
    """Tasks as callers see them."""

    async def test_id_is_unique_within_account_and_family(self, store: SqlStore, account: int) -> None:
        add_task(store, account, "a")
        with pytest.raises(InvalidTaskId):
            add_task(store, account, "a")
        add_task(store, account, "a", family="link")
        add_task(store, add_account(store, "other"), "a")

    async def test_id_is_free_again_before_the_old_row_is_gone(self, store: SqlStore, account: int) -> None:
        old = add_task(store, account, "a")
        claim(store, "w-1")
        store.write_now(lambda tx: tx.change_task(old.key, at=NOW, by="", desired=Desired.DELETE))
        new = add_task(store, account, "a")
        assert new.key > old.key
        assert store.read_now(lambda tx: tx.task(account, "pull", "a")) == new

    async def test_keys_are_never_used_again(self, store: SqlStore, account: int) -> None:
        old = add_task(store, account, "a")
        store.write_now(lambda tx: tx.remove_task(old.key))
        assert add_task(store, account, "a").key > old.key

    async def test_numbers_are_never_given_twice(self, store: SqlStore) -> None:
        def work(tx: SqlTx) -> list[int]:
            return [tx.next_task_number("pull", 10001), tx.next_task_number("link", 1)]

        assert [store.write_now(work) for _ in range(2)] == [[10001, 1], [10002, 2]]

    async def test_list_goes_from_the_latest_update_on_and_from_the_newest_row(
        self, store: SqlStore, account: int
    ) -> None:
        keys = [add_task(store, account, name, at=at).key for name, at in [("a", 3), ("b", 1), ("c", 3), ("d", 2)]]
        listed = store.read_now(lambda tx: tx.tasks(account, "pull"))
        assert [task.key for task in listed] == [keys[2], keys[0], keys[3], keys[1]]
        page = store.read_now(lambda tx: tx.tasks(None, None, offset=1, limit=2))
        assert list(page) == list(listed[1:3])

    async def test_list_of_one_account_and_family_holds_no_other(self, store: SqlStore, account: int) -> None:
        task = add_task(store, account, "a")
        add_task(store, account, "a", family="link")
        add_task(store, add_account(store, "other"), "a")
        assert store.read_now(lambda tx: tx.tasks(account, "pull")) == [task]
        assert store.read_now(lambda tx: tx.count_tasks(account, "pull")) == 1
        assert len(store.read_now(lambda tx: tx.tasks(None, None))) == 3

    async def test_unknown_row_cannot_be_changed(self, store: SqlStore) -> None:
        with pytest.raises(TaskNotFound):
            store.write_now(lambda tx: tx.change_task(1, at=NOW, by=""))


class TestHistory:
    """Events, and their bounds."""

    async def test_events_are_read_in_order_page_by_page(self, store: SqlStore, account: int) -> None:
        key = add_task(store, account, "a").key
        other = add_task(store, account, "b").key

        def work(tx: SqlTx) -> None:
            for number in range(5):
                tx.add_event(key, at=NOW, name=f"e{number}", text="", by="")
                tx.add_event(other, at=NOW, name="other", text="", by="")

        store.write_now(work)
        first = store.read_now(lambda tx: tx.events(key, limit=3))
        rest = store.read_now(lambda tx: tx.events(key, after=first[-1].id))
        assert [line.name for line in [*first, *rest]] == ["e0", "e1", "e2", "e3", "e4"]
        assert [line.name for line in store.read_now(lambda tx: tx.last_events(key, 2))] == ["e3", "e4"]

    async def test_event_of_a_task_that_is_gone_is_dropped(self, store: SqlStore) -> None:
        store.write_now(lambda tx: tx.add_event(7, at=NOW, name="late", text="", by=""))
        assert store.read_now(lambda tx: tx.events(7)) == []

    async def test_old_events_and_long_ended_tasks_are_pruned(self, store: SqlStore, account: int) -> None:
        running = add_task(store, account, "a", end_at=None)
        ended = add_task(store, account, "b")
        store.write_now(lambda tx: tx.add_event(running.key, at=NOW, name="old", text="", by=""))
        store.write_now(lambda tx: tx.sweep(NOW + DAY, dead=()))
        assert store.write_now(lambda tx: tx.prune(NOW + 30 * DAY)) == 0
        assert store.write_now(lambda tx: tx.prune(NOW + 31 * DAY)) == 1
        assert event_names(store, running.key) == []
        assert store.write_now(lambda tx: tx.prune(NOW + 31 * DAY + 1)) > 0
        assert [task.key for task in store.read_now(lambda tx: tx.tasks(None, None))] == [running.key]
        assert ended.key != running.key

    async def test_a_tasks_newest_ten_thousand_events_stay(self, store: SqlStore, account: int) -> None:
        key, other = add_task(store, account, "a").key, add_task(store, account, "b").key
        rows = [
            {"task_key": key, "at": NOW + number, "name": str(number), "text": "", "by": ""}
            for number in range(KEEP_EVENTS + 3)
        ]
        with store._writing.begin() as connection:
            connection.execute(schema.event.insert(), rows)
        store.write_now(lambda tx: tx.add_event(other, at=NOW, name="other", text="", by=""))
        assert store.write_now(lambda tx: tx.prune(NOW)) == 3
        [oldest] = store.read_now(lambda tx: tx.events(key, limit=1))
        assert oldest.name == "3"
        assert event_names(store, other) == ["other"]
        assert store.write_now(lambda tx: tx.prune(NOW)) == 0


class TestDomains:
    """Tasks by the domain that they belong to."""

    def test_newest_come_first_page_by_page(self, store: SqlStore) -> None:
        account = add_account(store)
        for number in range(5):
            add_task(store, account, str(number), domain="a.example", at=NOW + number // 2)
        add_task(store, account, "other", domain="b.example")
        add_task(store, account, "none")
        add_task(store, add_account(store, "second"), "theirs", domain="a.example")

        def page(since: int = NOW, until: int = NOW + 9, **part: int) -> list[str]:
            found = store.read_now(
                lambda tx: tx.tasks_of_domain(account, "pull", "a.example", since=since, until=until, **part)
            )
            return [task.id for task in found]

        assert page() == ["4", "3", "2", "1", "0"]
        assert (page(offset=1, limit=2), page(offset=4, limit=2), page(offset=5, limit=2)) == (["3", "2"], ["0"], [])
        assert (page(until=NOW), page(since=NOW + 1, until=NOW + 1)) == (["1", "0"], ["3", "2"])
        count = store.read_now(
            lambda tx: tx.count_tasks_of_domain(account, "pull", "a.example", since=NOW, until=NOW + 1)
        )
        assert count == 4

    def test_task_that_is_to_be_deleted_is_not_seen(self, store: SqlStore) -> None:
        account = add_account(store)
        task = add_task(store, account, "1", domain="a.example")
        store.write_now(lambda tx: tx.change_task(task.key, at=NOW, by="ann", desired=Desired.DELETE))

        given = {"since": 0, "until": NOW}
        assert store.read_now(lambda tx: tx.tasks_of_domain(account, "pull", "a.example", **given)) == []
        assert store.read_now(lambda tx: tx.count_tasks_of_domain(account, "pull", "a.example", **given)) == 0
