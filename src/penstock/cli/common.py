"""What all commands share: options, settings, and how results and errors are printed."""

# ruff: noqa: PLC0415 - heavy parts are loaded when they are needed, so that every command is quick

import asyncio
import json
import re
import sys
from collections.abc import Callable, Coroutine, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from penstock.errors import ConfigError

if TYPE_CHECKING:
    from penstock.config import Config
    from penstock.tasks.ports import Live, Store

T = TypeVar("T")

#: The exit code of a setting or flag that cannot be used.
USAGE = 2

#: Milliseconds of a span's units.
UNITS = {"s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}

DATA = Path("penstock-data")
Data = Annotated[Path, typer.Option("--data", metavar="DIR", help="The folder DATA, which holds everything.")]
File = Annotated[Path | None, typer.Option("--config", metavar="FILE", help="The settings; else DIR/penstock.toml.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
AccountName = Annotated[
    str | None, typer.Option("--account", metavar="NAME", help="The account; needed if there are several.")
]


def settings(data: Path, file: Path | None, flags: Mapping[str, str | None] | None = None) -> "Config":
    """All settings. What cannot be used ends the program; what is doubtful is said."""
    from penstock import config

    try:
        found = config.load(data, file, flags=flags)
    except ConfigError as error:
        typer.echo(f"penstock: {error.message}", err=True)
        sys.exit(USAGE)
    for warning in found.warnings:
        typer.echo(f"penstock: warning: {warning}", err=True)
    return found


def with_store(found: "Config", work: Callable[["Store"], Coroutine[Any, Any, T]], *, migrate: bool = False) -> T:
    """What `work` answers on the store of these settings."""
    from penstock import app

    store = app.open_store(found, migrate=migrate, inline=True)
    try:
        return asyncio.run(work(store))
    finally:
        store.close()


def with_live(found: "Config", work: Callable[["Store", "Live"], Coroutine[Any, Any, T]]) -> T:
    """As `with_store`, with what living processes report now."""
    from penstock import app

    async def look(store: "Store") -> T:
        async with app.live_status(found) as live:
            return await work(store, live)

    return with_store(found, look)


def with_account(
    found: "Config", account: str | None, work: Callable[["Store", "Live", int], Coroutine[Any, Any, T]]
) -> T:
    """As `with_live`, about one account (None: the only one), whose id `work` is handed, too."""
    from penstock.tasks.accounts import find_account

    async def look(store: "Store", live: "Live") -> T:
        owner = await store.read(lambda tx: find_account(tx, account))
        return await work(store, live, owner.id)

    return with_live(found, look)


def moment(text: str, now: int, sign: int, option: str) -> int:
    """Unix ms of a time, or of a span (``30s``, ``10m``, ``2h``, ``7d``) after `now`; before it with a `sign` of -1.

    Raise `typer.BadParameter`.
    """
    from penstock.tasks.times import parse

    if found := re.fullmatch(r"(\d{1,9})([smhd])", text):
        return now + sign * int(found[1]) * UNITS[found[2]]
    try:
        return parse(text)
    except ValueError as error:
        raise typer.BadParameter(f"{text}: no span like 30s, 10m or 2h, and {error}", param_hint=option) from None


def print_json(value: object) -> None:
    typer.echo(json.dumps(value, indent=2, ensure_ascii=False))


def print_lines(rows: Sequence[tuple[str, object]]) -> None:
    """Names and values, aligned."""
    width = max(len(name) for name, _ in rows)
    for name, value in rows:
        typer.echo(f"{name:{width}}  {value}")


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]], *, right: Sequence[str] = ()) -> None:
    """A table: as wide as the terminal, or as wide as it needs when the output goes elsewhere.

    `right`: the columns that hold numbers.
    """
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for column in columns:
        numeric = column in right
        table.add_column(column, justify="right" if numeric else "left", no_wrap=numeric, overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row))
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = 10_000
        console.width = console.measure(table).maximum
    console.print(table)
