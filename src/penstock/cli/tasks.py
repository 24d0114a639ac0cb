"""`penstock task`: tasks, as they are now."""

# ruff: noqa: PLC0415 - heavy parts are loaded when they are needed, so that every command is quick

import asyncio
import json
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated

import typer

from penstock.cli.common import (
    DATA,
    AccountName,
    Data,
    File,
    Json,
    moment,
    print_json,
    print_lines,
    print_table,
    settings,
    with_account,
    with_store,
)
from penstock.cli.rows import cell, event_row, iso, node_rows, row
from penstock.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from penstock.tasks.model import Event
    from penstock.tasks.ports import Store

commands = typer.Typer(help="Tasks, as they are now.", no_args_is_help=True)

#: Events that are read at once, and how often `logs --follow` looks for more, in seconds.
PAGE, FOLLOW_EVERY = 500, 0.5


@commands.command("list")
def list_all(account: AccountName = None, data: Data = DATA, config: File = None, as_json: Json = False) -> None:
    """List an account's tasks; those changed last come first."""
    from penstock.app import clock
    from penstock.tasks.service import list_tasks

    views = with_account(
        settings(data, config),
        account,
        lambda store, live, owner: list_tasks(store, live, clock(), account_id=owner),
    )
    rows = [row(view, clock()) for view in views]
    if as_json:
        print_json(rows)
        return
    numbers = ["media time", "bitrate", "uptime"]
    columns = ["id", "state", *numbers, "source", "destination", "error"]
    print_table(columns, [[cell(task, column) for column in columns] for task in rows], right=numbers)


@commands.command("show")
def show(
    task_id: str,
    account: AccountName = None,
    data: Data = DATA,
    config: File = None,
    as_json: Json = False,
) -> None:
    """Show one task and its history."""
    from penstock.app import clock
    from penstock.tasks.service import show_task

    view, events = with_account(
        settings(data, config),
        account,
        lambda store, live, owner: show_task(store, live, clock(), account_id=owner, task_id=task_id),
    )
    task = row(view, clock())
    history = list(map(event_row, events))
    if as_json:
        print_json({**task, "events": history})
        return
    shown = [
        "id",
        "state",
        "media time",
        "bitrate",
        "uptime",
        "source",
        "file",
        "on air",
        "destination",
        "children",
        "cost",
        "error",
        "owner",
        "epoch",
    ]
    print_lines([(name, cell(task, name)) for name in shown])
    typer.echo()
    numbers = ["media time", "bitrate", "dropped"]
    columns = ["id", "state", *numbers, "url", "error"]
    nodes = [*node_rows(view, "sources"), *node_rows(view, "sinks")]
    print_table(columns, [[cell(node, column) for column in columns] for node in nodes], right=numbers)
    typer.echo()
    print_table(["at", "event", "text", "by"], [list(event.values()) for event in history])


@commands.command("logs")
def logs(
    task_id: str,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what happens, until Ctrl-C.")] = False,
    since: Annotated[
        str | None, typer.Option(metavar="TIME", help="Only what is newer: 30s, 10m, 2h, 7d, or 2026-01-31T10:00:00Z.")
    ] = None,
    account: AccountName = None,
    data: Data = DATA,
    config: File = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object a line.")] = False,
) -> None:
    """Print a task's history, oldest first: what happened, when, why, and by whom."""
    from penstock.app import clock
    from penstock.tasks.accounts import find_account
    from penstock.tasks.service import find_key

    start = _start(since, clock())

    async def print_all(store: "Store") -> None:
        owner = await store.read(lambda tx: find_account(tx, account))
        key, last = await find_key(store, account_id=owner.id, task_id=task_id), 0
        while True:
            events, gone = await _events_after(store, key, last, patient=follow)
            for event in events:
                last = event.id
                if event.at >= start:
                    _print_event(event, as_json)
            if not events and (gone or not follow):
                return
            if not events:
                await asyncio.sleep(FOLLOW_EVERY)

    with suppress(KeyboardInterrupt):
        with_store(settings(data, config), print_all)


async def _events_after(store: "Store", key: int, last: int, *, patient: bool) -> "tuple[Sequence[Event], bool]":
    """A page of a task's events, and whether the task is gone. `patient`: wait for a database that cannot answer."""
    while True:
        try:
            return await store.read(lambda tx: (tx.events(key, after=last, limit=PAGE), tx.task_by_key(key) is None))
        except StoreError as error:
            if not patient:
                raise
            typer.echo(f"penstock: {error.message}", err=True)
            await asyncio.sleep(1)


def _start(since: str | None, now: int) -> int:
    """Unix ms of a time, or of so long before `now`. Raise `typer.BadParameter`."""
    return 0 if since is None else moment(since, now, -1, "--since")


def _print_event(event: "Event", as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(event_row(event), ensure_ascii=False))
    else:
        typer.echo(f"{iso(event.at)}  {event.name:15}  {event.text}  [{event.by}]")
