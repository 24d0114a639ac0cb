"""One source of a relay: it connects, is watched for stalls, and stands by while another is on air."""

import asyncio
import random
from typing import Protocol

from penstock.media.cadence import Cadence
from penstock.media.clocks import Clocks
from penstock.media.election import Cause, Standing
from penstock.media.files.order import Place
from penstock.media.files.player import Player, Progress
from penstock.media.packet import Kind, kind_of
from penstock.media.plan import Playlist, Source
from penstock.media.standby import LOOK_EVERY, Standby
from penstock.media.stream import Entry
from penstock.media.supervisor import Counted, NodeState, Supervisor
from penstock.media.transport import OnEvent, SourceLeaf, Transports

#: A server that agreed to play has so long to send its first media (seconds).
FIRST_MEDIA = 10.0
#: A stall that is no farther off than this is awaited by a timer, so that it is found in time; more than the time
#: between two samples (seconds).
LOOK_AHEAD = 0.35
#: After a pause of so many seconds media may come at once that was meant to be there before.
PAUSE = 0.25


class Output(Protocol):
    """What sources are for."""

    def joined(self, intake: "Intake", connection: Counted) -> None:
        """A source has connected; media may follow."""
        ...

    def offered(self, intake: "Intake") -> None:
        """A source that stands by could come in."""
        ...

    def push(self, type_: int, timestamp: int, payload: bytes, kind: Kind) -> None:
        """Take a message of the source on air."""
        ...

    def left(self, intake: "Intake", cause: Cause) -> None:
        """A source's connection has ended."""
        ...


class Candidate(Protocol):
    """One of those of whom one is on air."""

    @property
    def id(self) -> str: ...

    @property
    def moved_at(self) -> float | None:
        """When media of it last came (loop time); None: never."""
        ...

    @property
    def clocks(self) -> Clocks | None:
        """Its clocks as they have been followed so far; None: they begin when it comes on air."""
        ...

    def standing(self, lead: float | None, /) -> Standing:
        """How it stands for an output that is `lead` ms ahead of the wall; None: that has not begun."""
        ...

    def go_on_air(self, lead: float | None, /) -> list[Entry]:
        """Begin. Return what goes before what it will push."""
        ...

    def stand_by(self) -> None:
        """Another has come on air."""
        ...


class Intake:
    """Keeps one source running for `output`. `stall` is how long it may be silent (0: as its own rhythm says).

    `resume` is where a playlist goes on; None: where it begins. One that `stands_in` for another source is not played
    before it is needed, then from its beginning, and is left when a round of it is over.
    """

    def __init__(
        self,
        node: Source | Playlist,
        output: Output,
        *,
        transports: Transports,
        stall: float,
        rng: random.Random,
        on_event: OnEvent,
        resume: Place | None = None,
        stands_in: bool = False,
    ) -> None:
        self.stands_in = stands_in
        #: Rounds of it that were over when there was nothing to return to.
        self._rounds = 0
        self.node = node
        self._leaf: SourceLeaf | None = None
        self._resume = resume
        self.on_air = False
        self._output = output
        self._transports = transports
        self._stall = stall
        self._on_event = on_event
        self._loop = asyncio.get_running_loop()
        self._cadence = Cadence()
        self._watchdog: asyncio.TimerHandle | None = None
        self._standby = Standby()
        self._taken_at = 0.0
        #: Whether it could come in right now as well as ever.
        self._is_moment = False
        self._failed = False
        #: Why its connection will have ended, if it does.
        self._cause = Cause.CLOSED
        self.supervisor = Supervisor(node.id, "source", node.url, self._run, rng=rng, on_event=on_event)
        self.supervisor.want(not stands_in)

    @property
    def id(self) -> str:
        """Its node's."""
        return self.node.id

    @property
    def moved_at(self) -> float | None:
        """When its media time last moved on (loop time); None: never."""
        return self.supervisor.meter.progress_at

    async def close(self) -> None:
        """End for good, by the caller's wish."""
        self._cause = Cause.CHANGED
        self._cancel_watchdog()
        await self.supervisor.close()

    async def _run(self, _: Supervisor) -> None:
        try:
            if self._leaf is None:
                self._leaf = self._transports.source(self.node, self._on_event)
                if self._resume is not None and isinstance(self._leaf, Player):
                    self._leaf.resume(self._resume)
            await self._leaf.run(self._connected, self._take)
        finally:
            self.on_air, self._failed = False, True
            self._output.left(self, self._cause)

    def change(self, node: Source | Playlist) -> bool:
        """Be another source from now on; say whether that can be without connecting anew."""
        if not (isinstance(node, Playlist) and isinstance(self._leaf, Player)):
            return node == self.node
        if node != self.node:
            self.node = node
            self._leaf.change(node)
            if not self.stands_in:
                self.supervisor.want(True)
        return True

    @property
    def progress(self) -> Progress | None:
        """Where a playlist is; None: this is none, or it has not begun, or it is over."""
        return self._leaf.progress if isinstance(self._leaf, Player) else None

    def need(self, needed: bool) -> None:
        """Of one that stands in: begin to play, or leave it."""
        if not needed:
            self._rounds, self._leaf = 0, None
        self.supervisor.want(needed)

    def is_over(self, *, awaited: bool) -> bool:
        """Whether a round has ended since the source that it stands in for was last gone; `awaited`: that is back."""
        progress = self.progress
        rounds = self._rounds if progress is None else progress.place.rounds
        if not awaited:
            self._rounds = rounds
        return rounds > self._rounds

    def standing(self, lead: float | None) -> Standing:
        """How it stands for an output that is `lead` ms ahead of the wall; None: that has not begun."""
        flowing = self.supervisor.state is NodeState.FLOWING
        ready = self.supervisor.connection is not None and not self._failed
        if lead is not None:
            ready = ready and self._entrance(lead) is not None
        return Standing(
            id=self.node.id,
            flowing_since=self.supervisor.flowing_since if flowing else None,
            ready=ready,
            opportune=self._is_moment,
            failed=self._failed,
        )

    @property
    def pause(self) -> float:
        """Seconds between its newest message and the one before."""
        return self._cadence.pause

    @property
    def clocks(self) -> Clocks:
        """Those of its connection."""
        return self._standby.clocks

    def go_on_air(self, lead: float | None) -> list[Entry]:
        """What comes next goes out. Return what goes before it: headers, and what was kept since the entrance."""
        self.on_air = True
        return self._standby.release(0 if lead is None else self._entrance(lead))

    def _entrance(self, lead: float) -> int | None:
        return self._standby.entrance(lead, opportune=self._is_moment)

    def stand_by(self) -> None:
        """Another has come on air."""
        self.on_air = False
        self._standby.resume()

    # -- media

    def _connected(self, connection: Counted) -> None:
        self.supervisor.connected(connection)
        self._cadence.begin()
        self._standby = Standby()
        self._is_moment = self._failed = False
        self._cause = Cause.CLOSED
        self._taken_at = self._loop.time()
        self._loop.call_later(LOOK_EVERY, self._settle, self._standby)
        self._output.joined(self, connection)

    def _settle(self, standby: Standby) -> None:
        """Look whether a server has sent what it had kept, unless the source is on air by then."""
        if standby is not self._standby or self.on_air or self.supervisor.connection is None:
            return
        if standby.settle():
            self._offer()
        else:
            self._loop.call_later(LOOK_EVERY, self._settle, standby)

    def _take(self, type_: int, timestamp: int, payload: bytes) -> None:
        kind = kind_of(type_, payload)
        if self.supervisor.meter.count(type_, timestamp, payload, kind):
            self.progressed()
        if self.on_air:
            self._standby.take(type_, timestamp, payload, kind)
            self._output.push(type_, timestamp, payload, kind)
            return
        before, self._taken_at = self._taken_at, self._loop.time()
        pause = self._taken_at - before
        if pause > PAUSE and self._standby.unsettle(pause * 1000):
            self._loop.call_later(LOOK_EVERY, self._settle, self._standby)
        if self._standby.take(type_, timestamp, payload, kind):
            self._offer()

    def _offer(self) -> None:
        """At its keyframe, or at the end of a burst, there is no better moment to come in."""
        self._is_moment = True
        self._output.offered(self)
        self._is_moment = False

    def progressed(self) -> None:
        """Its media time has moved on."""
        self.supervisor.progressed()
        if self.supervisor.meter.progress_at is not None:
            self._cadence.moved(self.supervisor.meter.progress_at)

    # -- stalls

    def sample(self) -> None:
        """Measure its rate, and break a connection that has stalled; to be called a few times a second."""
        self.supervisor.measure()
        self._watch()

    def _watch(self) -> None:
        """If it may stall before the next sample, look again just then."""
        self._cancel_watchdog()
        source = self.supervisor
        if source.connection is None:
            return
        flowing = source.state is NodeState.FLOWING
        limit = (self._stall or self._cadence.limit) if flowing else FIRST_MEDIA
        left = limit - source.silent_for
        if left > 0:
            if left < LOOK_AHEAD:
                self._watchdog = self._loop.call_later(left, self._watch)
            return
        self._cause = Cause.STALLED
        source.fail(f"no media for {limit:.2g} s" if flowing else f"connected, but no media within {limit:g} s")

    def _cancel_watchdog(self) -> None:
        if self._watchdog is not None:
            self._watchdog.cancel()
