"""How viewers that hold streams warm come to the edges: gently, so that the warming is no stampede to the origin."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from weakref import WeakValueDictionary


class Ramp:
    """Lets at most `rate` viewers per second begin, and at most `pulls` of one origin be without a picture at once."""

    def __init__(self, *, rate: float, pulls: int) -> None:
        self._every = 1 / rate
        self._pulls = pulls
        self._loop = asyncio.get_running_loop()
        self._next = 0.0
        self._origins: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()

    @asynccontextmanager
    async def turn(self, origin: str) -> AsyncIterator[None]:
        """Wait for one's turn; the block lasts until the edge has fetched the stream, or could not."""
        queue = self._origins.get(origin)
        if queue is None:
            queue = self._origins[origin] = asyncio.Semaphore(self._pulls)
        async with queue:
            now = self._loop.time()
            self._next = max(self._next, now) + self._every
            await asyncio.sleep(self._next - self._every - now)
            yield


class Places:
    """How many streams may be held on each edge at once; of all edges together by the name ``""``."""

    def __init__(self) -> None:
        self._edges: WeakValueDictionary[tuple[str, int], asyncio.Semaphore] = WeakValueDictionary()

    @asynccontextmanager
    async def one(self, edge: str, limit: int) -> AsyncIterator[None]:
        """Take a place, once there is one; `limit` 0: there always is."""
        if not limit:
            yield
            return
        places = self._edges.get((edge, limit))
        if places is None:
            places = self._edges[edge, limit] = asyncio.Semaphore(limit)
        async with places:
            yield
