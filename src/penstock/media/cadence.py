"""How long a source may be silent before it has stalled: its own rhythm decides."""

#: The limit lies between these, in seconds.
LEAST, MOST = 0.5, 3.0
#: How much longer than its longest pause of late a source may be silent.
_FACTOR = 4
#: A rhythm is known after so many seconds, and forgotten after twice as many.
_KNOWN = 5.0
_WINDOW = 30.0


class Cadence:
    """Follows the pauses between a source's steps of media time. Times are the loop's, in seconds.

    A steady source of 25 frames a second is given up after 0.5 s, one that comes in bursts of a second after 3 s. The
    limit never falls because a connection is new: the rhythm is the source's, over all its connections.
    """

    def __init__(self) -> None:
        self._last: float | None = None
        self._began: float | None = None
        #: The newest.
        self.pause = 0.0
        #: When the window that fills began, its longest pause, and that of the one before.
        self._window = 0.0
        self._longest = 0.0
        self._longest_before = 0.0

    def begin(self) -> None:
        """A new connection: the pause before it is not the source's."""
        self._last = None
        self.pause = 0.0

    def moved(self, now: float) -> None:
        """Media time has moved on."""
        last, self._last = self._last, now
        self.pause = 0.0 if last is None else now - last
        if last is None:
            if self._began is None:
                self._began = self._window = now
            return
        if now - self._window >= _WINDOW:
            self._window, self._longest_before, self._longest = now, self._longest, now - last
        elif now - last > self._longest:
            self._longest = now - last

    @property
    def limit(self) -> float:
        """Seconds of silence after which the source has stalled."""
        longest = max(self._longest, self._longest_before)
        if self._began is None or self._last is None or not longest or self._last - self._began < _KNOWN:
            return MOST
        return min(MOST, max(LEAST, _FACTOR * longest))
