"""Reads that every call of the API makes: compiled once, and handed to the driver as text.

SQLAlchemy's own way costs several times what such a query costs the database.
"""

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, NamedTuple

from sqlalchemy import Connection, Select, Table
from sqlalchemy.engine import Dialect


class Prepared:
    """A select with named parameters. Its rows come as the driver gives them: a boolean may be a number.

    In a transaction that writes, the rows of the table `keeps` stay as they were read until it ends.
    """

    def __init__(self, statement: "Select[Any]", *, keeps: Table | None = None, skips: bool = False) -> None:
        """`skips`: what another transaction keeps is left out, instead of waited for."""
        self._statement = statement
        self._keeping = statement if keeps is None else keep(statement, keeps, skips=skips)
        self._compiled: dict[tuple[str, bool], Compiled] = {}

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The names of a row's columns."""
        return tuple(column.name for column in self._statement.selected_columns)

    def rows(self, connection: Connection, *, writes: bool = False, **values: object) -> Sequence[Sequence[Any]]:
        """All rows for these values of the parameters. `writes`: this transaction does. Errors are the driver's own."""
        compiled = self._compiled.get((connection.dialect.name, writes)) or self._compile(connection.dialect, writes)
        given = {**compiled.given, **values}
        ordered = given if compiled.order is None else [given[name] for name in compiled.order]
        driver: Any = connection.connection.driver_connection
        rows: Sequence[Sequence[Any]] = driver.execute(compiled.text, ordered).fetchall()
        return rows

    def row(self, connection: Connection, *, writes: bool = False, **values: object) -> dict[str, Any] | None:
        """The first row by the names of its columns, if there is one."""
        rows = self.rows(connection, writes=writes, **values)
        return dict(zip(self.names, rows[0], strict=True)) if rows else None

    def _compile(self, dialect: Dialect, writes: bool) -> "Compiled":
        made = (self._keeping if writes else self._statement).compile(dialect=dialect)
        given = {name: value for name, value in made.params.items() if value is not None}
        compiled = Compiled(str(made), made.positiontup if made.positional else None, given)
        return self._compiled.setdefault((dialect.name, writes), compiled)


def keep(statement: "Select[Any]", table: Table, *, skips: bool = False) -> "Select[Any]":
    """The same select, that locks the rows of this table where the database locks rows (SQLite locks all)."""
    return statement.with_for_update(of=table, key_share=True, skip_locked=skips)


class Compiled(NamedTuple):
    """A statement as one database understands it."""

    text: str
    #: The parameters' names where the driver wants them in order; None: it takes them by name.
    order: Sequence[str] | None
    #: Parameters that the statement itself gives a value.
    given: Mapping[str, object]
