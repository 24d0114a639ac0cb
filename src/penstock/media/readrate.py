"""Hands on a child's media no sooner than it is due, so that the child may write as fast as it likes.

An FFmpeg that keeps the pace itself (``-readrate 1``) sleeps for each packet, and wakes two threads, which costs it
twice as much as all else that it does. What comes too early waits here and in the child's socket.
"""

import asyncio
import socket
from struct import Struct

from penstock.media.clocks import clock_step
from penstock.media.feed import Feed
from penstock.media.packet import AUDIO, VIDEO
from penstock.media.pump import Pump, Wake

#: So much media (ms) goes out at once when a source begins (``-readrate_initial_burst``): so none ever waits that comes
#: at its own pace.
BURST = 500
#: Media that is late by more than this (ms) is caught up on at `CATCH_UP` times its pace: ``-readrate_catchup``.
LATE, CATCH_UP = 300, 1.05
#: A longer step of the clock (ms) is a jump, and nothing to wait for: ``-dts_delta_threshold``.
MAX_STEP = 10_000
_RECEIVE = 1 << 18
#: An FLV file's header with the size that follows it, and a tag without its payload, with its own.
_HEADER, _TAG = 13, 15
#: What a tag begins with: its type and size, its time and the time's highest byte.
_HEAD = Struct(">II")


class ReadRate:
    """Says which media is due. Media times are in ms modulo 2^32, `now` is the loop's, in seconds."""

    def __init__(self) -> None:
        #: The time of what was handed on last, and how far media has come since the first, without jumps.
        self._last: int | None = None
        self._position = 0
        #: How far it might have come, and when: at the beginning, and when it was late, while that is caught up on.
        self._begun = (BURST, 0.0)
        self._late: tuple[int, float] | None = None

    def is_due(self, time: int, now: float) -> bool:
        """Whether media of this time is due; then it counts as handed on."""
        if self._last is None:
            self._last, self._begun = time, (BURST, now)
        step = clock_step(self._last, time)
        position = self._position + (step if abs(step) <= MAX_STEP else 0)
        early = position - self._limit(now)
        if early > 0:
            return False
        if early < -BURST - LATE:
            self._late = (position + BURST, now)
        self._last, self._position = time, position
        return True

    def _limit(self, now: float) -> float:
        """Return how far media may have come."""
        position, at = self._begun
        limit = position + (now - at) * 1000
        if self._late is None:
            return limit
        position, at = self._late
        catching_up = position + (now - at) * 1000 * CATCH_UP
        if catching_up >= limit:
            self._late = None
        return min(limit, catching_up)


class PacedFlv(Feed):
    """The FLV that a child writes to its socket, fed to the pump tag by tag, each when it is due."""

    def __init__(self, pump: Pump, sock: socket.socket) -> None:
        """Own `sock`, which does not block."""
        super().__init__()
        self._pump = pump
        self._sock = sock
        self._rate = ReadRate()
        self._loop = asyncio.get_running_loop()
        #: What has not been fed yet, and where in it the first tag begins.
        self._early = bytearray()
        self._first = _HEADER

    def attach(self, wake: Wake) -> None:
        """Tell `wake` from now on when something is due."""
        super().attach(wake)
        self._pump.each_tick(self._serve)

    def close(self) -> None:
        """Close the child's socket."""
        self._pump.no_tick(self._serve)
        super().close()
        self._sock.close()

    def _serve(self) -> None:
        """Feed what is due; look for more unless something waits that is not."""
        if not (self._unread or self._ended or self._feed_due()):
            self._receive()

    def _receive(self) -> None:
        try:
            data = self._sock.recv(_RECEIVE)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self.connection_lost(error)
            return
        self._early += data
        self._feed_due()
        if not data:
            # With what is left of a tag that was broken off.
            self._feed_first(len(self._early))
            self.connection_lost(None)

    def _feed_due(self) -> bool:
        """Feed the tags that are due; say whether there is one that is not."""
        data, now, at, early = self._early, self._loop.time(), self._first, False
        while at + _HEAD.size <= len(data) and not early:
            first, second = _HEAD.unpack_from(data, at)
            after = at + _TAG + (first & 0xFFFFFF)
            if after > len(data):
                break
            # Headers, too, have their media's time; what is no media, or is no FLV, is for the pump's reader to judge.
            early = first >> 24 in (AUDIO, VIDEO) and not self._rate.is_due(second >> 8 | (second & 0xFF) << 24, now)
            if not early:
                at = after
        if at > self._first:
            self._feed_first(at)
        return early

    def _feed_first(self, size: int) -> None:
        self.feed(bytes(memoryview(self._early)[:size]))
        del self._early[:size]
        self._first = 0
