"""`penstock task create` and `penstock task restart`: what callers of the API do to tasks, at the command line."""

# ruff: noqa: PLC0415 - heavy parts are loaded when they are needed, so that every command is quick

from collections.abc import Callable, Coroutine
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from penstock.cli.common import DATA, UNITS, AccountName, Data, File, Json, moment, print_json, settings, with_store

if TYPE_CHECKING:
    from penstock.config import Config
    from penstock.tasks.ports import Store
    from penstock.tasks.service import PullTasks

T = TypeVar("T")

#: Who changed a task, as Describe and its history have it.
OPERATOR = "operator"
#: How long a task runs where neither an end nor a limit is set.
LONGEST = 3650 * UNITS["d"]


class Refresh(StrEnum):
    """When other files are taken up: VodRefreshType."""

    NOW = "now"
    AFTER = "after"


_WHEN = "2026-01-31T10:00:00Z, or a span from now: 30s, 10m, 2h, 7d"


def create(
    sources: Annotated[list[str], typer.Argument(metavar="URL", help="A live source, or with --files 1 to 30 files.")],
    to: Annotated[str, typer.Option("--to", metavar="URL", help="Where to deliver to.")],
    files: Annotated[bool, typer.Option("--files", help="Play files, in this order, again and again.")] = False,
    loops: Annotated[int, typer.Option("--loops", min=-1, help="Rounds of the files; -1: without end.")] = -1,
    file_index: Annotated[
        int | None, typer.Option("--file-index", help="Begin with this file; the first is 1.")
    ] = None,
    offset: Annotated[int | None, typer.Option("--offset", help="… so many seconds into it.")] = None,
    refresh: Annotated[
        Refresh, typer.Option("--refresh", help="Take up other files at once, or after the current one.")
    ] = Refresh.NOW,
    local: Annotated[bool, typer.Option("--local", help="Play MP4 files from a copy on this machine.")] = False,
    backup: Annotated[str, typer.Option("--backup", metavar="URL", help="A live source that stands in.")] = "",
    backup_file: Annotated[
        str, typer.Option("--backup-file", metavar="URL", help="A file that stands in, in place of a live source.")
    ] = "",
    backup_to: Annotated[str, typer.Option("--backup-to", metavar="URL", help="A second destination.")] = "",
    start: Annotated[str, typer.Option("--start", metavar="TIME", help=f"When to begin: {_WHEN}.")] = "0s",
    end: Annotated[
        str | None,
        typer.Option("--end", metavar="TIME", help="When to end; else as late as live.max_task_days allows."),
    ] = None,
    comment: Annotated[str, typer.Option("--comment", help="For people.")] = "",
    task_id: Annotated[str, typer.Option("--id", metavar="ID", help="A TaskId of your own.")] = "",
    account: AccountName = None,
    data: Data = DATA,
    config: File = None,
    as_json: Json = False,
) -> None:
    """Create a task that pulls a live source, or plays files, and delivers it; print its TaskId."""
    from penstock.app import clock
    from penstock.tasks.families.pull import CONTINUE, FILES, LIVE, PullSpec
    from penstock.tasks.times import text

    if len(sources) > 1 and not files:
        raise typer.BadParameter("several URLs can only be files: add --files", param_hint="URL")
    if backup and backup_file:
        raise typer.BadParameter("either this or --backup: one source stands in", param_hint="--backup-file")
    found, now = settings(data, config), clock()
    longest = found.live.max_task_days * UNITS["d"] or LONGEST
    starts = moment(start, now, 1, "--start")
    spec = PullSpec(
        source_type=FILES if files else LIVE,
        source_urls=tuple(sources),
        to_url=to,
        start_time=text(starts),
        end_time=text(starts + longest if end is None else moment(end, now, 1, "--end")),
        vod_loop_times=loops,
        vod_refresh_type=CONTINUE if refresh is Refresh.AFTER else "",
        vod_local_mode=int(local),
        file_index=file_index,
        offset_time=offset,
        comment=comment,
        backup_source_type=FILES if backup_file else LIVE if backup else "",
        backup_source_url=backup_file or backup,
        backup_to_url=backup_to,
    )
    made = with_tasks(
        found,
        account,
        lambda tasks, owner: tasks.create(owner, spec, operator=OPERATOR, region="", specify_task_id=task_id),
    )
    if as_json:
        print_json({"id": made})
    else:
        typer.echo(made)


def restart(
    task_id: str, account: AccountName = None, data: Data = DATA, config: File = None, as_json: Json = False
) -> None:
    """Have a task begin anew: source and destination are closed, then connected again."""
    with_tasks(settings(data, config), account, lambda tasks, owner: tasks.restart(owner, task_id, operator=OPERATOR))
    if as_json:
        print_json({"id": task_id})
    else:
        typer.echo(f"Task {task_id} begins anew.")


def with_tasks(found: "Config", account: str | None, work: "Callable[[PullTasks, int], Coroutine[Any, Any, T]]") -> T:
    """What `work` answers of an account's pull tasks; workers are hinted of it."""
    from penstock import app
    from penstock.tasks.accounts import find_account

    async def change(store: "Store") -> T:
        owner = await store.read(lambda tx: find_account(tx, account))
        async with app.live_status(found) as sockets:
            return await work(app.pull_tasks(found, store, sockets), owner.id)

    return with_store(found, change)
