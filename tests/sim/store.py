"""The store of a simulated installation: SQLite in memory, new for each world, and ways to it that fail."""

import asyncio
import random
import sqlite3
from collections.abc import Callable
from functools import cache
from typing import Any, TypeVar

from penstock.errors import StoreError
from penstock.store.secrets import Sealer
from penstock.store.sql import SqlStore
from penstock.store.sqlite import MEMORY, Sqlite
from penstock.tasks.ports import Tx

T = TypeVar("T")


@cache
def _database() -> tuple[SqlStore, sqlite3.Connection]:
    """One store for each process of the tests, and what it looked like when it was new, with one account."""
    store = SqlStore(Sqlite(MEMORY, connections=1), Sealer(bytes(32)), inline=True)
    store.migrate()
    store.write_now(lambda tx: tx.add_account("demo", task_limit=1000))
    template = sqlite3.connect(":memory:")
    _raw(store).backup(template)
    return store, template


def _raw(store: SqlStore) -> sqlite3.Connection:
    connection: Any = store._engine.raw_connection().driver_connection
    assert isinstance(connection, sqlite3.Connection)
    return connection


def new_store() -> SqlStore:
    """A store without a task."""
    store, template = _database()
    template.backup(_raw(store))
    return store


class FrailStore:
    """One process's way to the store: it takes its time, and may be cut."""

    def __init__(self, store: SqlStore, rng: random.Random, slowness: float) -> None:
        self._store = store
        self._rng = rng
        self._slowness = slowness
        self.down = False
        #: The answer gets lost, although the transaction is done.
        self.forgetful = False

    async def read(self, work: Callable[[Tx], T]) -> T:
        return await self._answer(self._store.read_now, work)

    async def write(self, work: Callable[[Tx], T]) -> T:
        return await self._answer(self._store.write_now, work)

    async def probe(self) -> None:
        await self.write(lambda _: None)

    async def _answer(self, call: Callable[[Callable[[Any], T]], T], work: Callable[[Tx], T]) -> T:
        await self._pause()
        if self.down:
            raise StoreError("The database cannot answer: disk I/O error.")
        answer = call(work)
        forgotten = self.forgetful
        await self._pause()
        if forgotten:
            raise StoreError("The database cannot answer: the connection was lost.")
        return answer

    async def _pause(self) -> None:
        if self._slowness:
            await asyncio.sleep(self._rng.random() ** 3 * self._slowness)

    def close(self) -> None:
        pass
