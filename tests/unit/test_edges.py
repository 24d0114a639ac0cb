"""Whom edge nodes serve."""

import asyncio

import pytest

from penstock.store.sql import SqlStore
from penstock.tasks.edges import KnownEdges
from penstock.tasks.model import Area, Edge
from penstock.tasks.registry import add_edge, remove_edge

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
    await asyncio.wait_for(changed.wait(), 10)
    assert known.of_area(Area.DOMESTIC) == [edge]
    changed.clear()
    await remove_edge(store, "e1")
    await asyncio.wait_for(changed.wait(), 10)
    assert known.of_area(Area.GLOBAL) == []
    following.cancel()
