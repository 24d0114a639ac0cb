"""What keeps one account's flood from the others: request rates, and turns before the store. Knows no vendor."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Hashable
from contextlib import asynccontextmanager

import msgspec

#: Calls of one caller that are under way at once; more wait for their turn.
AT_ONCE = 4
#: Calls of one caller that may wait; more are refused.
WAITING = 100
#: Buckets in memory before those that are full again are dropped.
MANY_BUCKETS = 10_000


class TooOften(Exception):
    """A caller calls more often than it may."""

    def __init__(self, calls: int, limit: int) -> None:
        super().__init__(f"{calls} calls in a second, of {limit}")
        #: How many came within this second, and how many may.
        self.calls = calls
        self.limit = limit


class TooManyWaiting(Exception):
    """A caller has more calls waiting than may wait."""


class Bucket(msgspec.Struct):
    """The calls that a caller may still make, filled up all the time."""

    tokens: float
    #: When it was last filled, in seconds.
    at: float
    #: The second that is counted now, and the calls in it.
    second: int = 0
    calls: int = 0


class Rates:
    """How often each caller may do each thing: a bucket that holds one second's worth. Safe in threads."""

    def __init__(self, factor: float, *, now: Callable[[], float]) -> None:
        """`factor` on every limit, 0: no limits. `now` in seconds, and never going back."""
        self._factor = factor
        self._now = now
        self._buckets: dict[Hashable, Bucket] = {}
        self._lock = threading.Lock()

    def take(self, who: Hashable, per_second: int) -> None:
        """Count one call. Raise `TooOften`."""
        if not self._factor:
            return
        limit = max(1.0, per_second * self._factor)
        now = self._now()
        with self._lock:
            bucket = self._bucket(who, limit, now)
            bucket.tokens = min(limit, bucket.tokens + (now - bucket.at) * limit)
            bucket.at = now
            if bucket.second != int(now):
                bucket.second, bucket.calls = int(now), 0
            bucket.calls += 1
            if bucket.tokens < 1:
                # A second is counted from its start, a bucket is not: it may be empty early in a second.
                raise TooOften(max(bucket.calls, int(limit) + 1), int(limit))
            bucket.tokens -= 1

    def _bucket(self, who: Hashable, limit: float, now: float) -> Bucket:
        if bucket := self._buckets.get(who):
            return bucket
        if len(self._buckets) >= MANY_BUCKETS:
            self._buckets = {key: one for key, one in self._buckets.items() if now - one.at < 1}
        return self._buckets.setdefault(who, Bucket(tokens=limit, at=now))

    def __len__(self) -> int:
        return len(self._buckets)


class Line:
    """One caller's calls: those that are under way, and those that wait."""

    def __init__(self, at_once: int) -> None:
        self.turn = asyncio.Semaphore(at_once)
        self.calls = 0


class Turns:
    """A few calls of each caller at once, in the order of their coming, whatever the others do."""

    def __init__(self, at_once: int = AT_ONCE, waiting: int = WAITING) -> None:
        self._at_once = at_once
        self._most = at_once + waiting
        self._lines: dict[Hashable, Line] = {}

    @asynccontextmanager
    async def turn(self, who: Hashable) -> AsyncIterator[None]:
        """Wait for a turn, and give it up at the end. Raise `TooManyWaiting`."""
        line = self._lines.get(who)
        if line is None:
            line = self._lines[who] = Line(self._at_once)
        if line.calls >= self._most:
            raise TooManyWaiting
        line.calls += 1
        try:
            async with line.turn:
                yield
        finally:
            line.calls -= 1
            if not line.calls:
                del self._lines[who]

    def __len__(self) -> int:
        return len(self._lines)
