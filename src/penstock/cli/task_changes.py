"""`penstock task restart`: what operators do to tasks as callers of the API do."""

# ruff: noqa: PLC0415 - heavy parts are loaded when they are needed, so that every command is quick

from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, TypeVar

import typer

from penstock.cli.common import DATA, AccountName, Data, File, Json, print_json, settings, with_store

if TYPE_CHECKING:
    from penstock.config import Config
    from penstock.tasks.ports import Store
    from penstock.tasks.service import PullTasks

T = TypeVar("T")

#: Who changed a task, as Describe and its history have it.
OPERATOR = "operator"


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
