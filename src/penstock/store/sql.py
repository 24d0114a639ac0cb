"""Where accounts, tasks and events are kept: SQLite in DATA or PostgreSQL, through SQLAlchemy Core.

A transaction runs in a thread: writes one after the other, reads beside them, each on a snapshot of its own.
A write is on the disk when it returns.
"""

import asyncio
import fcntl
import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import URL, Connection, event, insert, make_url, select
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from penstock.errors import ConfigError, DatabaseDamaged, StoreError
from penstock.store import migrations, schema
from penstock.store.database import Database, Errors
from penstock.store.secrets import Sealer, load_sealer
from penstock.store.sqlite import Sqlite
from penstock.store.threads import Threads
from penstock.store.tx import SqlTx

T = TypeVar("T")

DATABASE = "penstock.db"
#: More would only wait for each other: most of a read is Python.
READERS = 2
#: The readers', and one that writes.
CONNECTIONS = READERS + 1
#: How long a caller waits for an answer, its turn included, in seconds.
PATIENCE = 8.0
#: How long a start may look for damage, in seconds.
LOOK_OVER = 1.0
#: How often a write is tried that the database undoes because of what others write.
TRIES = 5

_KEY_CHECK = b"penstock"


class SqlStore:
    """`penstock.tasks.ports.Store` on a database whose tables are there."""

    def __init__(self, database: Database, sealer: Sealer, *, inline: bool = False) -> None:
        """`inline`: run in the caller's thread, for programs that do one thing at a time and simulations."""
        self._database = database
        self._sealer = sealer
        self._engine = database.engine
        event.listen(self._engine, "begin", self._begin)
        self._writing = self._engine.execution_options(writes=True)
        self._writer = None if inline else Threads(1, "store-write")
        self._readers = None if inline else Threads(READERS, "store-read")
        #: The connection that each thread reads by: it keeps it, since to take one costs more than most reads.
        self._reading = threading.local()
        self._open: list[Connection] = []
        #: What the database may raise: by way of SQLAlchemy, or itself.
        self._errors: tuple[type[Exception], ...] = (SQLAlchemyError, *database.errors)
        self._closed = False

    async def read(self, work: Callable[[SqlTx], T]) -> T:
        """As `penstock.tasks.ports.Store.read`."""
        return await self._in(self._readers, lambda: self.read_now(work))

    async def write(self, work: Callable[[SqlTx], T]) -> T:
        """As `penstock.tasks.ports.Store.write`."""
        return await self._in(self._writer, lambda: self.write_now(work))

    def read_now(self, work: Callable[[SqlTx], T]) -> T:
        """`read` in this thread."""
        with translated(self._database):
            connection = self._reader()
            try:
                return self._read_on(connection, work)
            except self._errors:
                lost = self._database.is_lost(_driver(connection))
                self._let_go(connection)
                if not lost:
                    raise
            # It may have been lost long ago, with nobody to notice; a new one tells how things are.
            return self._read_on(self._reader(), work)

    def _read_on(self, connection: Connection, work: Callable[[SqlTx], T]) -> T:
        driver = _driver(connection)
        driver.execute(self._database.begin_read)
        try:
            return work(SqlTx(connection, self._sealer, writes=False))
        finally:
            driver.rollback()

    def write_now(self, work: Callable[[SqlTx], T]) -> T:
        """`write` in this thread."""
        with translated(self._database):
            for _ in range(TRIES - 1):
                with suppress(_Collision):
                    return self._write_once(work)
            return self._write_once(work)

    def _write_once(self, work: Callable[[SqlTx], T]) -> T:
        try:
            with self._writing.begin() as connection:
                return work(SqlTx(connection, self._sealer, writes=True))
        except self._errors as error:
            cause = getattr(error, "orig", None) or error
            if self._database.is_collision(cause):
                raise _Collision(self._database.reason(cause)) from error
            raise

    async def probe(self) -> None:
        """As `penstock.tasks.ports.Store.probe`."""
        await self._in(self._writer, self._probe_now)

    def _probe_now(self) -> None:
        self._database.check_place()
        with translated(self._database), self._writing.begin() as connection:
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
            connection = self._engine.connect()
            connection.begin()
            _driver(connection).rollback()
            self._reading.connection = connection
            self._open.append(connection)
        return connection

    def _let_go(self, connection: Connection) -> None:
        """It may be broken; the next read takes another one."""
        self._reading.connection = None
        self._open.remove(connection)
        connection.invalidate()
        connection.close()

    def migrate(self) -> None:
        """Bring the tables up to date, in one transaction, and see that our key fits."""
        with translated(self._database), self._writing.connect() as connection, connection.begin():
            self._database.allow_time(connection)
            self._database.look_over(connection, seconds=LOOK_OVER)
            migrations.upgrade(connection)
            if connection.execute(select(schema.key_check)).first() is None:
                sealed = self._sealer.seal(_KEY_CHECK, "key_check")
                connection.execute(insert(schema.key_check), {"id": 1, "sealed": sealed})

    def check(self) -> None:
        """Raise `StoreError` unless the tables are ours and of our version, `ConfigError` if the key is not."""
        with translated(self._database), self._engine.begin() as connection:
            migrations.check(connection)
            check_key(connection, self._sealer)
        self._database.opened()

    async def _in(self, threads: Threads | None, call: Callable[[], T]) -> T:
        if self._closed:
            raise StoreError("The database has been closed.")
        if threads is None:
            return call()
        try:
            async with asyncio.timeout(PATIENCE):
                return await threads.run(call)
        except TimeoutError:
            raise StoreError(f"The database does not answer within {PATIENCE:g} s.") from None

    def _begin(self, connection: Connection) -> None:
        writes = connection.get_execution_options().get("writes", False)
        connection.exec_driver_sql(self._database.begin_write if writes else self._database.begin_read)


class _Collision(StoreError):
    """What others wrote meanwhile made the database undo a transaction."""


def _driver(connection: Connection) -> Any:
    return connection.connection.driver_connection


def open_store(
    database_url: str, data: Path, security_key: str | None, *, migrate: bool, inline: bool = False
) -> SqlStore:
    """The store of this DATA, ready for use.

    Args:
        database_url: ``sqlite:///PATH`` or ``postgresql://USER:PASSWORD@HOST/NAME``; empty: ``DATA/penstock.db``.
        data: the folder DATA; made, for us alone, if `migrate` and it is not there.
        security_key: 32 bytes as hex or base64; empty or None: ``DATA/secret.key``, made with a new database.
        migrate: make or update the tables first, under a lock; else they must be there as we know them.
        inline: see `SqlStore`.

    Raises:
        ConfigError: the URL or the key cannot be used.
        SchemaTooNew: a newer Penstock wrote the database.
        StoreError: the database is absent, not ours, or cannot be opened; a server of another DATA works on it.
        DatabaseDamaged: its file is damaged; it is left as it is.
    """
    database = named_database(database_url, data, serves=not inline)
    try:
        with translated(database):
            if migrate:
                with _locked(data), database.making():
                    sealer = load_sealer(data, security_key, fresh=database.is_new())
                    return _checked(SqlStore(database, sealer, inline=inline), migrate=True)
            if database.is_new():
                raise StoreError(f"There is no database {database}; `penstock serve` makes it.")
            return _checked(SqlStore(database, load_sealer(data, security_key, fresh=False), inline=inline))
    except DatabaseDamaged as error:
        database.engine.dispose()
        advice = f"Move {database} away, and bring back a backup by `penstock restore FILE`."
        raise DatabaseDamaged(f"{error.message} Nothing has been changed in it. {advice}") from error
    except BaseException:
        database.engine.dispose()
        raise


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


def on_server(database_url: str) -> bool:
    """Whether the database is a server's, and no file."""
    return database_url.startswith("postgresql")


def database_path(database_url: str, data: Path) -> Path:
    """The file that ``database.url`` names. Raise `ConfigError` if it names none."""
    if not database_url:
        return data / DATABASE
    url = _parsed(database_url)
    if url.get_backend_name() != "sqlite" or not url.database or url.database == ":memory:":
        raise ConfigError("database.url must be sqlite:///PATH or postgresql://USER:PASSWORD@HOST/NAME.")
    return Path(url.database)


def named_database(database_url: str, data: Path, *, serves: bool = False) -> Database:
    """The database that ``database.url`` names, there or not. Raise `ConfigError` if it names none.

    `serves`: for a part of a server, beside which no other server may work on it.
    """
    if not on_server(database_url):
        return Sqlite(database_path(database_url, data), connections=CONNECTIONS)
    # psycopg takes as long to load as all the rest of the store.
    from penstock.store.postgresql import Postgresql  # noqa: PLC0415

    home = f"{socket.gethostname()}:{data.resolve()}"
    return Postgresql(_parsed(database_url), connections=CONNECTIONS, home=home, serves=serves)


def _parsed(database_url: str) -> URL:
    try:
        return make_url(database_url)
    except (ArgumentError, ValueError):
        raise ConfigError("database.url is not a database URL.") from None


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
def translated(database: Errors) -> Iterator[None]:
    """The one seam where the database's errors become ours."""
    errors: tuple[type[Exception], ...] = (SQLAlchemyError, *database.errors)
    try:
        yield
    except errors as error:
        cause = getattr(error, "orig", None) or error
        reason = database.reason(cause)
        if database.is_damage(cause):
            raise DatabaseDamaged(f"The database is damaged: {reason}.") from error
        raise StoreError(f"The database cannot answer: {reason}.") from error
