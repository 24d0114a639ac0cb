"""The store on both kinds of database. A test that asks for `place`, `store` or `account` runs on each."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from penstock.store.sql import SqlStore
from tests.postgresql import PostgresServer
from tests.unit.making import add_account
from tests.unit.place import Place


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    """An empty database and a DATA of its own."""
    if request.param == "sqlite":
        yield Place(tmp_path)
        return
    server: PostgresServer = request.getfixturevalue("postgres_server")
    with server.database() as name:
        yield Place(tmp_path, server, name)


@pytest.fixture
def store(place: Place) -> Iterator[SqlStore]:
    """A new store that runs in the caller's thread."""
    store = place.open()
    yield store
    store.close()


@pytest.fixture
def account(store: SqlStore) -> int:
    """The id of an account in it."""
    return add_account(store)
