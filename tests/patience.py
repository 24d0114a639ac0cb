"""How long tests wait for what must come, and for what must go."""

import asyncio

#: Seconds. It is no promise, costs nothing where all is well, and is long enough for the slowest machine.
PATIENCE = 60


async def settled() -> None:
    """Let the loop begin with what it has accepted, and end with what was closed, before it is closed itself.

    A connection that is accepted in its last moment would stay open, and be found by the garbage collector.
    """
    for _ in range(5):
        await asyncio.sleep(0)


async def hung_up() -> None:
    """Break off every connection of this loop, which nobody else uses and which is closed next."""
    await settled()
    for transport in list(asyncio.get_running_loop()._transports.values()):  # type: ignore[attr-defined]
        transport.abort()
    await settled()
