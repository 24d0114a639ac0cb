"""What keeps one account's flood from the others: request rates, and turns before the store. Knows no vendor."""

import asyncio
import threading
from collections.abc import Callable, Hashable
from functools import partial

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


class Turn:
    """One caller's calls: those that are under way, and those that wait. Entered once by each call."""

    def __init__(self, at_once: int, ended: Callable[[], object]) -> None:
        self._free = asyncio.Semaphore(at_once)
        self._ended = ended
        self.calls = 0

    async def __aenter__(self) -> None:
        self.calls += 1
        try:
            await self._free.acquire()
        except BaseException:
            self._leave()
            raise

    async def __aexit__(self, *_: object) -> None:
        self._free.release()
        self._leave()

    def _leave(self) -> None:
        self.calls -= 1
        if not self.calls:
            self._ended()


class Turns:
    """A few calls of each caller at once, in the order of their coming, whatever the others do."""

    def __init__(self, at_once: int = AT_ONCE, waiting: int = WAITING) -> None:
        self._at_once = at_once
        self._most = at_once + waiting
        self._turns: dict[Hashable, Turn] = {}

    def turn(self, who: Hashable) -> Turn:
        """What a call waits for with ``async with``, and has until its end. Raise `TooManyWaiting`."""
        turn = self._turns.get(who)
        if turn is None:
            turn = self._turns[who] = Turn(self._at_once, partial(self._turns.pop, who))
        if turn.calls >= self._most:
            raise TooManyWaiting
        return turn

    def __len__(self) -> int:
        return len(self._turns)
