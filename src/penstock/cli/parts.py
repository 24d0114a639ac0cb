"""The commands that run Penstock or its parts, and the one that prints the settings."""

# ruff: noqa: PLC0415 - heavy parts are loaded when they are needed, so that every command is quick

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from penstock.cli.common import DATA, Data, File, Json, print_json, print_table, settings

if TYPE_CHECKING:
    from penstock.config import Config

Http = Annotated[str | None, typer.Option(metavar="HOST:PORT", help="Where the APIs are served.")]
Https = Annotated[str | None, typer.Option(metavar="HOST:PORT", help="Where the APIs are served over HTTPS.")]
Media = Annotated[str | None, typer.Option(metavar="HOST:PORT", help="Where the hub serves HTTP.")]
Rtmp = Annotated[str | None, typer.Option(metavar="HOST:PORT", help="Where the hub serves RTMP.")]
Srt = Annotated[str | None, typer.Option(metavar="HOST:PORT", help="Where the hub serves SRT.")]
Workers = Annotated[str | None, typer.Option(metavar="N", help="How many worker processes.")]
ReadyFile = Annotated[Path | None, typer.Option(metavar="PATH", help="Written, as JSON, once requests are answered.")]


def serve(
    data: Data = DATA,
    config: File = None,
    http: Http = None,
    https: Https = None,
    media: Media = None,
    rtmp: Rtmp = None,
    srt: Srt = None,
    workers: Workers = None,
    ready_file: ReadyFile = None,
) -> None:
    """Run everything on this machine. Port 0 lets the system choose."""
    flags = {"http": http, "https": https, "media": media, "rtmp": rtmp, "srt": srt, "workers": workers}
    found = _settings("parent", data, config, {f"server.{key}": value for key, value in flags.items()})
    from penstock import app

    app.serve(found, ready_file)


def api(
    data: Data = DATA,
    config: File = None,
    http: Http = None,
    https: Https = None,
    media: Media = None,
    rtmp: Rtmp = None,
) -> None:
    """Run the APIs alone. --rtmp and --media say where the hub is."""
    flags = {"server.http": http, "server.https": https, "server.media": media, "server.rtmp": rtmp}
    found = _settings("api", data, config, flags)
    from penstock.app import parts

    parts.run_api(found)


def hub(data: Data = DATA, config: File = None, media: Media = None, rtmp: Rtmp = None) -> None:
    """Run the public media ports alone."""
    found = _settings("hub", data, config, {"server.media": media, "server.rtmp": rtmp})
    from penstock.app import parts

    parts.run_hub(found)


def worker(data: Data = DATA, config: File = None, media: Media = None, rtmp: Rtmp = None) -> None:
    """Run one more worker. --rtmp and --media say where the hub is."""
    found = _settings("worker", data, config, {"server.media": media, "server.rtmp": rtmp})
    from penstock.app import parts

    parts.run_worker(found)


def _settings(process: str, data: Path, file: Path | None, flags: Mapping[str, str | None]) -> "Config":
    """The settings of a process that logs."""
    from penstock import log

    found = settings(data, file, flags)
    log.setup(level=found.log.level, style=found.log.format, process=process)
    return found


def show_config(data: Data = DATA, config: File = None, as_json: Json = False) -> None:
    """Print every setting: its value, where the value comes from, and what it means."""
    rows = settings(data, config).rows
    if as_json:
        print_json(
            [{"name": row.name, "value": row.value, "source": row.source, "meaning": row.meaning} for row in rows]
        )
        return
    print_table(
        ["setting", "value", "source", "meaning"],
        [
            [row.name, row.value, row.source, row.meaning + ("" if row.served else " (not followed yet)")]
            for row in rows
        ],
    )
