"""`penstock domain` and `penstock usersig`: what is told apart by account but is no account."""

# ruff: noqa: PLC0415 - heavy parts are loaded when they are needed, so that every command is quick

from typing import Annotated

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
    with_store,
)
from penstock.tasks.model import Area

commands = typer.Typer(help="Domains and whose they are.", no_args_is_help=True)


@commands.command("add")
def add(
    domain: str,
    account: AccountName = None,
    area: Annotated[Area, typer.Option(help="Where its audience is, when a call does not say.")] = Area.GLOBAL,
    data: Data = DATA,
    config: File = None,
    as_json: Json = False,
) -> None:
    """Let a domain belong to an account; no other account may push to it."""
    from msgspec import to_builtins

    from penstock.tasks.accounts import add_domain

    added = with_store(settings(data, config), lambda store: add_domain(store, domain, account, area=area))
    if as_json:
        print_json(to_builtins(added))
        return
    print_lines([("domain", added.domain), ("account", added.account), ("area", added.area)])


@commands.command("list")
def list_all(account: AccountName = None, data: Data = DATA, config: File = None, as_json: Json = False) -> None:
    """List the domains of all accounts, or of one."""
    from msgspec import to_builtins

    from penstock.tasks.accounts import list_domains

    views = with_store(settings(data, config), lambda store: list_domains(store, account))
    if as_json:
        print_json(to_builtins(views))
        return
    print_table(["domain", "account", "area"], [[view.domain, view.account, view.area] for view in views])


def usersig(
    sdk_app_id: Annotated[int, typer.Argument(metavar="SDK_APP_ID")],
    user_id: Annotated[str, typer.Argument(metavar="USER_ID")],
    expire: Annotated[int, typer.Option(metavar="S", help="For how many seconds it is good.")] = 180 * 86_400,
    data: Data = DATA,
    config: File = None,
    as_json: Json = False,
) -> None:
    """Print a UserSig: the ticket with which a user enters the rooms and boards of an application."""
    from msgspec import to_builtins

    from penstock.app import clock
    from penstock.tasks.accounts import make_usersig

    at = clock() // 1000
    made = with_store(
        settings(data, config), lambda store: make_usersig(store, sdk_app_id, user_id, at=at, expire=expire)
    )
    if as_json:
        print_json(to_builtins(made))
        return
    typer.echo(made.user_sig)
