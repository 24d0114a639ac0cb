"""Where accounts, tasks and events are kept: SQLite in DATA, through SQLAlchemy Core.

A transaction runs in a thread: writes one after the other, reads beside them, each on a snapshot of its own.
A write is on the disk when it returns.
"""

import fcntl
import os
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import URL, Connection, create_engine, event, insert, make_url, select
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from penstock.errors import ConfigError, StoreError
from penstock.store import migrations, schema
from penstock.store.secrets import Sealer, load_sealer
from penstock.store.threads import Threads
from penstock.store.tx import SqlTx

T = TypeVar("T")

DATABASE = "penstock.db"
#: How long a transaction waits for another process's write, in ms.
BUSY_TIMEOUT = 5000
#: More would only wait for each other: most of a read is Python.
READERS = 2

_KEY_CHECK = b"penstock"
#: What the database may raise: by way of SQLAlchemy, or itself.
_ERRORS = (SQLAlchemyError, sqlite3.Error)


class SqlStore:
    """`penstock.tasks.ports.Store` on a database whose tables are there."""

    def __init__(self, url: str | URL | Path, sealer: Sealer, *, inline: bool = False) -> None:
        """`inline`: run in the caller's thread, for programs that do one thing at a time and simulations."""
        if isinstance(url, Path):
            url = URL.create("sqlite", database=str(url))
        self._sealer = sealer
        # Parameters hold secrets; they must stand in no error.
        engine = create_engine(
            url, hide_parameters=True, pool_size=READERS + 1, connect_args={"check_same_thread": False}
        )
        event.listen(engine, "connect", _prepare)
        event.listen(engine, "begin", _begin)
        self._engine = engine
        self._writing = engine.execution_options(writes=True)
        self._writer = None if inline else Threads(1, "store-write")
        self._readers = None if inline else Threads(READERS, "store-read")
        #: The connection that each thread reads by: it keeps it, since to take one costs more than most reads.
        self._reading = threading.local()
        self._open: list[Connection] = []
        self._file = Path(engine.url.database or "")
        #: Which file was opened; None: `check` has not succeeded yet.
        self._opened: tuple[int, int] | None = None
        self._closed = False

    async def read(self, work: Callable[[SqlTx], T]) -> T:
        """As `penstock.tasks.ports.Store.read`."""
        return await self._in(self._readers, lambda: self.read_now(work))

    async def write(self, work: Callable[[SqlTx], T]) -> T:
        """As `penstock.tasks.ports.Store.write`."""
        return await self._in(self._writer, lambda: self.write_now(work))

    def read_now(self, work: Callable[[SqlTx], T]) -> T:
        """`read` in this thread."""
        with translated():
            connection = self._reader()
            driver: Any = connection.connection.driver_connection
            try:
                driver.execute("BEGIN")
                try:
                    return work(SqlTx(connection, self._sealer))
                finally:
                    driver.rollback()
            except _ERRORS:
                self._reading.connection = None  # it may be broken; the next read takes another one
                self._open.remove(connection)
                connection.invalidate()
                connection.close()
                raise

    def write_now(self, work: Callable[[SqlTx], T]) -> T:
        """`write` in this thread."""
        with translated(), self._writing.begin() as connection:
            return work(SqlTx(connection, self._sealer))

    async def probe(self) -> None:
        """As `penstock.tasks.ports.Store.probe`."""
        await self._in(self._writer, self._probe_now)

    def _probe_now(self) -> None:
        if _identity(self._file) != self._opened:
            raise StoreError(f"The database {self._file} is gone, or another one is in its place.")
        with translated(), self._writing.begin() as connection:
            migrations.check(connection)

    def close(self) -> None:
        """Wait for what runs, and let go of the database. More than once is fine."""
        self._closed = True
        for threads in (self._writer, self._readers):
            if threads is not None:
                threads.close()
        for connection in self._open:
            connection.close()
        self._engine.dispose()

    def _reader(self) -> Connection:
        """This thread's connection for reading.

        To SQLAlchemy it is in one transaction for ever: it would take longer over each than most of them last.
        """
        connection: Connection | None = getattr(self._reading, "connection", None)
        if connection is None:
            connection = self._reading.connection = self._engine.connect()
            self._open.append(connection)
            connection.begin()
            driver: Any = connection.connection.driver_connection
            driver.rollback()
        return connection

    def migrate(self) -> None:
        """Bring the tables up to date, in one transaction, and see that our key fits."""
        with translated(), self._writing.begin() as connection:
            migrations.upgrade(connection)
            if connection.execute(select(schema.key_check)).first() is None:
                sealed = self._sealer.seal(_KEY_CHECK, "key_check")
                connection.execute(insert(schema.key_check), {"id": 1, "sealed": sealed})

    def check(self) -> None:
        """Raise `StoreError` unless the tables are ours and of our version, `ConfigError` if the key is not."""
        with translated(), self._engine.begin() as connection:
            migrations.check(connection)
            check_key(connection, self._sealer)
        self._opened = _identity(self._file)

    async def _in(self, threads: Threads | None, call: Callable[[], T]) -> T:
        if self._closed:
            raise StoreError("The database has been closed.")
        return call() if threads is None else await threads.run(call)


def open_store(
    database_url: str, data: Path, security_key: str | None, *, migrate: bool, inline: bool = False
) -> SqlStore:
    """The store of this DATA, ready for use.

    Args:
        database_url: ``sqlite:///PATH``; empty: ``DATA/penstock.db``.
        data: the folder DATA; made, for us alone, if `migrate` and it is not there.
        security_key: 32 bytes as hex or base64; empty or None: ``DATA/secret.key``, made with a new database.
        migrate: make or update the tables first, under a lock; else they must be there as we know them.
        inline: see `SqlStore`.

    Raises:
        ConfigError: the URL or the key cannot be used.
        SchemaTooNew: a newer Penstock wrote the database.
        StoreError: the database is absent, not ours, or cannot be opened.
    """
    path = database_path(database_url, data)
    if not migrate:
        if not path.exists():
            raise StoreError(f"There is no database {path}; `penstock serve` makes it.")
        return _checked(SqlStore(path, load_sealer(data, security_key, fresh=False), inline=inline))
    with _locked(data):
        sealer = load_sealer(data, security_key, fresh=not path.exists())
        return _checked(SqlStore(path, sealer, inline=inline), migrate=True)


def check_key(connection: Connection, sealer: Sealer) -> None:
    """Raise `ConfigError` unless the database was written with this key."""
    sealed = connection.execute(select(schema.key_check.c.sealed)).scalar_one()
    try:
        sealer.open(sealed, "key_check")
    except StoreError as error:
        raise ConfigError("The security key is not the one that this database was written with.") from error


def _checked(store: SqlStore, *, migrate: bool = False) -> SqlStore:
    try:
        if migrate:
            store.migrate()
        store.check()
    except BaseException:
        store.close()
        raise
    return store


def database_path(database_url: str, data: Path) -> Path:
    """The file that ``database.url`` names. Raise `ConfigError` if it names none."""
    if not database_url:
        return data / DATABASE
    try:
        url = make_url(database_url)
    except ArgumentError:
        raise ConfigError("database.url is not a database URL.") from None
    if url.get_backend_name() != "sqlite" or not url.database or url.database == ":memory:":
        raise ConfigError("database.url: only sqlite:///PATH is served yet.")
    return Path(url.database)


def _identity(path: Path) -> tuple[int, int] | None:
    """Which file this is; None: there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


@contextmanager
def _locked(data: Path) -> Iterator[None]:
    """Have DATA, and hold a lock on its making against other processes."""
    try:
        data.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(data / "migrate.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise ConfigError(f"The data folder {data} cannot be used: {error.strerror}.") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


@contextmanager
def translated() -> Iterator[None]:
    """The one seam where the database's errors become ours."""
    try:
        yield
    except _ERRORS as error:
        reason = getattr(error, "orig", None) or error
        raise StoreError(f"The database cannot answer: {str(reason).splitlines()[0]}.") from error


def _prepare(connection: Any, _record: object) -> None:
    """What a new SQLite connection is told. sqlite3's own notion of transactions is switched off."""
    connection.isolation_level = None
    for pragma in (f"busy_timeout={BUSY_TIMEOUT}", "journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}")


def _begin(connection: Connection) -> None:
    """Take the write lock at once: one taken later cannot wait, since its snapshot may be old by then."""
    writes = connection.get_execution_options().get("writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
