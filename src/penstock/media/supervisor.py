"""Keeps one source, sink or hold running: retries, back-off, the last error. Leaves hold none of it."""

import asyncio
import os
import random
from collections.abc import Awaitable, Callable
from contextlib import suppress
from enum import StrEnum
from typing import Protocol

import structlog

from penstock.errors import AddressRefused, Finished, MediaError
from penstock.media.meter import Meter

log = structlog.get_logger()

#: Back-off in seconds: the bound of the first delay, doubled up to the last; the delay is drawn below it.
FIRST_DELAY = 0.5
LAST_DELAY = 30.0
#: Health of this many seconds forgets earlier failures.
HEALTHY_AFTER = 10.0


class NodeState(StrEnum):
    """Where a source or sink is."""

    IDLE = "idle"
    CONNECTING = "connecting"
    #: The peer has agreed, no media yet.
    CONNECTED = "connected"
    FLOWING = "flowing"
    RETRYING = "retrying"


class Counted(Protocol):
    """A connection, as far as its supervisor sees it."""

    @property
    def received(self) -> int:
        """Bytes."""
        ...

    @property
    def sent(self) -> int: ...

    def close(self, reason: str, /) -> None:
        """End it for this reason."""
        ...


class Backoff:
    """How long to wait before the next try."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._failures = 0

    def delay(self, healthy_for: float) -> float:
        """Seconds until the next try, after a run that was healthy for `healthy_for` seconds."""
        if healthy_for >= HEALTHY_AFTER:
            self._failures = 0
        bound = min(LAST_DELAY, FIRST_DELAY * 2.0 ** min(self._failures, 16))
        self._failures += 1
        return self._rng.uniform(0, bound)


#: Connects, calls `Supervisor.connected`, works until it fails, raises `MediaError` or `AddressRefused`.
Leaf = Callable[["Supervisor"], Awaitable[None]]


class Supervisor:
    """Runs one leaf again and again, while it is wanted.

    `side` is ``source``, ``sink`` or ``hold``. `on_event(name, text)` is told when media begins and ends:
    ``source.flowing``, ``sink.backup.lost``, …. Times are the loop's, in seconds.
    """

    def __init__(
        self,
        node_id: str,
        side: str,
        url: str,
        leaf: Leaf,
        *,
        rng: random.Random,
        on_event: Callable[[str, str], None],
    ) -> None:
        self.id = node_id
        self.side = side
        #: What its events' names begin with: there may be a hundred holds, but only so many sources and sinks.
        self.name = side if side == "hold" else node_id
        self.url = url
        self.meter = Meter()
        self.attempts = 0
        #: Why the last connection ended; empty once media flows again.
        self.error = ""
        self.error_at = 0.0
        self._repeated = 0
        self.retry_at = 0.0
        self.connection: Counted | None = None
        self._leaf = leaf
        self._loop = asyncio.get_running_loop()
        self._backoff = Backoff(rng)
        self._on_event = on_event
        self._connected_at = 0.0
        self._measured = 0
        self._flowing_at: float | None = None
        self._wanted = asyncio.Event()
        self._unwanted = asyncio.Event()
        #: Whether the leaf has delivered all there was.
        self.finished = False
        #: The run that is being cancelled ends by our own wish.
        self._planned = False
        self._run: asyncio.Task[str] | None = None
        self.state = NodeState.IDLE
        self.since = self._loop.time()
        self._task = self._loop.create_task(self._supervise(), name=f"{side} {node_id}")

    # -- for the owner

    def want(self, wanted: bool) -> None:
        """Let the node run, or have it end its connection in order and rest."""
        if wanted:
            self.finished = False
            self._wanted.set()
            self._unwanted.clear()
        elif self._wanted.is_set():
            self._wanted.clear()
            self._unwanted.set()
            self.error = ""
            self.reconnect()

    def reconnect(self) -> None:
        """End this connection in order and begin another at once, if it is wanted."""
        if self._run is not None:
            self._end(self._run)

    def fail(self, reason: str) -> None:
        """Break the connection for a reason that only the owner can see, e.g. a stall."""
        if self.connection is not None:
            self.connection.close(reason)

    async def close(self) -> None:
        """End in order and for good."""
        self._task.cancel()
        await asyncio.wait([self._task])

    @property
    def flowing_since(self) -> float | None:
        """When the media of this connection, or of the last, began to move; None: it never did."""
        return self._flowing_at

    @property
    def silent_for(self) -> float:
        """Seconds since media last moved on this connection, or since it was made."""
        return self._loop.time() - max(self._connected_at, self.meter.progress_at or 0.0)

    # -- for the leaf, and for whoever counts its media

    def connected(self, connection: Counted) -> None:
        """The peer has agreed; media may follow on `connection`."""
        self.connection = connection
        self._connected_at = self._loop.time()
        self._measured = 0
        self.meter.begin()
        self._enter(NodeState.CONNECTED)

    def progressed(self, at: float | None = None) -> None:
        """Bytes and media time have moved: now, or as far as is known `at` that time."""
        self.meter.progress_at = self._loop.time() if at is None else at
        if self.state is NodeState.CONNECTED:
            self._flowing_at = self.meter.progress_at
            self.error = ""
            self._enter(NodeState.FLOWING)
            self._on_event(f"{self.name}.flowing", f"media flows on connection {self.attempts}")

    def measure(self) -> int:
        """Bring the meter's bytes up to date; return how many have moved since the last time."""
        moved = 0
        if self.connection is not None:
            total = self.connection.sent if self.side == "sink" else self.connection.received
            moved = total - self._measured
            self._measured = total
            self.meter.bytes += moved
        self.meter.sample(self._loop.time())
        return moved

    # -- the loop

    async def _supervise(self) -> None:
        try:
            while True:
                if not self._wanted.is_set():
                    self._enter(NodeState.IDLE)
                    await self._wanted.wait()
                await self._once()
        finally:
            self._enter(NodeState.IDLE)

    async def _once(self) -> None:
        self.attempts += 1
        self._flowing_at = None
        self._enter(NodeState.CONNECTING)
        run = self._run = self._loop.create_task(self._run_leaf())
        try:
            await asyncio.wait([run])
        except asyncio.CancelledError:
            self._end(run)
            await asyncio.wait([run])
            raise
        finally:
            self.measure()
            self._run = self.connection = None
        planned, self._planned = self._planned, False
        if not planned and not self.finished:
            await self._rest("cancelled" if run.cancelled() else run.result())

    def _end(self, run: asyncio.Task[str]) -> None:
        """Have a run end in order; one that does already is not disturbed."""
        if not self._planned:
            self._planned = True
            run.cancel()

    async def _run_leaf(self) -> str:
        """Run the leaf; return why it ended."""
        try:
            await self._leaf(self)
        except Finished as error:
            self.finished = True
            self._wanted.clear()
            self._on_event(f"{self.name}.finished", error.message)
        except (MediaError, AddressRefused) as error:
            return error.message
        except OSError as error:  # this machine has no more files or memory to give
            return os.strerror(error.errno).lower() if error.errno else str(error)
        except Exception as error:
            log.exception("leaf failed", side=self.side, node=self.id)
            return f"internal error ({type(error).__name__})"
        return "ended"

    async def _rest(self, reason: str) -> None:
        now = self._loop.time()
        healthy_for = 0.0 if self._flowing_at is None else now - self._flowing_at
        delay = self._backoff.delay(healthy_for)
        self.retry_at = now + delay
        if reason != self.error:
            self.error_at = now
            self._repeated = 0
        self.error = reason
        self._tell(reason, healthy_for, delay)
        self._enter(NodeState.RETRYING)
        with suppress(TimeoutError):
            await asyncio.wait_for(self._unwanted.wait(), delay)

    def _tell(self, reason: str, healthy_for: float, delay: float) -> None:
        """Leave an event; of the same failure in a row ever fewer: the 1st, 2nd, 4th, 8th, …"""
        after = f"retry {self.attempts} in {delay:.1f} s"
        if self._flowing_at is not None:
            self._repeated = 0
            self._on_event(f"{self.name}.lost", f"{reason}, after {healthy_for:.1f} s of media; {after}")
            return
        self._repeated += 1
        if self._repeated.bit_count() == 1:
            often = f", {self._repeated} times in a row" if self._repeated > 1 else ""
            self._on_event(f"{self.name}.failed", f"{reason}{often}; {after}")

    def _enter(self, state: NodeState) -> None:
        if state is not self.state:
            self.state = state
            self.since = self._loop.time()
