"""What is PostgreSQL's own: writers side by side, connections that break, a server that hangs."""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from penstock.errors import StoreError
from penstock.store import postgresql, sql
from penstock.store.sql import SqlStore, open_store
from penstock.store.tx import SqlTx
from penstock.tasks.model import Desired, State, Task
from tests.patience import PATIENCE
from tests.postgresql import PostgresServer
from tests.unit.making import NOW, add_account, add_task, claim, event_names, read_task
from tests.unit.place import Place

KEY = "00" * 32


@pytest.fixture
def place(tmp_path: Path, postgres_server: PostgresServer) -> Iterator[Place]:
    with postgres_server.database() as name:
        yield Place(tmp_path, postgres_server, name)


@contextmanager
def holding(store: SqlStore, work: Callable[[SqlTx], object]) -> Iterator[None]:
    """`work` is done in a transaction that commits when the block ends."""
    done, go_on = threading.Event(), threading.Event()

    def hold(tx: SqlTx) -> None:
        work(tx)
        done.set()
        assert go_on.wait(PATIENCE)

    thread = threading.Thread(target=store.write_now, args=[hold])
    thread.start()
    assert done.wait(PATIENCE)
    try:
        yield
    finally:
        go_on.set()
        thread.join()


def break_connections(place: Place) -> None:
    """As a server does that stops."""
    assert place.server
    place.server.execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{place.name}'")
    await_disconnected(place)


def await_disconnected(place: Place) -> None:
    """Wait until the server has noticed that nobody uses the database any more."""
    assert place.server
    while place.server.execute(f"SELECT pid FROM pg_stat_activity WHERE datname = '{place.name}'"):
        time.sleep(0.01)


class TestSideBySide:
    """Writers at the same time."""

    def test_claim_leaves_what_another_claim_holds_and_waits_for_nobody(self, store: SqlStore, account: int) -> None:
        keys = [add_task(store, account, str(number)).key for number in range(5)]
        with holding(store, lambda tx: tx.claim("w-1", dead=(), now=NOW, limit=2)):
            assert [task.key for task in claim(store, "w-2", limit=2)] == keys[2:4]
        assert [task.key for task in claim(store, "w-3")] == keys[4:]
        assert {task.epoch for task in store.read_now(lambda tx: tx.tasks(None, None))} == {1}

    def test_affinity_holds_also_between_claims_at_the_same_time(self, store: SqlStore, account: int) -> None:
        keys = [add_task(store, account, name, affinity="x").key for name in ("a", "b")]
        with holding(store, lambda tx: tx.claim("w-1", dead=(), now=NOW, limit=1)):
            assert claim(store, "w-2") == []
        assert claim(store, "w-2") == []
        assert [task.key for task in claim(store, "w-1")] == keys[1:]

    def test_worker_that_reports_while_a_caller_pauses_does_not_undo_it(self, store: SqlStore, account: int) -> None:
        key = add_task(store, account, "a").key
        claim(store, "w-1")
        pause: Callable[[SqlTx], Task] = lambda tx: tx.change_task(  # noqa: E731
            key, at=NOW, by="ann", desired=Desired.PAUSE, state=State.PAUSED
        )
        with ThreadPoolExecutor(1) as pool:
            with holding(store, pause):
                report = pool.submit(
                    store.write_now, lambda tx: tx.set_state(key, owner="w-1", epoch=1, state=State.ACTIVE, at=NOW)
                )
            assert report.result(PATIENCE)
        assert read_task(store, key).state is State.PAUSED

    def test_worker_that_reports_what_is_being_given_to_another_is_fenced(self, store: SqlStore, account: int) -> None:
        key = add_task(store, account, "a").key
        claim(store, "w-1")
        with ThreadPoolExecutor(1) as pool:
            with holding(store, lambda tx: tx.claim("w-2", dead={"w-1"}, now=NOW, limit=1)):
                report = pool.submit(
                    store.write_now, lambda tx: tx.set_state(key, owner="w-1", epoch=1, state=State.ACTIVE, at=NOW)
                )
            assert not report.result(PATIENCE)
        task = read_task(store, key)
        assert (task.owner, task.epoch, task.state) == ("w-2", 2, State.STARTING)

    def test_deadlock_is_undone_and_carried_out_again(self, store: SqlStore, account: int) -> None:
        keys = [add_task(store, account, name).key for name in "ab"]
        both = threading.Barrier(2)
        met = threading.local()

        def work(order: list[int]) -> Callable[[SqlTx], None]:
            def change(tx: SqlTx) -> None:
                tx.change_task(order[0], at=NOW, by="")
                if not hasattr(met, "yes"):  # the second try meets nobody
                    met.yes = True
                    both.wait(PATIENCE)
                tx.change_task(order[1], at=NOW, by="")

            return change

        with ThreadPoolExecutor(2) as pool:
            list(pool.map(store.write_now, [work(keys), work(keys[::-1])]))
        assert [read_task(store, key).revision for key in keys] == [3, 3]

    def test_events_of_a_task_become_visible_in_their_order(self, store: SqlStore, account: int) -> None:
        key = add_task(store, account, "a").key
        add: Callable[[str], Callable[[SqlTx], None]] = lambda name: (  # noqa: E731
            lambda tx: tx.add_event(key, at=NOW, name=name, text="", by="")
        )
        with ThreadPoolExecutor(1) as pool:
            with holding(store, add("first")):
                later = pool.submit(store.write_now, add("second"))
                time.sleep(0.2)
                assert event_names(store, key) == []
            later.result(PATIENCE)
        assert event_names(store, key) == ["first", "second"]

    def test_row_that_stays_locked_is_a_store_error_in_time(
        self, place: Place, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(postgresql, "_SETTINGS", "SET lock_timeout = '200ms'")
        store = place.open()
        key = add_task(store, add_account(store), "a").key
        with (
            holding(store, lambda tx: tx.change_task(key, at=NOW, by="")),
            pytest.raises(StoreError, match="lock timeout"),
        ):
            store.write_now(lambda tx: tx.change_task(key, at=NOW, by=""))
        store.write_now(lambda tx: tx.change_task(key, at=NOW, by=""))
        store.close()

    def test_process_that_stops_within_a_transaction_is_undone(
        self, place: Place, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        made = place.open()
        key = add_task(made, add_account(made), "a").key
        monkeypatch.setattr(postgresql, "_SETTINGS", "SET idle_in_transaction_session_timeout = '1s'")
        store = place.open(migrate=False)

        def stand_still(tx: SqlTx) -> None:
            tx.change_task(key, at=NOW, by="")
            time.sleep(2)
            tx.change_task(key, at=NOW, by="")

        with pytest.raises(StoreError):
            store.write_now(stand_still)
        assert read_task(made, key).revision == 1
        store.close()
        made.close()


class TestOutages:
    """A server that goes, comes back, or hangs."""

    async def test_broken_connections_are_made_anew_unnoticed(self, place: Place) -> None:
        place.make()
        store = place.open(migrate=False, inline=False)
        for _ in range(3):
            assert await store.read(lambda tx: tx.accounts()) == []
        break_connections(place)
        assert await asyncio.gather(*(store.read(lambda tx: tx.accounts()) for _ in range(4))) == [[]] * 4
        break_connections(place)
        await store.write(lambda tx: tx.add_account("a", task_limit=1))
        await store.probe()
        store.close()

    async def test_server_that_hangs_holds_up_nobody(self, place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
        """It is up, takes connections, and answers nothing: the caller learns that in time, and later is answered."""
        place.make()
        store = place.open(migrate=False, inline=False)
        await store.read(lambda tx: tx.accounts())
        assert place.server
        place.server.freeze()
        try:
            with monkeypatch.context() as impatient:
                impatient.setattr(postgresql.BoundedConnection, "patience", 0.5)
                impatient.setattr(sql, "PATIENCE", 1.0)
                asked = [store.read(lambda tx: tx.accounts()) for _ in range(10)]
                asked += [store.write(lambda tx: [tx.add_account("a", task_limit=1)])]
                async with asyncio.timeout(PATIENCE):
                    answers = await asyncio.gather(*asked, return_exceptions=True)
        finally:
            place.server.thaw()
        assert {type(answer) for answer in answers} == {StoreError}
        await store.write(lambda tx: tx.add_account("b", task_limit=1))
        assert "b" in [account.name for account in await store.read(lambda tx: tx.accounts())]
        store.close()

    def test_statement_that_takes_too_long_is_ended_but_not_a_migrations(
        self, place: Place, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        place.make()
        monkeypatch.setattr(postgresql, "_SETTINGS", "SET statement_timeout = '1s'")
        monkeypatch.setattr(postgresql.BoundedConnection, "patience", 2)
        store = place.open(migrate=False)
        with store._writing.connect() as connection, connection.begin():
            store._database.allow_time(connection)
            connection.exec_driver_sql("SELECT pg_sleep(2.5)")
        with pytest.raises(StoreError, match="statement timeout"):
            store.write_now(lambda tx: tx._db.exec_driver_sql("SELECT pg_sleep(10)"))
        store.close()


class TestAlone:
    """Servers tell who lives by the locks of one machine, so one server works on a database."""

    def test_second_server_is_refused_while_the_first_one_works(self, place: Place) -> None:
        place.make(KEY)
        first, second = place, place._replace(data=place.data / "second")
        working = first.open(KEY, migrate=False, inline=False)
        again = first.open(KEY, migrate=False, inline=False)
        for migrate, inline in [(True, True), (False, False)]:
            with pytest.raises(StoreError, match=r"Another server .* \(penstock "):
                second.open(KEY, migrate=migrate, inline=inline)
        second.open(KEY, migrate=False).close()  # a command harms nobody
        working.close()
        again.close()
        await_disconnected(first)
        second.open(KEY, inline=False).close()

    async def test_server_that_lost_its_connections_to_another_server_gets_no_new_ones(self, place: Place) -> None:
        place.make(KEY)
        first = place.open(KEY, migrate=False, inline=False)
        await first.write(lambda tx: tx.add_account("a", task_limit=1))
        break_connections(place)
        second = place._replace(data=place.data / "second").open(KEY, migrate=False, inline=False)
        with pytest.raises(StoreError, match="Another server"):
            await first.read(lambda tx: tx.accounts())
        second.close()
        await_disconnected(place)
        assert len(await first.read(lambda tx: tx.accounts())) == 1
        first.close()


class TestAddress:
    """What `database.url` may say."""

    def test_refused_connection_is_told_without_the_password(self, tmp_path: Path) -> None:
        with pytest.raises(StoreError, match="connection") as refused:
            open_store("postgresql://me:s3cret@127.0.0.1:1/db", tmp_path, None, migrate=True)
        assert "s3cret" not in str(refused.value) + str(refused.value.__cause__)
        assert "\n" not in refused.value.message
        assert not (tmp_path / "secret.key").exists()

    def test_absent_database_is_named_without_the_password(self, place: Place) -> None:
        url = place.url.replace("postgres@", "postgres:s3cret@")
        with pytest.raises(StoreError, match=place.name) as refused:
            open_store(url, place.data, None, migrate=False)
        assert "s3cret" not in refused.value.message


def test_text_that_the_database_cannot_hold_is_found_nowhere(store: SqlStore, account: int) -> None:
    assert store.read_now(lambda tx: tx.task(account, "pull", "a\0b")) is None
    assert store.read_now(lambda tx: tx.key("AKID\0")) is None
    assert store.write_now(lambda tx: tx.task(account, "pull", "a\0b")) is None
