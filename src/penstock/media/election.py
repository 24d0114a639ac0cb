"""Which of a relay's sources is on air: decided here and nowhere else. Pure; `now` and all times are in seconds."""

from collections.abc import Sequence
from enum import StrEnum
from typing import NamedTuple

#: How long a preferred source may take when the output begins, before another takes its place.
PATIENCE = 5.0
#: How long nothing else must have been to show before a source of last resort comes in.
RESORT_AFTER = 0.5
#: A source that is lost within so many seconds of its return must be healthy for twice as long before the next,
#: and for `MOST_HEALTH` at most.
STEADY = 60.0
MOST_HEALTH = 300.0


class Cause(StrEnum):
    """Why another source came on air."""

    #: The connection of the one before ended.
    CLOSED = "closed"
    #: Its media time stood still.
    STALLED = "stalled"
    #: The preferred one could not be connected when the output began, or sent nothing.
    FAILED = "failed"
    #: A preferred one is healthy again.
    RETURNED = "returned"
    #: The caller has changed the sources.
    CHANGED = "changed"


class Standing(NamedTuple):
    """How one source stands."""

    id: str
    #: Since when media has flowed on its connection; None: it does not.
    flowing_since: float | None
    #: Whether it can come in at once: a keyframe of it is here that leaves the output not too far ahead of the wall.
    ready: bool
    #: Whether there is no better moment: that keyframe is the newest message, or the end of a burst.
    opportune: bool
    #: Whether its last connection ended, or could not be made.
    failed: bool
    #: Shown only while there is nothing else.
    last_resort: bool = False


class Election:
    """Follows who is on air; `return_after` is how long a preferred source must be healthy before it is again."""

    def __init__(self, return_after: float, now: float) -> None:
        self._return_after = return_after
        self.on_air: str | None = None
        #: Since when nobody has been, and why.
        self._vacant_since = now
        self._cause = Cause.FAILED
        #: Whether anything has ever been.
        self._begun = False
        #: When the one on air was chosen.
        self._chosen_at = now
        #: How long each source must be healthy, where that is not the usual time.
        self._health: dict[str, float] = {}
        self._returned_at: dict[str, float] = {}

    def lost(self, now: float, cause: Cause, *, flowed: bool = True) -> None:
        """The source on air is gone; `flowed`: it was being sent."""
        if self.on_air is None:
            return
        self._begun = self._begun or flowed
        returned_at = self._returned_at.pop(self.on_air, None)
        if cause is Cause.CHANGED:
            self.renew(self.on_air)
        elif returned_at is not None and now - returned_at < STEADY:
            self._health[self.on_air] = min(MOST_HEALTH, 2 * self.health_of(self.on_air))
        else:
            self._health.pop(self.on_air, None)
        self.on_air, self._vacant_since, self._cause = None, now, cause

    def renew(self, source: str) -> None:
        """The caller has put another source in this one's place: nothing is held against it."""
        self._health[source] = 0.0
        self._returned_at.pop(source, None)

    def health_of(self, source: str) -> float:
        """For how long this source must be healthy before it takes its place from one that is on air."""
        return self._health.get(source, self._return_after)

    def choose(
        self, now: float, standings: Sequence[Standing], *, flows: bool, bound: bool = False, over: bool = False
    ) -> tuple[str, Cause] | None:
        """Say who comes on air now, and why; None: nothing changes. `standings` are in order of preference.

        `flows`: the one on air is being sent; `bound`: it may not be left before it ends; `over`: it has ended, and
        begins again unless another flows.
        """
        self._begun = self._begun or flows
        chosen = self._better(now, standings, over=over) if flows else self._substitute(now, standings)
        if chosen is None or (flows and bound):
            return None
        cause = Cause.RETURNED if flows else self._cause
        if flows:
            self._returned_at[chosen.id] = now
        self.on_air, self._chosen_at = chosen.id, now
        return chosen.id, cause

    def _better(self, now: float, standings: Sequence[Standing], *, over: bool) -> Standing | None:
        """Return a source that is preferred to the one on air, if it has been healthy for long enough."""
        at = next((at for at, one in enumerate(standings) if one.id == self.on_air), 0)
        resort = bool(standings) and standings[at].last_resort
        for one in standings[:at]:
            if one.last_resort or one.flowing_since is None or not one.ready:
                continue
            if resort or over or (one.opportune and now - one.flowing_since >= self.health_of(one.id)):
                return one
        return None

    def _substitute(self, now: float, standings: Sequence[Standing]) -> Standing | None:
        """Return the first source that could come in while none is sent; one that was chosen has its time to begin."""
        for one in standings:
            if one.id == self.on_air:
                if now - self._chosen_at < PATIENCE:
                    return None
            elif one.ready:
                return None if one.last_resort and now - self._vacant_since < RESORT_AFTER else one
            elif not self._begun and not one.failed and now - self._vacant_since < PATIENCE:
                return None
        return None
