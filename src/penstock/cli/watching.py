"""`penstock task watch`: one task, as it goes on."""

# ruff: noqa: PLC0415 - heavy parts are loaded when they are needed, so that every command is quick

import asyncio
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext, suppress
from datetime import datetime
from typing import TYPE_CHECKING, Any

import typer

from penstock.cli.common import DATA, AccountName, Data, File, settings, with_account
from penstock.cli.rows import cell, is_played, iso, length, offset, place, rounds, row
from penstock.errors import StoreError, TaskNotFound

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.progress_bar import ProgressBar

    from penstock.tasks.ports import Live, Store

#: Seconds between two looks.
EVERY = 1.0
#: Columns of a bar.
BAR = 50

Show = Callable[[Mapping[str, Any], int], None]


def watch(task_id: str, account: AccountName = None, data: Data = DATA, config: File = None) -> None:
    """Watch a task as it goes on, until it ends or Ctrl-C: a line a second, where there is no terminal."""
    from penstock.tasks.service import find_key

    async def follow(store: "Store", live: "Live", owner: int) -> None:
        await find_key(store, account_id=owner, task_id=task_id)
        screen, show = _screen()
        with screen:
            await _follow(store, live, owner, task_id, show)

    with suppress(KeyboardInterrupt):
        with_account(settings(data, config), account, follow)


async def _follow(store: "Store", live: "Live", account_id: int, task_id: str, show: Show) -> None:
    """Show the task each second, until it has ended or is gone."""
    from penstock.app import clock
    from penstock.tasks.service import show_task

    seen: dict[str, Any] = {}
    while seen.get("state") not in ("ended", "deleted"):
        try:
            view, _ = await show_task(store, live, clock(), account_id=account_id, task_id=task_id, events=0)
            seen = row(view, clock())
        except TaskNotFound as error:
            seen = {**seen, "state": "deleted", "error": error.message}
        except StoreError as error:
            seen = {**seen, "error": error.message}
        if "id" in seen:
            show(seen, clock())
        await asyncio.sleep(EVERY)


def _screen() -> tuple[AbstractContextManager[Any], Show]:
    """What shows a task in place in a terminal; elsewhere what prints a line each time."""
    from rich.console import Console
    from rich.live import Live as Display

    console = Console(highlight=False)
    if not console.is_terminal:
        return nullcontext(), lambda task, now: typer.echo(line(task, now))
    display = Display(console=console, auto_refresh=False)
    return display, lambda task, now: display.update(frame(task, now), refresh=True)


def line(task: Mapping[str, Any], now: int) -> str:
    """A task in one line."""
    files = task["files"]
    words = [
        f"{iso(now)}  {task['state']}",
        f"file {place(files)}" if files else "",
        f"then {files['next_url']}" if files and files["next_url"] else "",
        "" if files else f"media {cell(task, 'media time')}",
        f"on air {task['on_air']}" if task["on_air"] else "nothing on air",
        cell(task, "bitrate"),
        f"error: {task['error']}" if task["error"] else "",
    ]
    return ", ".join(filter(None, words))


def frame(task: Mapping[str, Any], now: int) -> "RenderableType":
    """A task as it is shown in a terminal."""
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    table.add_row("task", Text(f"{task['id']}  {task['state']}", style=_STYLES.get(task["state"], "")))
    for name, value in _details(task, now):
        table.add_row(name, Text(value) if isinstance(value, str) else value)
    if task["error"]:
        table.add_row("error", Text(task["error"], style="red"))
    return table


_STYLES = {"active": "bold green", "starting": "bold yellow", "inactive": "bold red"}


def _details(task: Mapping[str, Any], now: int) -> Iterator[tuple[str, "str | RenderableType"]]:
    if files := task["files"]:
        yield from _of_files(files)
    else:
        yield "source", task["source"]
        yield "media", f"{cell(task, 'media time')} delivered"
    yield "to", task["destination"]
    yield "on air", cell(task, "on air") or "nothing"
    yield "rate", f"{cell(task, 'bitrate')}, up for {cell(task, 'uptime')}"
    if task["end_at"] is not None and task["state"] != "ended":
        left = datetime.fromisoformat(task["end_at"]).timestamp() - now / 1000
        yield "ends", f"{task['end_at']}, {f'in {length(round(left))}' if left > 0 else 'which has passed'}"


def _of_files(files: Mapping[str, Any]) -> Iterator[tuple[str, "str | RenderableType"]]:
    """How far the file is, then the list."""
    if is_played(files):
        yield "files", rounds(files)
        return
    duration = files["duration_ms"]
    yield "file", files["url"]
    if duration:
        left = max(0, duration - files["offset_ms"]) // 1000
        yield "", _bar(files["offset_ms"] / duration)
        yield "", f"{offset(files)}, {length(left)} left"
    else:
        yield "", offset(files)
    played = files["file"] - 1 + (min(1.0, files["offset_ms"] / duration) if duration else 0.0)
    yield "list", f"file {files['file']} of {files['files']}, {rounds(files)}"
    yield "", _bar(played / files["files"])
    yield "next", files["next_url"] or "nothing: this is the last file"


def _bar(share: float) -> "ProgressBar":
    from rich.progress_bar import ProgressBar

    return ProgressBar(total=1.0, completed=min(1.0, share), width=BAR)
