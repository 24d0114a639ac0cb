"""What the store asks of a database besides SQL: the places where SQLite and PostgreSQL differ."""

from contextlib import AbstractContextManager
from typing import Any, Protocol

from sqlalchemy import Connection, Engine


class Errors(Protocol):
    """What a driver raises, and what that says."""

    @property
    def errors(self) -> tuple[type[Exception], ...]: ...

    @staticmethod
    def reason(error: BaseException) -> str:
        """An error in one line, without values of rows."""
        ...

    def is_damage(self, error: BaseException) -> bool:
        """Whether it says that the database is damaged."""
        ...


class Database(Errors, Protocol):
    """One database, and how to speak to it. The driver's own transactions are switched off: see `begin_read`."""

    engine: Engine
    #: Begins a transaction that reads one moment's state.
    begin_read: str
    #: Begins a transaction that writes, and sees what others have committed before.
    begin_write: str

    def is_new(self) -> bool:
        """Whether there is nothing in it yet. Raise `StoreError` if it holds what is not ours."""
        ...

    def making(self) -> AbstractContextManager[None]:
        """A lock on its making and changing against processes that know nothing of our DATA."""
        ...

    def allow_time(self, connection: Connection) -> None:
        """Let the statements of this transaction take as long as they need."""
        ...

    def opened(self) -> None:
        """It has been found to be ours."""
        ...

    def look_over(self, connection: Connection, *, seconds: float | None = None) -> None:
        """Raise `DatabaseDamaged` if damage can be seen; of a large database, what can be seen in so many seconds."""
        ...

    def check_place(self) -> None:
        """Raise `StoreError` if what was opened is not where it was, or if its disk is full."""
        ...

    def is_lost(self, driver_connection: Any) -> bool:
        """Whether this connection can answer nothing any more."""
        ...

    def is_collision(self, error: BaseException) -> bool:
        """Whether the transaction was undone only because of what others did meanwhile."""
        ...
