"""`penstock backup` and `penstock restore`: what an operator does to DATA."""

# ruff: noqa: PLC0415 - heavy parts are loaded when they are needed, so that every command is quick

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from penstock.cli.common import DATA, Data, File, Json, print_json, settings


def backup(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Replaced, if it is there, when the new one is whole.")],
    data: Data = DATA,
    config: File = None,
    as_json: Json = False,
) -> None:
    """Write all that a server needs to go on elsewhere into one tar file, while it runs or not.

    It holds the database and the key of its secrets: keep it as safe as the server.
    """
    from penstock import app

    _tell(file, *app.back_up(settings(data, config), file), as_json)
    if not as_json:
        typer.echo("Whoever has this file has the secrets: keep it as safe as the server.")


def restore(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="What `penstock backup` wrote.")],
    data: Data = DATA,
    config: File = None,
    as_json: Json = False,
) -> None:
    """Put a backup into DATA, where nothing is that it could overwrite. Then `penstock serve` runs every enabled task.

    The server that it was taken from must not run any more, or both push the same streams.
    """
    from penstock import app

    _tell(file, *app.restore(settings(data, config), file), as_json)


def _tell(file: Path, schema: str, contents: Sequence[str], as_json: bool) -> None:
    size = file.stat().st_size
    if as_json:
        print_json({"file": str(file), "bytes": size, "schema": schema, "contents": list(contents)})
    else:
        typer.echo(f"{file}: {size} bytes, schema {schema}: {', '.join(contents)}")
