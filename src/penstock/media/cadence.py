"""How long a source may be silent before it has stalled: its own rhythm decides."""

from collections import deque

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
        #: (when it began, longest pause) of the window that fills and the one before.
        self._windows: deque[tuple[float, float]] = deque(maxlen=2)

    def begin(self) -> None:
        """A new connection: the pause before it is not the source's."""
        self._last = None

    def moved(self, now: float) -> None:
        """Media time has moved on."""
        if self._last is not None:
            self._note(now, now - self._last)
        elif self._began is None:
            self._began = now
        self._last = now

    def _note(self, now: float, pause: float) -> None:
        if not self._windows or now - self._windows[-1][0] >= _WINDOW:
            self._windows.append((now, pause))
        elif pause > self._windows[-1][1]:
            self._windows[-1] = (self._windows[-1][0], pause)

    @property
    def limit(self) -> float:
        """Seconds of silence after which the source has stalled."""
        if self._began is None or self._last is None or not self._windows or self._last - self._began < _KNOWN:
            return MOST
        longest = max(pause for _, pause in self._windows)
        return min(MOST, max(LEAST, _FACTOR * longest))
