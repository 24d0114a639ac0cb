"""What is SQLite's own: a file that can be locked, damaged and looked into."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from penstock.errors import DatabaseDamaged, StoreError
from penstock.store import sqlite
from penstock.store.sql import SqlStore, open_store
from tests.unit.making import open_new

KEY = "00" * 32


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqlStore]:
    store = open_new(tmp_path)
    yield store
    store.close()


async def test_locked_database_is_a_store_error(store: SqlStore, tmp_path: Path) -> None:
    other = sqlite3.connect(tmp_path / "penstock.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with store._engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA busy_timeout=1")
    with pytest.raises(StoreError, match="database is locked"):
        await store.write(lambda tx: tx.add_account("a", task_limit=1))
    assert await store.read(lambda tx: tx.accounts()) == []
    other.execute("ROLLBACK")
    other.close()
    await store.write(lambda tx: tx.add_account("a", task_limit=1))


async def test_writes_are_made_for_the_disk(store: SqlStore) -> None:
    with store._engine.connect() as connection:
        pragmas = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
        }
    assert pragmas == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "busy_timeout": 5000}


def test_file_that_is_no_database_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "penstock.db"
    path.write_bytes(b"garbage " * 1000)
    with pytest.raises(StoreError, match="not a database"):
        open_store("", tmp_path, KEY, migrate=True)
    assert path.read_bytes() == b"garbage " * 1000


@pytest.mark.parametrize(
    ("account_id", "family", "step"),
    [
        (1, "pull", "SEARCH task USING INDEX task_listing (account_id=? AND family=?)"),
        (None, None, "SCAN task USING INDEX task_all"),
    ],
    ids=["one account", "all"],
)
async def test_page_is_cut_from_an_index_in_its_order(
    store: SqlStore, account_id: int | None, family: str | None, step: str
) -> None:
    asked: list[str] = []
    reader: Any = store._reader().connection.driver_connection
    reader.set_trace_callback(asked.append)
    store.read_now(lambda tx: tx.tasks(account_id, family, offset=40, limit=20))
    [statement] = [one for one in asked if one.startswith("SELECT")]
    plan = [row[3] for row in reader.execute(f"EXPLAIN QUERY PLAN {statement}")]
    assert step in plan
    # Only the page's own rows are sorted, after they were found.
    assert [index for index, one in enumerate(plan) if "TEMP B-TREE" in one] == [len(plan) - 1]


def test_damage_in_a_late_page_is_seen_at_the_start(tmp_path: Path) -> None:
    open_new(tmp_path).close()
    path = tmp_path / "penstock.db"
    whole = path.read_bytes()
    path.write_bytes(whole[:-4096] + b"\xff" * 4096)
    before = path.read_bytes()
    with pytest.raises(DatabaseDamaged, match=f"Move {path} away, and bring back a backup by `penstock restore FILE`"):
        open_store("", tmp_path, KEY, migrate=True)
    assert path.read_bytes() == before


def test_start_looks_for_damage_for_so_long_and_no_longer(store: SqlStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite, "_LOOK_EVERY", 1)
    with store._engine.connect() as connection:
        store._database.look_over(connection, seconds=-1.0)
        assert connection.exec_driver_sql("SELECT 1").scalar_one() == 1


async def test_full_disk_is_found_by_the_probe(store: SqlStore, monkeypatch: pytest.MonkeyPatch) -> None:
    await store.probe()
    monkeypatch.setattr(sqlite, "ROOM", 1 << 62)
    with pytest.raises(StoreError, match=r"The disk under the database .* is full"):
        await store.probe()
