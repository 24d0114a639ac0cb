"""`penstock edge`: the operator's edge nodes, which preloads keep warm."""

# ruff: noqa: PLC0415 - heavy parts are loaded when they are needed, so that every command is quick

from typing import Annotated

import typer

from penstock.cli.common import DATA, Data, File, Json, print_json, print_lines, print_table, settings, with_store
from penstock.tasks.model import Area, Edge

commands = typer.Typer(help="Edge nodes that streams are held warm on.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(metavar="NAME")]


@commands.command("add")
def add(
    name: Name,
    area: Annotated[Area, typer.Option(help="Whom it serves; global: everybody.")],
    rtmp: Annotated[str, typer.Option(metavar="HOST:PORT", help="Where it serves RTMP.")] = "",
    http: Annotated[str, typer.Option(metavar="HOST:PORT", help="Where it serves FLV and HLS over HTTP.")] = "",
    https: Annotated[str, typer.Option(metavar="HOST:PORT", help="Where it serves them over HTTPS.")] = "",
    host: Annotated[str, typer.Option(metavar="HOST", help="What viewers call it; else the play URL's host.")] = "",
    path: Annotated[
        str, typer.Option(help="What viewers ask for, made of {path} (the play URL's), {app} and {stream}.")
    ] = "{path}",
    query: Annotated[str, typer.Option(metavar="KEY=VALUE", help="Added to the play URL's query.")] = "",
    concurrency: Annotated[int, typer.Option(metavar="N", help="Streams a worker may hold there; 0: no limit.")] = 0,
    label: Annotated[list[str] | None, typer.Option(metavar="KEY=VALUE", help="For people; may be repeated.")] = None,
    data: Data = DATA,
    config: File = None,
    as_json: Json = False,
) -> None:
    """Register an edge node. Its addresses are the operator's choice: no network policy is asked about them."""
    from penstock.tasks.registry import add_edge, read_labels

    edge = Edge(
        name=name,
        area=area,
        labels=read_labels(label or []),
        rtmp=rtmp,
        http=http,
        https=https,
        host=host,
        path=path,
        query=query,
        concurrency=concurrency,
    )
    with_store(settings(data, config), lambda store: add_edge(store, edge))
    if as_json:
        print_json(_shown(edge))
        return
    print_lines([(key, value) for key, value in _shown(edge).items() if value])


@commands.command("list")
def list_all(data: Data = DATA, config: File = None, as_json: Json = False) -> None:
    """List the edge nodes. What their queries hold is not shown."""
    from penstock.tasks.registry import list_edges

    edges = with_store(settings(data, config), list_edges)
    if as_json:
        print_json([_shown(edge) for edge in edges])
        return
    columns = ["name", "area", "rtmp", "http", "https", "host", "path", "concurrency", "labels", "origin"]
    print_table(columns, [[str(_shown(edge)[column] or "") for column in columns] for edge in edges])


@commands.command("test")
def watch(
    name: Name,
    play_url: Annotated[str, typer.Argument(metavar="PLAY_URL", help="The stream, as viewers are given it.")],
    data: Data = DATA,
    config: File = None,
    as_json: Json = False,
) -> None:
    """Watch a stream on an edge node until its first keyframe, as a preload would, and say how long that takes."""
    from penstock.app import watch_once
    from penstock.tasks.registry import find_edge

    found = settings(data, config)
    edge = with_store(found, lambda store: find_edge(store, name))
    took = watch_once(found, edge, play_url)
    if as_json:
        print_json({"edge": edge.name, "first_keyframe_ms": took})
        return
    typer.echo(f"{edge.name}: first keyframe after {took} ms")


@commands.command("remove")
def remove(name: Name, data: Data = DATA, config: File = None) -> None:
    """Take an edge node out that was registered by command."""
    from penstock.tasks.registry import remove_edge

    with_store(settings(data, config), lambda store: remove_edge(store, name))


def _shown(edge: Edge) -> dict[str, object]:
    """An edge for people and scripts, without its secrets."""
    labels = ", ".join(f"{key}={value}" for key, value in sorted(edge.labels.items()))
    return {
        "name": edge.name,
        "area": edge.area.value,
        "labels": labels,
        "rtmp": edge.rtmp,
        "http": edge.http,
        "https": edge.https,
        "host": edge.host,
        "path": edge.path,
        "query": "***" if edge.query else "",
        "concurrency": edge.concurrency,
        "origin": edge.origin.value,
    }
