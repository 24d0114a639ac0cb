"""The commands by name."""

from importlib.metadata import version
from typing import Annotated

import typer

from penstock.cli import accounts, domains, edges, operations, parts, preloads, streams, task_changes, tasks, watching

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode=None)


def show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"penstock {version('penstock')}")
        raise typer.Exit


@app.callback()
def penstock(
    _version: Annotated[
        bool, typer.Option("--version", callback=show_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Penstock, a self-hosted server for live-stream tasks."""


app.command()(parts.serve)
app.command()(parts.api)
app.command()(parts.hub)
app.command()(parts.worker)
app.command("config")(parts.show_config)
app.add_typer(accounts.commands, name="account")
app.add_typer(domains.commands, name="domain")
app.add_typer(edges.commands, name="edge")
app.command("usersig")(domains.usersig)
tasks.commands.command("create")(task_changes.create)
tasks.commands.command("restart")(task_changes.restart)
tasks.commands.command("watch")(watching.watch)
app.add_typer(tasks.commands, name="task")
app.add_typer(preloads.commands, name="preload")
app.add_typer(streams.commands, name="stream")
app.command()(operations.backup)
app.command()(operations.restore)
app.command()(operations.doctor)
