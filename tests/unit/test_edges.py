"""Edge nodes: whom they serve, and how they come from the configuration file."""

import asyncio
import tomllib
from collections.abc import Sequence
from pathlib import Path

import pytest

from penstock.config import edge_tables
from penstock.errors import ConfigError, Conflict
from penstock.store.sql import SqlStore
from penstock.tasks.edges import KnownEdges
from penstock.tasks.model import Area, Edge, EdgeOrigin
from penstock.tasks.registry import add_edge, list_edges, remove_edge, take_edges
from tests.patience import PATIENCE

EDGES = [Edge(name="w", area=Area.GLOBAL), Edge(name="s", area=Area.OVERSEAS), Edge(name="n", area=Area.DOMESTIC)]


@pytest.mark.parametrize(
    ("area", "names"), [(Area.DOMESTIC, ["n", "w"]), (Area.OVERSEAS, ["s", "w"]), (Area.GLOBAL, ["n", "s", "w"])]
)
def test_area_has_its_own_and_the_global_edges(area: Area, names: list[str]) -> None:
    assert [edge.name for edge in KnownEdges(EDGES).of_area(area)] == names


def test_edges_are_those_that_were_put_last() -> None:
    edges = KnownEdges(EDGES)
    edges.put(EDGES[:1])

    assert edges.of_area(Area.GLOBAL) == EDGES[:1]


async def test_register_is_followed_and_changes_are_told(store: SqlStore) -> None:
    known, changed = KnownEdges(), asyncio.Event()
    following = asyncio.ensure_future(known.follow(store, changed.set))
    edge = Edge(name="e1", area=Area.DOMESTIC, rtmp="10.0.0.1:1935")
    await add_edge(store, edge)
    await asyncio.wait_for(changed.wait(), PATIENCE)
    assert known.of_area(Area.DOMESTIC) == [edge]
    changed.clear()
    await remove_edge(store, "e1")
    await asyncio.wait_for(changed.wait(), PATIENCE)
    assert known.of_area(Area.GLOBAL) == []
    following.cancel()


FILE = Path("/etc/penstock/penstock.toml")


async def taken(store: SqlStore, text: str) -> Sequence[Edge]:
    """The register after the configuration file was read that holds this."""
    await take_edges(store, FILE, tomllib.loads(text).get("edge", []))
    return await list_edges(store)


async def test_files_edges_have_the_commands_fields(store: SqlStore) -> None:
    text = """
        [[edge]]
        name = "n"
        area = "domestic"
        labels = { rack = "7" }
        rtmp = "10.0.0.1:1935"
        http = "10.0.0.1"
        https = "10.0.0.1:8443"
        host = "cdn.example.com"
        path = "/x/{stream}"
        query = "token=s3cret"
        concurrency = 5
    """
    assert await taken(store, text) == [
        Edge(
            name="n",
            area=Area.DOMESTIC,
            labels={"rack": "7"},
            rtmp="10.0.0.1:1935",
            http="10.0.0.1",
            https="10.0.0.1:8443",
            host="cdn.example.com",
            path="/x/{stream}",
            query="token=s3cret",
            concurrency=5,
            origin=EdgeOrigin.FILE,
        )
    ]


def written(name: str, more: str = 'rtmp = "10.0.0.1"') -> str:
    return f'[[edge]]\nname = "{name}"\narea = "global"\n{more}\n'


async def test_file_that_is_read_again_replaces_its_own_edges_alone(store: SqlStore) -> None:
    await add_edge(store, Edge(name="c", area=Area.GLOBAL, rtmp="10.0.0.9"))
    assert [edge.name for edge in await taken(store, written("a") + written("b"))] == ["a", "b", "c"]
    again = await taken(store, written("b", 'http = "10.0.0.2"'))
    assert [(edge.name, edge.http, edge.origin) for edge in again] == [("b", "10.0.0.2", "file"), ("c", "", "command")]
    assert [edge.name for edge in await taken(store, "")] == ["c"]


async def test_files_edge_is_not_removed_by_command(store: SqlStore) -> None:
    await taken(store, written("a"))
    with pytest.raises(Conflict, match="The edge 'a' is in the configuration file: take it out there, then restart"):
        await remove_edge(store, "a")
    assert [edge.name for edge in await list_edges(store)] == ["a"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (written("a b"), "edge 'a b' (from {}): name: An edge's name is"),
        (written("a") + written("a"), "edge 'a' (from {}): name: Another edge of the file has this name."),
        (written("c"), "edge 'c' (from {}): name: is registered by command, too"),
        (written("b", ""), "edge 'b' (from {}): rtmp: An edge serves RTMP (rtmp), HTTP (http), HTTPS"),
        (written("b", 'http = "h:x"'), "edge 'b' (from {}): http: 'h:x' cannot be used"),
        (written("b", "rtmp = 1935"), "edge 'b' (from {}): rtmp: Expected `str`, got `int`."),
        (written("b", 'concurrency = "many"'), "edge 'b' (from {}): concurrency: Expected `int`, got `str`."),
        (written("b", "labels = { rack = 7 }"), "edge 'b' (from {}): labels: Expected `str`, got `int`"),
        (written("b", 'rmtp = "h"'), "edge 'b' (from {}): rmtp: An edge has no such field, but area, concurrency,"),
        (written("b", 'origin = "command"'), "edge 'b' (from {}): origin: An edge has no such field"),
        ('[[edge]]\nname = "b"\n', "edge 'b' (from {}): area: It is missing."),
        ('[[edge]]\nname = "b"\narea = "moon"', "edge 'b' (from {}): area: Invalid enum value 'moon'."),
        ('[[edge]]\narea = "global"\n', "edge 2 (from {}): name: It is missing."),
    ],
)
async def test_file_with_an_edge_that_cannot_be_used_changes_nothing(store: SqlStore, text: str, words: str) -> None:
    await taken(store, written("a"))
    await add_edge(store, Edge(name="c", area=Area.GLOBAL, rtmp="10.0.0.9"))
    before = await list_edges(store)
    with pytest.raises(ConfigError) as refused:
        await taken(store, written("z") + text)
    assert refused.value.message.startswith(words.format(FILE))
    assert await list_edges(store) == before


@pytest.mark.parametrize("text", ["edge = 1", "[edge]\nname = 'a'", "edge = ['a']"])
def test_edges_of_the_file_are_tables(tmp_path: Path, text: str) -> None:
    (tmp_path / "penstock.toml").write_text(text)
    with pytest.raises(ConfigError, match=r"penstock\.toml\): each edge node is a table \[\[edge\]\]"):
        edge_tables(tmp_path)
