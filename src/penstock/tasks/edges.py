"""The operator's edge nodes, and whom each serves."""

import asyncio
from collections.abc import Callable, Iterable, Sequence

import structlog

from penstock.errors import StoreError
from penstock.tasks.model import Area, Edge
from penstock.tasks.ports import Store

log = structlog.get_logger()

#: Seconds between two looks at the register.
REFRESH = 1.0


class KnownEdges:
    """Edge nodes in memory, as they were last `put`; see `penstock.tasks.ports.Edges`."""

    def __init__(self, edges: Iterable[Edge] = ()) -> None:
        self.put(edges)

    def put(self, edges: Iterable[Edge]) -> None:
        """These are all there are now."""
        self._edges = sorted(edges, key=lambda edge: edge.name)

    async def read(self, store: Store) -> bool:
        """Take what is registered now; say whether that is something else. Raise `StoreError`."""
        before = self._edges
        self.put(await store.read(lambda tx: tx.edges()))
        return self._edges != before

    async def follow(self, store: Store, changed: Callable[[], None] = lambda: None) -> None:
        """Stay up to date until cancelled; `changed` is called when there is something new."""
        failed = False
        while True:
            try:
                if await self.read(store):
                    changed()
            except StoreError as error:
                if not failed:
                    log.warning("the edges cannot be read; those of before are good", error=error.message)
                failed = True
            else:
                failed = False
            await asyncio.sleep(REFRESH)

    def of_area(self, area: Area) -> Sequence[Edge]:
        """Those of the area and the global ones, by name; `Area.GLOBAL`: all."""
        return [edge for edge in self._edges if area is Area.GLOBAL or edge.area in (area, Area.GLOBAL)]
