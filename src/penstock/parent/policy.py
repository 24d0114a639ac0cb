"""When a child is started again, and when it counts as wedged. Pure: the time is handed in, in seconds."""

#: The second pause before a start; the first start after a death is at once.
FIRST_PAUSE = 0.2
LONGEST_PAUSE = 5.0
#: A child that lived this long was healthy: its death is a first death.
HEALTHY_LIFE = 10.0
#: A child that has not spoken yet may still be loading.
LOADING = 30.0


class Damper:
    """Keeps a child that dies again and again from eating the machine."""

    def __init__(self) -> None:
        self._pause = 0.0

    def died(self, *, lived: float) -> float:
        """How long to wait before the next start."""
        if lived >= HEALTHY_LIFE:
            self._pause = 0.0
        pause = self._pause
        self._pause = min(LONGEST_PAUSE, max(FIRST_PAUSE, 2 * pause))
        return pause


class Silence:
    """Judges how long a child has been silent; one that is too silent is wedged."""

    def __init__(self, limit: float, *, now: float) -> None:
        self._limit, self._loading = limit, max(limit, LOADING)
        self._heard = self._looked = now
        self._spoken = False

    def heard(self, now: float) -> None:
        self._heard, self._spoken = now, True

    def too_long(self, now: float, *, every: float) -> bool:
        """Whether the child is wedged. To be asked every `every` seconds.

        If the question itself comes late, it was the parent that slept (stopped, or a starved machine), and
        a child is not blamed for words that nobody could hear.
        """
        late = now - self._looked - every
        if late > every:
            self._heard += late
        self._looked = now
        return now - self._heard > (self._limit if self._spoken else self._loading)
