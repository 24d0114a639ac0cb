"""`penstock task`: tasks, as they are now."""

# ruff: noqa: PLC0415 - heavy parts are loaded when they are needed, so that every command is quick

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import typer

from penstock.cli.common import (
    DATA,
    AccountName,
    Data,
    File,
    Json,
    print_json,
    print_lines,
    print_table,
    settings,
    with_live,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from penstock.tasks.model import Event
    from penstock.tasks.ports import LiveStatus, Store
    from penstock.tasks.service import PullView

commands = typer.Typer(help="Tasks, as they are now.", no_args_is_help=True)

#: What a worker that died may have left in the store as it last was.
_RUNNING = ("starting", "active", "inactive")


@commands.command("list")
def list_all(account: AccountName = None, data: Data = DATA, config: File = None, as_json: Json = False) -> None:
    """List an account's tasks; those changed last come first."""
    from penstock.app import clock
    from penstock.tasks.accounts import find_account
    from penstock.tasks.service import list_tasks

    async def look(store: "Store", live: "LiveStatus") -> "Sequence[PullView]":
        owner = await store.read(lambda tx: find_account(tx, account))
        return await list_tasks(store, live, clock(), account_id=owner.id)

    rows = [row(view, clock()) for view in with_live(settings(data, config), look)]
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
    from penstock.tasks.accounts import find_account
    from penstock.tasks.service import show_task

    async def look(store: "Store", live: "LiveStatus") -> "tuple[PullView, Sequence[Event]]":
        owner = await store.read(lambda tx: find_account(tx, account))
        return await show_task(store, live, clock(), account_id=owner.id, task_id=task_id)

    view, events = with_live(settings(data, config), look)
    task = row(view, clock())
    history = [{"at": iso(event.at), "name": event.name, "text": event.text, "by": event.by} for event in events]
    if as_json:
        print_json({**task, "events": history})
        return
    shown = ["id", "state", "media time", "bitrate", "uptime", "source", "destination", "error", "owner", "epoch"]
    print_lines([(name, cell(task, name)) for name in shown])
    typer.echo()
    print_table(["at", "event", "text", "by"], [list(event.values()) for event in history])


def row(view: "PullView", now: int) -> "dict[str, object]":
    """A task for people and scripts: times in ISO 8601 or in the unit that the name says; secrets masked."""
    from penstock import app
    from penstock.log import mask_url

    task, run, observed, plan = view.task, view.run, view.run.observed, app.plan(view.task)
    state = task.state.value
    if state in _RUNNING:
        state = "active" if run.active else "starting" if state == "starting" else "inactive"
    sink = observed.sinks[0] if observed and observed.sinks else None
    running = observed if observed and task.state.value in _RUNNING else None
    return {
        "id": task.id,
        "family": task.family,
        "state": state,
        "media_ms": sink.media_ms if sink else 0,
        "bitrate": sink.bitrate if sink and run.active else 0,
        "uptime_s": max(0, now - running.started_at) // 1000 if running else 0,
        "source": mask_url(run.file_url or plan.sources[0].url),
        "destination": mask_url(plan.sinks[0].url),
        "error": run.error,
        "start_at": iso(task.start_at),
        "end_at": iso(task.end_at) if task.end_at is not None else None,
        "owner": task.owner,
        "epoch": task.epoch,
    }


def cell(task: "Mapping[str, object]", column: str) -> str:
    """One value of a `row` in a person's words."""
    if column == "media time":
        return span(int(str(task["media_ms"])) // 1000)
    if column == "bitrate":
        return f"{int(str(task['bitrate'])) / 1e6:.2f} Mbit/s" if task["bitrate"] else "-"
    if column == "uptime":
        return span(int(str(task["uptime_s"])))
    return "" if task[column] is None else str(task[column])


def span(seconds: int) -> str:
    """A length of time: ``0:05``, ``1:02:03``, ``3d 4:05:06``."""
    if seconds <= 0:
        return "-"
    minutes, second = divmod(seconds, 60)
    hours, minute = divmod(minutes, 60)
    days, hour = divmod(hours, 24)
    if not hours:
        return f"{minute}:{second:02}"
    return f"{f'{days}d ' if days else ''}{hour}:{minute:02}:{second:02}"


def iso(at: int) -> str:
    return datetime.fromtimestamp(at / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
