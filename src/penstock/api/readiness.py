"""Whether answers are truthful now, for ``/readyz``."""

import asyncio
from collections.abc import Callable

from penstock.errors import StoreError
from penstock.tasks.ports import Store

#: How long the database may take to answer, in seconds.
PATIENCE = 2.0


class Readiness:
    """Ready: the database can be read and written and has our tables, and all workers have told what they run.

    However many ask, the database is asked by one at a time.
    """

    def __init__(self, store: Store, *, synced: Callable[[], bool]) -> None:
        """`synced`: whether every worker that was there at the start has been heard."""
        self._store = store
        self._synced = synced
        self._probe: asyncio.Task[str] | None = None

    async def obstacle(self) -> str:
        """Why answers cannot be trusted; empty: they can."""
        if not self._synced():
            return "the workers have not reported yet"
        if self._probe is None or self._probe.done():
            self._probe = asyncio.create_task(self._ask())
        try:
            async with asyncio.timeout(PATIENCE):
                return await asyncio.shield(self._probe)
        except TimeoutError:
            return f"the database does not answer within {PATIENCE:g} s"

    async def _ask(self) -> str:
        try:
            await self._store.probe()
        except StoreError as error:
            return error.message
        return ""
