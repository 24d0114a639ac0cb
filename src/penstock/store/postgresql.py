"""PostgreSQL: writers side by side. A row that a writing transaction looks up is locked until its end.

Whatever happens to the server or on the way to it, nobody waits long: connecting, waiting for an answer, for a lock
and for a connection all have their limits.
"""

import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar, TypeVar

import psycopg
from psycopg.abc import PQGen
from sqlalchemy import URL, Connection, create_engine, event, inspect, text

from penstock.errors import StoreError
from penstock.store import migrations

RV = TypeVar("RV")

#: How long a connection may take to be made, in seconds.
CONNECT_TIMEOUT = 3
#: How long a statement may take, in seconds; the server ends it, or else we end the connection.
STATEMENT_TIMEOUT = 5
#: How long a statement may wait for another transaction's rows, in seconds: less, so that it is told which it was.
LOCK_TIMEOUT = 4
#: A transaction that does nothing for this long, in seconds, is undone by the server: its process has been stopped.
IDLE_TIMEOUT = 10

#: The advisory lock of whoever makes or changes the tables: "penstock" in ASCII.
MAKING = int.from_bytes(b"penstock")
#: The first half of the advisory lock that all processes of one server share; the second half is the server's own.
SERVING = int.from_bytes(b"pnst")
_POLL = 0.1

_SETTINGS = f"""
    SET statement_timeout = '{STATEMENT_TIMEOUT}s';
    SET lock_timeout = '{LOCK_TIMEOUT}s';
    SET idle_in_transaction_session_timeout = '{IDLE_TIMEOUT}s';
    SET tcp_keepalives_idle = 10;
    SET tcp_keepalives_interval = 5;
    SET tcp_keepalives_count = 3;
"""

_OTHERS = """
    SELECT coalesce(application_name, '') FROM pg_locks JOIN pg_stat_activity USING (pid)
    WHERE locktype = 'advisory' AND objsubid = 2 AND classid = %s AND objid <> %s AND datname = current_database()
"""


class BoundedConnection(psycopg.Connection[Any]):
    """A connection that ends itself when the server does not answer: a server that hangs keeps no time limits."""

    #: In seconds; None: for ever. A little more than the server's own limit, so that this one speaks first.
    patience: float | None = STATEMENT_TIMEOUT + 1

    def wait(self, gen: PQGen[RV], interval: float = 0.1, timeout: float | None = None) -> RV:
        """Every wait for the server goes through here."""
        try:
            return super().wait(gen, interval, self.patience if timeout is None else timeout)
        except psycopg.errors._WaitTimeout as error:  # noqa: SLF001 - what the public method is documented to raise
            self.pgconn.finish()
            raise psycopg.OperationalError("the server does not answer") from error


class Postgresql:
    """`penstock.store.database.Database` on a PostgreSQL server."""

    errors: ClassVar[tuple[type[Exception], ...]] = (psycopg.Error,)
    begin_read = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
    begin_write = "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE"

    def __init__(self, url: URL, *, connections: int, home: str, serves: bool) -> None:
        """`connections`: how many there are at most. `home`: which server this is; `serves`: as a part of it, so
        that no other may work on the database meanwhile."""
        self._home, self._number, self._serves = home, zlib.crc32(home.encode()) >> 1, serves
        # Parameters hold secrets; they must stand in no error.
        self.engine = create_engine(
            url.set(drivername="postgresql+psycopg"),
            hide_parameters=True,
            pool_size=connections,
            max_overflow=0,
            pool_timeout=STATEMENT_TIMEOUT,
            pool_pre_ping=True,
            connect_args={"fallback_application_name": f"penstock {home}"},
        )
        event.listen(self.engine, "do_connect", _connect)
        event.listen(self.engine, "connect", self._prepare)
        event.listen(self.engine, "checkin", _be_impatient)

    def __str__(self) -> str:
        return repr(self.engine.url)  # without the password

    def _prepare(self, connection: BoundedConnection, _record: object) -> None:
        connection.autocommit = True
        connection.execute(_SETTINGS)
        if not self._serves:
            return
        try:
            self._check_alone(connection)
            connection.execute("SELECT pg_advisory_lock_shared(%s, %s)", (SERVING, self._number))
            self._check_alone(connection)  # neither has the other's tasks if two began at the same time
        except BaseException:
            connection.close()
            raise

    def _check_alone(self, connection: psycopg.Connection[Any]) -> None:
        """Raise `StoreError` if another server works on the database: it would take our living workers for dead."""
        other = connection.execute(_OTHERS, (SERVING, self._number)).fetchone()
        if other:
            raise StoreError(f"Another server works on this database already ({other[0] or 'of another user'}).")

    def is_new(self) -> bool:
        """As `Database.is_new`."""
        with self.engine.connect() as connection:
            migrations.current(connection)
            return not inspect(connection).get_table_names()

    @contextmanager
    def making(self) -> Iterator[None]:
        """As `Database.making`: an advisory lock, which goes with its connection. Asked for again and again, since
        a statement that waits for it would be ended in time. Raise `StoreError` if another server is at work."""
        asked = text("SELECT pg_try_advisory_lock(:lock)").bindparams(lock=MAKING)
        with self.engine.connect() as connection:
            while not connection.execute(asked).scalar_one():
                connection.rollback()
                time.sleep(_POLL)
            connection.rollback()
            driver: Any = connection.connection.driver_connection
            self._check_alone(driver)
            try:
                yield
            finally:
                connection.invalidate()

    def allow_time(self, connection: Connection) -> None:
        """As `Database.allow_time`."""
        connection.exec_driver_sql("SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = 0")
        driver: Any = connection.connection.driver_connection
        driver.patience = None

    def opened(self) -> None:
        """As `Database.opened`."""

    def look_over(self, connection: Connection, *, seconds: float | None = None) -> None:
        """As `Database.look_over`: that is its administrator's."""

    def check_place(self) -> None:
        """As `Database.check_place`: whoever has the address has the database."""

    def is_lost(self, driver_connection: Any) -> bool:
        """As `Database.is_lost`."""
        return bool(driver_connection.closed)

    def is_collision(self, error: BaseException) -> bool:
        """As `Database.is_collision`: a deadlock, for one; SQL's own class of errors."""
        return isinstance(error, psycopg.Error) and (error.sqlstate or "").startswith("40")

    def is_damage(self, error: BaseException) -> bool:
        """As `Errors.is_damage`: what it says of itself is best left in its own words."""
        return False

    @staticmethod
    def reason(error: BaseException) -> str:
        """As `Errors.reason`: the server's detail, which holds values, is left out."""
        told = error.diag.message_primary if isinstance(error, psycopg.Error) else None
        return told or " ".join(str(error).split()).rstrip(".")


def _connect(_dialect: object, _record: object, arguments: list[Any], options: dict[str, Any]) -> BoundedConnection:
    return BoundedConnection.connect(*arguments, **{"connect_timeout": CONNECT_TIMEOUT, **options})


def _be_impatient(connection: BoundedConnection | None, _record: object) -> None:
    """Undo `Postgresql.allow_time`, whose other half goes with the transaction."""
    if connection is not None:
        connection.patience = BoundedConnection.patience
