"""Reads that every call of the API makes: compiled once, and handed to the driver as text.

SQLAlchemy's own way costs several times what such a query costs the database.
"""

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, NamedTuple

from sqlalchemy import Connection, Select
from sqlalchemy.engine import Dialect


class Prepared:
    """A select with named parameters. Its rows come as the driver gives them: a boolean may be a number."""

    def __init__(self, statement: "Select[Any]") -> None:
        self._statement = statement
        self._compiled: dict[str, Compiled] = {}

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The names of a row's columns."""
        return tuple(column.name for column in self._statement.selected_columns)

    def rows(self, connection: Connection, **values: object) -> Sequence[Sequence[Any]]:
        """All rows for these values of the parameters. Errors are the driver's own."""
        compiled = self._compiled.get(connection.dialect.name) or self._compile(connection.dialect)
        given = {**compiled.given, **values}
        ordered = given if compiled.order is None else [given[name] for name in compiled.order]
        driver: Any = connection.connection.driver_connection
        rows: Sequence[Sequence[Any]] = driver.execute(compiled.text, ordered).fetchall()
        return rows

    def row(self, connection: Connection, **values: object) -> dict[str, Any] | None:
        """The first row by the names of its columns, if there is one."""
        rows = self.rows(connection, **values)
        return dict(zip(self.names, rows[0], strict=True)) if rows else None

    def _compile(self, dialect: Dialect) -> "Compiled":
        made = self._statement.compile(dialect=dialect)
        given = {name: value for name, value in made.params.items() if value is not None}
        compiled = Compiled(str(made), made.positiontup if made.positional else None, given)
        return self._compiled.setdefault(dialect.name, compiled)


class Compiled(NamedTuple):
    """A statement as one database understands it."""

    text: str
    #: The parameters' names where the driver wants them in order; None: it takes them by name.
    order: Sequence[str] | None
    #: Parameters that the statement itself gives a value.
    given: Mapping[str, object]
