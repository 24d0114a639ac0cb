"""`penstock task`: tasks, as they are now."""

# ruff: noqa: PLC0415 - heavy parts are loaded when they are needed, so that every command is quick

import asyncio
import json
import re
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Literal

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
    with_store,
)
from penstock.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from penstock.tasks.model import Event, Observed
    from penstock.tasks.ports import LiveStatus, Store
    from penstock.tasks.service import PullView

commands = typer.Typer(help="Tasks, as they are now.", no_args_is_help=True)

#: What a worker that died may have left in the store as it last was.
_RUNNING = ("starting", "active", "inactive")
#: Events that are read at once, and how often `logs --follow` looks for more, in seconds.
PAGE, FOLLOW_EVERY = 500, 0.5
#: Milliseconds of ``--since``'s units.
UNITS = {"s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}


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
    from penstock.tasks.times import parse

    if since is None:
        return 0
    if span_ := re.fullmatch(r"(\d{1,9})([smhd])", since):
        return now - int(span_[1]) * UNITS[span_[2]]
    try:
        return parse(since)
    except ValueError as error:
        raise typer.BadParameter(f"{since}: no span like 30s, 10m or 2h, and {error}", param_hint="--since") from None


def _print_event(event: "Event", as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(event_row(event), ensure_ascii=False))
    else:
        typer.echo(f"{iso(event.at)}  {event.name:15}  {event.text}  [{event.by}]")


def event_row(event: "Event") -> "dict[str, str]":
    """An event for people and scripts."""
    return {"at": iso(event.at), "name": event.name, "text": event.text, "by": event.by}


def row(view: "PullView", now: int) -> "dict[str, object]":
    """A task for people and scripts: times in ISO 8601 or in the unit that the name says; secrets masked."""
    from penstock.log import mask_url
    from penstock.tasks.families import pull

    task, run, observed, plan = view.task, view.run, view.run.observed, pull.plan(view.task)
    state = task.state.value
    if state in _RUNNING:
        state = "active" if run.active else "starting" if state == "starting" else "inactive"
    sinks = observed.sinks if observed else ()
    running = _running(view)
    return {
        "id": task.id,
        "family": task.family,
        "state": state,
        "media_ms": max((sink.media_ms for sink in sinks), default=0),
        "bitrate": max((sink.bitrate for sink in sinks), default=0) if run.active else 0,
        "uptime_s": max(0, now - running.started_at) // 1000 if running else 0,
        "source": mask_url(run.file_url or plan.sources[0].url),
        "on_air": running.on_air if running else "",
        "on_air_since": iso(running.on_air_since) if running and running.on_air_since is not None else None,
        "lead_ms": running.lead_ms if running else None,
        "switches": dict(running.switches) if running else {},
        "destination": mask_url(plan.sinks[0].url),
        "sources": node_rows(view, "sources"),
        "sinks": node_rows(view, "sinks"),
        "children": [f"{node.id}: {node.child}" for node in (*plan.sources, *plan.sinks) if node.child],
        "cost": plan.cost,
        "error": run.error,
        "start_at": iso(task.start_at),
        "end_at": iso(task.end_at) if task.end_at is not None else None,
        "owner": task.owner,
        "epoch": task.epoch,
    }


def _running(view: "PullView") -> "Observed | None":
    """What was observed of the task, if it is one that runs."""
    return view.run.observed if view.task.state.value in _RUNNING else None


def node_rows(view: "PullView", side: Literal["sources", "sinks"]) -> "list[dict[str, object]]":
    """Each of a task's sources or sinks, as it was last seen in this run; ``idle`` if it does not run."""
    from penstock.log import mask_url
    from penstock.tasks.families import pull
    from penstock.tasks.model import NodeStatus

    running = _running(view)
    seen = {node.id: node for node in getattr(running, side, ())}
    rows: list[dict[str, object]] = []
    for planned in getattr(pull.plan(view.task), side):
        url = mask_url(planned.url)
        node = seen.get(planned.id) or NodeStatus(id=planned.id, url=url, state="idle", since=view.task.state_at)
        rows.append(
            {
                "id": node.id,
                "state": node.state,
                "since": iso(node.since),
                "media_ms": node.media_ms,
                "bitrate": node.bitrate,
                "bytes": node.bytes,
                "video": node.video,
                "audio": node.audio,
                "keyframes": node.keyframes,
                "dropped": node.dropped,
                "attempts": node.attempts,
                "url": url,
                "error": node.error,
            }
        )
    return rows


def cell(task: "Mapping[str, object]", column: str) -> str:
    """One value of a `row`, or of a source or sink in it, in a person's words."""
    if column == "media time":
        return span(int(str(task["media_ms"])) // 1000)
    if column == "bitrate":
        return f"{int(str(task['bitrate'])) / 1e6:.2f} Mbit/s" if task["bitrate"] else "-"
    if column == "uptime":
        return span(int(str(task["uptime_s"])))
    if column == "on air":
        return on_air(task)
    if column == "children":
        return "; ".join(map(str, task["children"])) if isinstance(task["children"], list) else ""
    return "" if task[column] is None else str(task[column])


def on_air(task: "Mapping[str, object]") -> str:
    """Which source is on air, since when, how far ahead of the wall, and why others came before: ``backup since …``."""
    if not task["on_air"]:
        return ""
    words = [f"{task['on_air']} since {task['on_air_since']}"]
    if task["lead_ms"] is not None:
        words.append(f"lead {int(str(task['lead_ms'])) / 1000:+.2f} s")
    if isinstance(switches := task["switches"], dict) and switches:
        words.append("switched: " + ", ".join(f"{cause} {number}" for cause, number in switches.items()))
    return "; ".join(words)


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
