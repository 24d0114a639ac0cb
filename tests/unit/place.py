"""Where a store may be: a DATA with its database, on either kind of server."""

import sqlite3
from pathlib import Path
from typing import Any, NamedTuple

import psycopg

from penstock.store import sql
from penstock.store.database import Database
from penstock.store.secrets import Sealer
from penstock.store.sql import SqlStore, open_store
from tests.postgresql import PostgresServer


class Place(NamedTuple):
    """A DATA that may not be there yet, and a database, empty at first."""

    data: Path
    #: PostgreSQL's server and the database's name there; None: SQLite in DATA.
    server: PostgresServer | None = None
    name: str = ""

    @property
    def url(self) -> str:
        """What `database.url` says."""
        return self.server.url(self.name) if self.server else ""

    def emptied(self, data: Path) -> "Place":
        """The same kind of database, empty again, and another DATA."""
        if self.server:
            self.server.empty(self.name)
        return self._replace(data=data)

    def open(self, key: str | None = None, *, migrate: bool = True, inline: bool = True) -> SqlStore:
        """The store, by default made if need be, and in the caller's thread."""
        return open_store(self.url, self.data, key, migrate=migrate, inline=inline)

    def make(self, key: str | None = None) -> None:
        """Leave all as a first start does."""
        self.open(key).close()

    def unopened(self, sealer: Sealer) -> SqlStore:
        """The store as it is before anybody looks what is in the database."""
        self.data.mkdir(exist_ok=True)
        return SqlStore(self.database(), sealer, inline=True)

    def database(self) -> Database:
        """The database itself."""
        return sql.named_database(self.url, self.data)

    def execute(self, statement: str) -> list[tuple[Any, ...]]:
        """Run a statement past the store, and commit it."""
        if self.server:
            return self.server.execute(statement, self.name)
        with sqlite3.connect(self.data / "penstock.db") as connection:
            rows = connection.execute(statement).fetchall()
        connection.close()
        return rows

    def tables(self) -> set[str]:
        """The names of all tables."""
        asked = "SELECT tablename FROM pg_tables WHERE schemaname = 'public'"
        if not self.server:
            asked = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
        return {name for (name,) in self.execute(asked)}

    def everything(self) -> bytes:
        """All that the database holds, as it stands on the disk."""
        if not self.server:
            return b"".join(path.read_bytes() for path in self.data.glob("penstock.db*"))
        with psycopg.connect(self.url) as connection, connection.cursor() as cursor:
            held = b""
            for table in self.tables():
                with cursor.copy(f"COPY {table} TO STDOUT (FORMAT binary)".encode()) as rows:
                    held += b"".join(map(bytes, rows))
        return held
