"""`penstock stream`: what the hub carries, as it is now."""

# ruff: noqa: PLC0415 - heavy parts are loaded when they are needed, so that every command is quick

from typing import TYPE_CHECKING, Annotated

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
    with_live,
)
from penstock.cli.rows import iso, span

if TYPE_CHECKING:
    from collections.abc import Mapping

    from penstock.tasks.model import PlayerInfo
    from penstock.tasks.streams import StreamView

commands = typer.Typer(help="The hub's streams, as they are now.", no_args_is_help=True)


@commands.command("list")
def list_all(account: AccountName = None, data: Data = DATA, config: File = None, as_json: Json = False) -> None:
    """List the streams that are published to the hub, of all accounts or of one."""
    from penstock.app import clock
    from penstock.tasks.streams import list_streams

    views = with_live(settings(data, config), lambda store, live: list_streams(store, live, account))
    rows = [row(view, clock()) for view in views]
    if as_json:
        print_json(rows)
        return
    numbers = ["bitrate", "bytes", "uptime", "players", "dropped"]
    columns = ["stream", "account", "publisher", "codecs", *numbers]
    print_table(columns, [[cell(stream, column) for column in columns] for stream in rows], right=numbers)


@commands.command("show")
def show(
    name: Annotated[str, typer.Argument(metavar="APP/STREAM")],
    account: AccountName = None,
    data: Data = DATA,
    config: File = None,
    as_json: Json = False,
) -> None:
    """Show one stream and who plays it."""
    from penstock.app import clock
    from penstock.tasks.streams import show_stream

    view = with_live(settings(data, config), lambda store, live: show_stream(store, live, name, account))
    stream = row(view, clock())
    if as_json:
        print_json(stream)
        return
    shown = ["stream", "account", "publisher", "codecs", "media time", "bitrate", "bytes", "uptime", "dropped"]
    print_lines([(column, cell(stream, column)) for column in shown])
    typer.echo()
    numbers = ["bitrate", "bytes", "uptime", "dropped"]
    columns = ["player", "protocol", *numbers]
    players = [player_row(player, clock()) for player in view.info.players]
    print_table(columns, [[cell(player, column) for column in columns] for player in players], right=numbers)


def row(view: "StreamView", now: int) -> "dict[str, object]":
    """A stream for people and scripts: times in ISO 8601 or in the unit that the name says, rates in bit/s."""
    info = view.info
    return {
        "stream": view.name,
        "account": view.account,
        "task": view.task_id,
        "publisher": info.client,
        "since": iso(info.since),
        "uptime_s": max(0, now - info.since) // 1000,
        "bytes": info.bytes,
        "bitrate": info.bitrate,
        "media_ms": info.media_ms,
        "video": info.video,
        "audio": info.audio,
        "keyframes": info.keyframes,
        "video_codec": info.video_codec,
        "audio_codec": info.audio_codec,
        "dropped": info.dropped,
        "players": [player_row(player, now) for player in info.players],
    }


def player_row(player: "PlayerInfo", now: int) -> "dict[str, object]":
    """A player for people and scripts, as `row`."""
    return {
        "player": player.client,
        "protocol": player.protocol,
        "since": iso(player.since),
        "uptime_s": max(0, now - player.since) // 1000,
        "bytes": player.bytes,
        "bitrate": player.bitrate,
        "dropped": player.dropped,
    }


def cell(row: "Mapping[str, object]", column: str) -> str:
    """One value of a `row` or `player_row` in a person's words."""
    value = row.get(column)
    match column:
        case "publisher":
            return f"task {row['task']}" if row["task"] else str(value)
        case "codecs":
            return " ".join(str(row[codec]) for codec in ("video_codec", "audio_codec") if row[codec])
        case "players" if isinstance(value, list):
            return str(len(value))
        case "media time":
            return span(int(str(row["media_ms"])) // 1000)
        case "uptime":
            return span(int(str(row["uptime_s"])))
        case "bitrate":
            return f"{int(str(value)) / 1e6:.2f} Mbit/s" if value else "-"
        case "bytes":
            return f"{int(str(value)) / 1e6:.1f} MB"
    return "" if value is None else str(value)
