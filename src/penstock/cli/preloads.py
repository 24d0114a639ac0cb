"""`penstock preload`: streams that are kept warm on edge nodes, as they are now."""

# ruff: noqa: PLC0415 - heavy parts are loaded when they are needed, so that every command is quick

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
    with_account,
)
from penstock.cli.rows import event_row, iso

if TYPE_CHECKING:
    from penstock.tasks.model import HoldStatus
    from penstock.tasks.preloads import PreloadView

commands = typer.Typer(help="Streams that are kept warm on edge nodes.", no_args_is_help=True)


@commands.command("list")
def list_all(account: AccountName = None, data: Data = DATA, config: File = None, as_json: Json = False) -> None:
    """List an account's tasks, and how warm each is; those made last come first."""
    from penstock.app import clock
    from penstock.tasks.preloads import list_preloads

    views = with_account(
        settings(data, config),
        account,
        lambda store, live, owner: list_preloads(store, live, clock(), account_id=owner),
    )
    rows = [row(view) for view in views]
    if as_json:
        print_json(rows)
        return
    columns = ["id", "status", "process", "area", "start_at", "end_at", "url", "error"]
    print_table(columns, [[str(task[column] or "") for column in columns] for task in rows], right=["process"])


@commands.command("show")
def show(
    task_id: str,
    account: AccountName = None,
    data: Data = DATA,
    config: File = None,
    as_json: Json = False,
) -> None:
    """Show one task, how warm each edge node is, how long its first keyframe took cold and warm, and the history."""
    from penstock.app import clock
    from penstock.tasks.preloads import show_preload

    view, events = with_account(
        settings(data, config),
        account,
        lambda store, live, owner: show_preload(store, live, clock(), account_id=owner, task_id=task_id),
    )
    task, edges, history = row(view), list(map(edge_row, view.warmth.holds)), list(map(event_row, events))
    if as_json:
        print_json({**task, "edges": edges, "events": history})
        return
    print_lines([(name, "" if value is None else value) for name, value in task.items()])
    typer.echo()
    numbers = ["cold_ms", "warm_ms", "attempts", "reconnects", "bytes"]
    columns = ["edge", "protocol", "area", "state", "since", *numbers, "error"]
    print_table(
        columns, [["-" if edge[name] is None else str(edge[name]) for name in columns] for edge in edges], right=numbers
    )
    typer.echo()
    print_table(["at", "event", "text", "by"], [list(event.values()) for event in history])


def row(view: "PreloadView") -> "dict[str, object]":
    """A task for people and scripts; secrets masked."""
    from penstock.log import mask_url

    task = view.task
    return {
        "id": task.id,
        "status": view.warmth.phase.value,
        "process": f"{view.warmth.process}%",
        "domain": task.domain,
        "area": view.spec.area.value,
        "url": mask_url(view.spec.play_url),
        "start_at": iso(task.start_at),
        "end_at": iso(task.end_at) if task.end_at is not None else None,
        "error": view.warmth.error,
        "owner": task.owner,
        "epoch": task.epoch,
    }


def edge_row(hold: "HoldStatus") -> "dict[str, object]":
    """How warm one edge node is. Times to the first keyframe in ms, None: not measured."""
    return {
        "edge": hold.edge,
        "protocol": hold.id.rpartition("/")[2],
        "area": hold.area,
        "state": hold.state,
        "since": iso(hold.since),
        "cold_ms": hold.cold_ms,
        "warm_ms": hold.warm_ms,
        "attempts": hold.attempts,
        "reconnects": hold.reconnects,
        "bytes": hold.bytes,
        "error": hold.error,
    }
