"""`penstock backup`, `restore` and `doctor`: what an operator does about DATA and the machine."""

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


def doctor(data: Data = DATA, config: File = None, as_json: Json = False) -> None:
    """Look whether all is well: settings, DATA, ports, clock, limits, programs. Ends with 1 if something is not.

    It changes nothing, and may be asked while a server runs.
    """
    from penstock import app

    found = []
    for finding in app.doctor(settings(data, config)):
        found.append(finding)
        if not as_json:
            typer.echo(f"{finding.level:4}  {finding.name:13}  {finding.text}")
            if finding.advice:
                typer.echo(f"{'':19}  -> {finding.advice}")
    if as_json:
        print_json([finding._asdict() for finding in found])
    if any(finding.level == "fail" for finding in found):
        raise typer.Exit(1)


def _tell(file: Path, schema: str, contents: Sequence[str], as_json: bool) -> None:
    size = file.stat().st_size
    if as_json:
        print_json({"file": str(file), "bytes": size, "schema": schema, "contents": list(contents)})
    else:
        typer.echo(f"{file}: {size} bytes, schema {schema}: {', '.join(contents)}")
