"""The operator's edge nodes, and whom each serves."""

from collections.abc import Iterable, Sequence

from penstock.tasks.model import Area, Edge


class KnownEdges:
    """Edge nodes in memory, as they were last `put`; see `penstock.tasks.ports.Edges`."""

    def __init__(self, edges: Iterable[Edge] = ()) -> None:
        self.put(edges)

    def put(self, edges: Iterable[Edge]) -> None:
        """These are all there are now."""
        self._edges = sorted(edges, key=lambda edge: edge.name)

    def of_area(self, area: Area) -> Sequence[Edge]:
        """Those of the area and the global ones, by name; `Area.GLOBAL`: all."""
        return [edge for edge in self._edges if area is Area.GLOBAL or edge.area in (area, Area.GLOBAL)]
