"""Relays under the engine: real sockets on loopback to peers with a codec of their own, in virtual time.

Tests that use it are marked with `looptime`.
"""

import asyncio
import ipaddress
import random
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

from penstock.app import transports, viewers
from penstock.media.plan import Plan, Sink, Source
from penstock.media.pump import Pump
from penstock.media.silence import SILENT_AAC
from penstock.media.still import Stills
from penstock.net import Policy
from penstock.tasks.model import Observed, State
from penstock.worker.engine import Engine, EngineConfig
from tests import rtmp_peer
from tests.packets import Clip
from tests.patience import PATIENCE
from tests.rtmp_peer import Arrival, Connection, Origin
from tests.rtmp_wire import VIDEO, Message

KEY = 7
HOLD = 30.0
NOW = 1_790_000_000_000
MEDIA = Clip(seconds=120).messages()
#: Pictures so big (20 Mbit/s) that they fill a socket within seconds.
BIG = [replace(m, payload=m.payload.ljust(100_000)) if m.type == VIDEO and m.payload[1] else m for m in MEDIA[:4000]]


class Stage:
    """An engine that may reach loopback, and peers for it."""

    def __init__(self, resources: AsyncExitStack, stills: Stills | None, **config: Any) -> None:
        self._resources = resources
        self._loop = asyncio.get_running_loop()
        self._begun = self._loop.time()
        self.events: list[tuple[int, str, str]] = []
        pump, policy, rng = Pump(tick=0.04), Policy([ipaddress.ip_network("127.0.0.0/8")]), random.Random(1)
        self.engine = Engine(
            EngineConfig(sink_hold=HOLD, **config),
            pump,
            transports(policy, pump),
            viewers(policy, rng=rng),
            stills=stills,
            clock=lambda: NOW + round((self._loop.time() - self._begun) * 1000),
            rng=rng,
            on_event=lambda *event: self.events.append(event),
        )

    async def origin(self, media: Path | Sequence[Message] = MEDIA, start: int = 0) -> Origin:
        """A source."""
        return await self._resources.enter_async_context(Origin(media, start=start))

    async def sink(self) -> rtmp_peer.Sink:
        """A destination."""
        return await self._resources.enter_async_context(rtmp_peer.Sink())

    @property
    def seen(self) -> Observed:
        """What the engine says of the task."""
        observed = self.engine.observed(KEY)
        assert observed is not None
        return observed

    async def until(self, condition: Callable[[], object], timeout: float = PATIENCE) -> None:
        """Wait until something is true."""
        async with asyncio.timeout(timeout):
            while not condition():
                await asyncio.sleep(0.05)

    async def until_active(self) -> None:
        """Wait until the task delivers."""
        await self.until(lambda: self.seen.state is State.ACTIVE)

    def has_flowed(self, times: int) -> bool:
        """Whether the source's media has begun so many times."""
        return self.names().count("source.flowing") == times

    def names(self, side: str = "") -> list[str]:
        """The names of the events."""
        return [name for _, name, _ in self.events if name.startswith(side)]


@asynccontextmanager
async def staged(stills: Stills | None = None, **config: Any) -> AsyncIterator[Stage]:
    """An engine that runs. No fixture: those run outside the virtual time."""
    async with AsyncExitStack() as resources:
        stage = Stage(resources, stills, **config)
        await stage.engine.start()
        yield stage
        await stage.engine.close()


def plan(
    source: Origin | str, *sinks: rtmp_peer.Sink | str, backup: Origin | str | None = None, generation: int = 0
) -> Plan:
    """From a source, or its backup, to sinks."""
    urls = [sink if isinstance(sink, str) else sink.url for sink in sinks]
    sources = {"source": source} if backup is None else {"source": source, "backup": backup}
    return Plan(
        sources=tuple(Source(id=id_, url=url if isinstance(url, str) else url.url) for id_, url in sources.items()),
        sinks=tuple(Sink(id=id_, url=url) for id_, url in zip(("sink", "sink.backup"), urls, strict=False)),
        generation=generation,
    )


def rises(messages: Iterable[Arrival]) -> bool:
    """Whether each time is greater than the one before."""
    return all(sooner.timestamp < later.timestamp for sooner, later in pairwise(messages))


def in_order(connection: Connection) -> bool:
    """Whether DTS rises strictly per kind."""
    return rises(connection.frames) and rises(connection.sounds)


def largest_sound_step(connection: Connection) -> int:
    """In ms."""
    return max(later.timestamp - sooner.timestamp for sooner, later in pairwise(connection.sounds))


def is_silence(message: Arrival) -> bool:
    """Whether a sound is a silent frame."""
    return message.payload[2:] in SILENT_AAC.values()
