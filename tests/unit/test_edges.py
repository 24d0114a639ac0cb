"""Whom edge nodes serve."""

import pytest

from penstock.tasks.edges import KnownEdges
from penstock.tasks.model import Area, Edge

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
