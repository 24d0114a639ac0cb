"""Readiness says the truth about the database and the workers."""

import asyncio
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from penstock.api.readiness import Readiness
from penstock.errors import StoreError
from penstock.store import sqlite
from penstock.store.sql import SqlStore, open_store
from tests.unit.making import open_new


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SqlStore]:
    """A store as the API has it, but that waits for no lock."""
    monkeypatch.setattr(sqlite, "BUSY_TIMEOUT", 1)
    open_new(tmp_path).close()
    store = open_store("", tmp_path, None, migrate=False)
    yield store
    store.close()


def ready(store: SqlStore) -> Readiness:
    return Readiness(store, synced=lambda: True)


class CountingStore:
    """Answers when it is told to, and counts how often it was asked."""

    def __init__(self) -> None:
        self.asked = 0
        self.answer = asyncio.Event()
        self.error: StoreError | None = None

    async def probe(self) -> None:
        self.asked += 1
        await self.answer.wait()
        if self.error:
            raise self.error


async def test_whole_database_and_heard_workers_are_ready(store: SqlStore) -> None:
    assert await ready(store).obstacle() == ""


async def test_nobody_is_ready_before_the_workers_were_heard(store: SqlStore) -> None:
    assert await Readiness(store, synced=lambda: False).obstacle() == "the workers have not reported yet"


async def test_database_that_is_gone_or_replaced_is_an_obstacle_though_it_can_still_be_read(
    store: SqlStore, tmp_path: Path
) -> None:
    path, away = tmp_path / "penstock.db", tmp_path / "away.db"
    path.rename(away)
    assert await store.read(lambda tx: tx.accounts()) == []
    assert await ready(store).obstacle() == f"The database {path} is gone, or another one is in its place."
    path.write_bytes(away.read_bytes())
    assert "another one is in its place" in await ready(store).obstacle()
    away.rename(path)
    assert await ready(store).obstacle() == ""


async def test_schema_of_another_version_is_an_obstacle(store: SqlStore, tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "penstock.db") as database:
        database.execute("UPDATE alembic_version SET version_num = '9999'")
    database.close()
    assert "schema 9999" in await ready(store).obstacle()


async def test_database_that_cannot_be_written_is_an_obstacle_though_it_can_be_read(
    store: SqlStore, tmp_path: Path
) -> None:
    other = sqlite3.connect(tmp_path / "penstock.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    assert await store.read(lambda tx: tx.accounts()) == []
    assert await ready(store).obstacle() == "The database cannot answer: database is locked."
    other.close()
    assert await ready(store).obstacle() == ""


async def test_closed_store_is_an_obstacle(store: SqlStore) -> None:
    store.close()
    assert await ready(store).obstacle() == "The database has been closed."


@pytest.mark.looptime
async def test_database_that_does_not_answer_in_time_is_an_obstacle() -> None:
    store = CountingStore()
    readiness = Readiness(store, synced=lambda: True)  # type: ignore[arg-type]
    assert await readiness.obstacle() == "the database does not answer within 2 s"
    store.answer.set()
    await asyncio.sleep(0)
    assert await readiness.obstacle() == ""


@pytest.mark.looptime
async def test_database_is_asked_once_however_many_want_to_know() -> None:
    store = CountingStore()
    readiness = Readiness(store, synced=lambda: True)  # type: ignore[arg-type]
    asking = [asyncio.create_task(readiness.obstacle()) for _ in range(100)]
    await asyncio.sleep(1)
    store.error = StoreError("The disk is gone.")
    store.answer.set()
    assert set(await asyncio.gather(*asking)) == {"The disk is gone."}
    assert store.asked == 1
    store.error = None
    assert await readiness.obstacle() == ""
    assert store.asked == 2


@pytest.mark.looptime
async def test_caller_who_leaves_takes_the_answer_from_nobody() -> None:
    store = CountingStore()
    readiness = Readiness(store, synced=lambda: True)  # type: ignore[arg-type]
    first, second = (asyncio.create_task(readiness.obstacle()) for _ in range(2))
    await asyncio.sleep(0.1)
    first.cancel()
    await asyncio.sleep(0.1)
    store.answer.set()
    assert await second == ""
