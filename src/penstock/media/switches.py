"""Changes of the source on air, counted and told of. Times are the loop's, in seconds."""

from collections import Counter
from typing import NamedTuple

from penstock.media.election import Cause
from penstock.media.transport import OnEvent

#: What is said of a switch; ``{}`` is the source that was on air.
_BECAUSE = {
    Cause.CLOSED: "the connection of {} ended",
    Cause.STALLED: "{} sent no media any more",
    Cause.FAILED: "{} could not be had",
    Cause.RETURNED: "it is healthy again, and preferred to {}",
    Cause.CHANGED: "{} was changed",
}


class _Switch(NamedTuple):
    cause: Cause
    #: Who was on air before, and when media of it last came.
    before: str
    moved_at: float


class Switches:
    """Those of one relay."""

    def __init__(self, on_event: OnEvent) -> None:
        self._on_event = on_event
        #: How often another source came on air.
        self.counts: Counter[Cause] = Counter()
        #: One whose media has not gone out yet.
        self._pending: _Switch | None = None
        #: Who is on air, or was last.
        self._last = ""

    def begin(self, source: str, cause: Cause, moved_at: float) -> None:
        """This source has come on air; media of the one before last came at `moved_at`. Its own is no switch."""
        before, self._last = self._last, source
        self._pending = _Switch(cause, before, moved_at) if before and before != source else None

    def drop(self) -> None:
        """Media of the one that is pending will never go out."""
        self._pending = None

    @property
    def is_pending(self) -> bool:
        """Whether a switch is to be told of when its media goes out."""
        return self._pending is not None

    def tell(self, now: float, lead: float | None) -> None:
        """Its media goes out, and leaves the output `lead` ms ahead of the wall."""
        switch, self._pending = self._pending, None
        if switch is None:
            return
        self.counts[switch.cause] += 1
        why = _BECAUSE[switch.cause].format(switch.before)
        gap = now - switch.moved_at
        text = f"{self._last} is on air: {why}; gap {gap:.2f} s, lead {(lead or 0) / 1000:+.2f} s"
        self._on_event(f"switch.{switch.cause}", text)
