"""How an output keeps step with the wall although its sources come and go. Loop times in seconds, media times in ms."""

#: How far the output may run ahead of the wall when a source comes in. Receivers buffer what they get too early, so
#: that whoever always begins with the newest GOP that a server has kept, is minutes ahead after some hundred losses.
MAX_LEAD = 1000.0
#: How far it may run ahead at all: media comes in steps, and the largest must not count as pace. What is beyond this
#: does, else an output whose source has put its clock forward would stand still at the next loss.
MOST_LEAD = 1500.0
#: How far it may fall behind: stalls that are found late add up. What comes to more, as after a process stood still, is
#: made up for in silence when there is no source; less is not, since whoever watches has waited once already.
MOST_LAG = 7000.0
#: Encoders' clocks differ from ours by up to so much.
_DRIFT = 0.001


class Pace:
    """Where the output should end by now, going by where it ended when it began, and how fast it has gone since."""

    def __init__(self) -> None:
        self._at: float | None = None
        self._due = 0.0
        #: How far the output was ahead when the source on air had come in; None: that is to be seen.
        self._lead: float | None = 0.0

    def splice(self) -> None:
        """Another source comes in. How far it leaves the output ahead of the wall, or behind, is not its clock's doing:
        forgiven, that would add up."""
        self._lead = None

    def follow(self, now: float, end: float) -> None:
        """The output flows and ends there. An encoder's clock that goes a little fast or slow sets the pace."""
        due = self.due(now)
        if self._at is None or due is None:
            due = end
        else:
            if self._lead is None:
                self._lead = end - due
            slack = _DRIFT * (now - self._at) * 1000
            due = max(due + min(max(end - self._lead - due, -slack), slack), end - MOST_LEAD)
        self._at, self._due = now, due

    def forget(self) -> None:
        """The output begins anew."""
        self._at, self._lead = None, 0.0

    def due(self, now: float) -> float | None:
        """Return where the output should end; None: it has not begun."""
        return None if self._at is None else self._due + (now - self._at) * 1000
