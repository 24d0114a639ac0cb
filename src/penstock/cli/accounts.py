"""`penstock account`: accounts and their keys."""

# ruff: noqa: PLC0415 - heavy parts are loaded when they are needed, so that every command is quick

from typing import Annotated

import typer

from penstock.cli.common import DATA, Data, File, Json, print_json, print_lines, print_table, settings, with_store

commands = typer.Typer(help="Accounts and their keys.", no_args_is_help=True)

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
    from msgspec import to_builtins

    from penstock.tasks.accounts import show_account

    view = with_store(settings(data, config), lambda store: show_account(store, name))
    if as_json:
        print_json(to_builtins(view))
        return
    rows = [("name", view.name), ("app id", view.app_id), ("task limit", view.task_limit)]
    keys = [("secret id", key.secret_id + ("" if key.enabled else " (disabled)")) for key in view.keys]
    print_lines([*rows, *keys, *(("sdk app", number) for number in view.sdk_apps)])
