"""Leaves for the tests of the supervisor, and a node that tells when it tried."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Self

from penstock.errors import SinkError
from penstock.media.supervisor import Supervisor

Leaf = Callable[[Supervisor], Awaitable[None]]


class Latest(random.Random):
    """Draws the greatest value that is allowed, so that a delay shows its bound."""

    def uniform(self, a: float, b: float) -> float:
        return b


class Wire:
    """As much of a connection as a supervisor sees."""

    def __init__(self) -> None:
        self.sent = self.received = 0
        self.reasons: list[str | None] = []

    def close(self, reason: str | None) -> None:
        self.reasons.append(reason)


class Node:
    """A supervisor, when it tried, and what it told."""

    def __init__(self, leaf: Leaf, *, side: str = "sink", rng: random.Random | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        self._begun = self._loop.time()
        self.tries: list[float] = []
        self.events: list[tuple[str, str]] = []

        async def run(supervisor: Supervisor) -> None:
            self.tries.append(self.now)
            await leaf(supervisor)

        self.supervisor = Supervisor(
            side,
            side,
            "rtmp://host/app/key",
            run,
            rng=rng or Latest(),
            on_event=lambda name, text: self.events.append((name, text)),
        )
        self.supervisor.want(True)

    @property
    def now(self) -> float:
        """Seconds since it began."""
        return round(self._loop.time() - self._begun, 3)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.supervisor.close()


async def refused(_: Supervisor) -> None:
    """A leaf that never connects."""
    raise SinkError("connection refused")


async def flow(supervisor: Supervisor, seconds: float = 3600) -> None:
    """A leaf whose media flows for some time."""
    supervisor.connected(Wire())
    supervisor.progressed()
    await asyncio.sleep(seconds)
    raise SinkError("closed by the peer")
