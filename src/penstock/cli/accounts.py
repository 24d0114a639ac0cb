"""`penstock account`: accounts and their keys."""

# ruff: noqa: PLC0415 - heavy parts are loaded when they are needed, so that every command is quick

from collections.abc import Callable, Coroutine
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from penstock.cli.common import DATA, Data, File, Json, print_json, print_lines, print_table, settings, with_store
from penstock.tasks.model import ServiceName, ServiceState

if TYPE_CHECKING:
    from pathlib import Path

    from penstock.tasks.accounts import AccountView
    from penstock.tasks.ports import Store

commands = typer.Typer(help="Accounts: their keys, the services they may use, their limits.", no_args_is_help=True)


class Limit(StrEnum):
    """What an account has a limit of."""

    TASKS = "tasks"


SdkAppIds = Annotated[
    list[int] | None, typer.Option("--sdk-app-id", metavar="N", help="An SdkAppId of the account; may be repeated.")
]


@commands.command("create")
def create(
    name: str, sdk_app_ids: SdkAppIds = None, data: Data = DATA, config: File = None, as_json: Json = False
) -> None:
    """Make an account, and print its keys. The secrets are shown this once."""
    from msgspec import to_builtins

    from penstock.tasks.accounts import create_account

    found = settings(data, config)
    limit = found.live.task_limit
    made = with_store(
        found,
        lambda store: create_account(store, name, sdk_app_ids=sdk_app_ids or (), task_limit=limit),
        migrate=True,
    )
    if as_json:
        print_json(to_builtins(made))
        return
    rows = [
        ("name", made.name),
        ("app id", made.app_id),
        ("secret id", made.secret_id),
        ("secret key", made.secret_key),
    ]
    print_lines([*rows, *(("sdk app", f"{made_app.sdk_app_id} {made_app.secret_key}") for made_app in made.sdk_apps)])


@commands.command("list")
def list_all(data: Data = DATA, config: File = None, as_json: Json = False) -> None:
    """List the accounts."""
    from msgspec import to_builtins

    from penstock.tasks.accounts import list_accounts

    views = with_store(settings(data, config), list_accounts)
    if as_json:
        print_json(to_builtins(views))
        return
    print_table(
        ["name", "app id", "task limit", "secret id", "sdk apps"],
        [
            [
                view.name,
                str(view.app_id),
                str(view.task_limit),
                " ".join(key.secret_id for key in view.keys),
                " ".join(map(str, view.sdk_apps)),
            ]
            for view in views
        ],
        right=["app id", "task limit"],
    )


@commands.command("show")
def show(
    name: Annotated[str | None, typer.Argument(help="Needed if there are several.", show_default=False)] = None,
    data: Data = DATA,
    config: File = None,
    as_json: Json = False,
) -> None:
    """Show one account, without its secrets."""
    from penstock.tasks.accounts import show_account

    _change(lambda store: show_account(store, name), data, config, as_json)


@commands.command("rotate")
def rotate(name: str, data: Data = DATA, config: File = None, as_json: Json = False) -> None:
    """Make a new key in place of the old one, which is refused from now on. The secret is shown this once."""
    from msgspec import to_builtins

    from penstock.tasks.accounts import rotate_key

    made = with_store(settings(data, config), lambda store: rotate_key(store, name))
    if as_json:
        print_json(to_builtins(made))
        return
    rows: list[tuple[str, object]] = [("name", made.name), ("secret id", made.secret_id)]
    print_lines([*rows, ("secret key", made.secret_key), *([] if made.enabled else [("", "the account is disabled")])])


@commands.command("disable")
def disable(name: str, data: Data = DATA, config: File = None, as_json: Json = False) -> None:
    """Refuse all calls of an account. What runs goes on; `account service` stops it."""
    from penstock.tasks.accounts import enable_account

    _change(lambda store: enable_account(store, name, enabled=False), data, config, as_json)


@commands.command("enable")
def enable(name: str, data: Data = DATA, config: File = None, as_json: Json = False) -> None:
    """Accept the calls of an account again."""
    from penstock.tasks.accounts import enable_account

    _change(lambda store: enable_account(store, name, enabled=True), data, config, as_json)


@commands.command("service")
def service(
    name: str,
    service: ServiceName,
    state: ServiceState,
    data: Data = DATA,
    config: File = None,
    as_json: Json = False,
) -> None:
    """Say whether an account may use a service. While it is not active, its calls are refused and its tasks stop."""
    from penstock import app
    from penstock.tasks.accounts import set_service

    found = settings(data, config)

    async def work(store: "Store") -> "AccountView":
        view = await set_service(store, name, service, state, now=app.clock(), by="operator")
        await app.hint(found)
        return view

    _change(work, data, config, as_json)


@commands.command("limit")
def limit(
    name: str,
    _what: Annotated[Limit, typer.Argument(metavar="tasks")],
    number: int,
    data: Data = DATA,
    config: File = None,
    as_json: Json = False,
) -> None:
    """Say how many live pull tasks an account may have (LimitTaskNum). Those that it has stay."""
    from penstock.tasks.accounts import set_task_limit

    _change(lambda store: set_task_limit(store, name, number), data, config, as_json)


@commands.command("callback-key")
def callback_key(
    name: str,
    renew: Annotated[bool, typer.Option("--renew", help="Make a new one in place of the old one.")] = False,
    data: Data = DATA,
    config: File = None,
    as_json: Json = False,
) -> None:
    """Print the key that signs an account's callbacks; it is made the first time."""
    from penstock.tasks import accounts

    key = with_store(settings(data, config), lambda store: accounts.callback_key(store, name, renew=renew))
    if as_json:
        print_json({"name": name, "callback_key": key})
        return
    typer.echo(key)


@commands.command("push-key")
def push_key(
    name: str,
    renew: Annotated[bool, typer.Option("--renew", help="Make a new one in place of the old one.")] = False,
    data: Data = DATA,
    config: File = None,
    as_json: Json = False,
) -> None:
    """Print the key with which an account's encoders sign (txSecret, txTime) what they publish to the hub.

    It is made the first time.
    """
    from penstock.tasks import accounts

    key = with_store(settings(data, config), lambda store: accounts.push_key(store, name, renew=renew))
    if as_json:
        print_json({"name": name, "push_key": key})
        return
    typer.echo(key)


def _change(
    work: "Callable[[Store], Coroutine[Any, Any, AccountView]]", data: "Path", config: "Path | None", as_json: bool
) -> None:
    """Print the account that `work` answers."""
    from msgspec import to_builtins

    view = with_store(settings(data, config), work)
    if as_json:
        print_json(to_builtins(view))
        return
    rows: list[tuple[str, object]] = [("name", view.name), ("app id", view.app_id), ("task limit", view.task_limit)]
    rows += [("secret id", key.secret_id + ("" if key.enabled else " (disabled)")) for key in view.keys]
    rows += [("service", f"{name} {state}") for name, state in view.services.items()]
    rows += [("sdk app", number) for number in view.sdk_apps]
    rows += [("domain", domain) for domain in view.domains]
    print_lines(rows)
