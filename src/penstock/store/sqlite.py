"""SQLite: the database is a file. Writers wait for each other, from all processes; readers for nobody."""

import math
import os
import sqlite3
import time
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, ClassVar

from sqlalchemy import URL, Connection, create_engine, event

from penstock.errors import DatabaseDamaged, StoreError

#: How long a transaction waits for another process's write, in ms.
BUSY_TIMEOUT = 5000
#: A disk with less room is full, in bytes.
ROOM = 1 << 16
#: SQLite's instructions between two looks at the time.
_LOOK_EVERY = 10_000
_DAMAGE = ("SQLITE_CORRUPT", "SQLITE_NOTADB")
#: For tests and simulations.
MEMORY = Path(":memory:")


class Sqlite:
    """`penstock.store.database.Database` in one file."""

    errors: ClassVar[tuple[type[Exception], ...]] = (sqlite3.Error,)
    begin_read = "BEGIN"
    #: Takes the write lock at once: one taken later cannot wait, since its snapshot may be old by then.
    begin_write = "BEGIN IMMEDIATE"

    def __init__(self, path: Path, *, connections: int) -> None:
        """`connections`: how many to keep."""
        self._path = path
        #: Which file was opened.
        self._opened: tuple[int, int] | None = None
        # Parameters hold secrets; they must stand in no error.
        self.engine = create_engine(
            URL.create("sqlite", database=None if path == MEMORY else str(path)),
            hide_parameters=True,
            connect_args={"check_same_thread": False},
            **({} if path == MEMORY else {"pool_size": connections}),
        )
        event.listen(self.engine, "connect", _prepare)

    def __str__(self) -> str:
        return str(self._path)

    def is_new(self) -> bool:
        """As `Database.is_new`; what an existing file holds is for the migrations to see."""
        return not self._path.exists()

    def making(self) -> AbstractContextManager[None]:
        """As `Database.making`: who has the file locks its writes, and needs nothing more."""
        return nullcontext()

    def allow_time(self, connection: Connection) -> None:
        """As `Database.allow_time`: nothing limits a statement."""

    def opened(self) -> None:
        """As `Database.opened`."""
        self._opened = self._identity()

    def check_place(self) -> None:
        """As `Database.check_place`."""
        if self._identity() != self._opened:
            raise StoreError(f"The database {self._path} is gone, or another one is in its place.")
        disk = os.statvfs(self._path.parent)
        if disk.f_bavail * disk.f_frsize < ROOM:
            raise StoreError(f"The disk under the database {self._path} is full.")

    def look_over(self, connection: Connection, *, seconds: float | None = None) -> None:
        """As `Database.look_over`."""
        driver: Any = connection.connection.driver_connection
        end = math.inf if seconds is None else time.monotonic() + seconds
        driver.set_progress_handler(lambda: time.monotonic() > end, _LOOK_EVERY)
        try:
            [verdict] = driver.execute("PRAGMA quick_check(1)").fetchone()
        except sqlite3.OperationalError as error:
            if error.sqlite_errorname != "SQLITE_INTERRUPT":
                raise
        else:
            if verdict != "ok":
                raise DatabaseDamaged(f"The database is damaged: {verdict}.")
        finally:
            driver.set_progress_handler(None, 0)

    def is_lost(self, driver_connection: Any) -> bool:
        """As `Database.is_lost`: a file has no connection to lose."""
        return False

    def is_collision(self, error: BaseException) -> bool:
        """As `Database.is_collision`: writers wait for each other instead."""
        return False

    @staticmethod
    def reason(error: BaseException) -> str:
        """As `Errors.reason`."""
        return str(error).splitlines()[0]

    def is_damage(self, error: BaseException) -> bool:
        """As `Errors.is_damage`."""
        return getattr(error, "sqlite_errorname", "").startswith(_DAMAGE)

    def _identity(self) -> tuple[int, int] | None:
        """Which file is there now; None: there is none."""
        try:
            found = self._path.stat()
        except OSError:
            return None
        return found.st_dev, found.st_ino


def _prepare(connection: Any, _record: object) -> None:
    connection.isolation_level = None
    for pragma in (f"busy_timeout={BUSY_TIMEOUT}", "journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}")
