"""One running plan: its sources feed a Timeline, the Timeline a Stream, the Stream its sinks."""

import asyncio
import random
from collections.abc import Iterator, Sequence
from functools import partial

from penstock.media.election import RESORT_AFTER, Cause, Election, Standing
from penstock.media.files.order import Place
from penstock.media.files.player import Progress
from penstock.media.intake import Candidate, Intake
from penstock.media.lane import Lane
from penstock.media.pace import MOST_LAG, Pace
from penstock.media.packet import Kind
from penstock.media.plan import Plan, Playlist, Sink, SlateMode, Source
from penstock.media.pump import Connection, Pump
from penstock.media.rtmp.chunk import ChunkReader
from penstock.media.slate import Slate
from penstock.media.still import Stills
from penstock.media.stream import Receiver, Stream
from penstock.media.supervisor import Counted, NodeState, Supervisor
from penstock.media.switches import Switches
from penstock.media.timeline import Timeline
from penstock.media.transport import OnEvent, Transports

#: A connection's timestamps end before 2^32 ms, where some servers let go of their readers (seconds).
SPAN = 40 * 86400.0
#: A sink delivers if its socket took bytes and media time advanced within so many seconds.
ACTIVE = 3.0


class Relay:
    """Runs one plan until it is closed. `hold` is how long (seconds) sinks stay connected without a source, `stall`
    how long a source may be silent (0: as its own rhythm says), `return_after` how long a preferred source must be
    healthy before it is on air again, `span` how long one connection of a sink may last, `slate` what is shown while
    there is no source, where the plan does not say; `stills` makes it, and without them there is none.

    `on_event(name, text)` takes what happens, for the task's history. `sample` is to be called a few times a second.
    """

    def __init__(
        self,
        plan: Plan,
        *,
        transports: Transports,
        pump: Pump,
        hold: float,
        stall: float = 0.0,
        return_after: float = 10.0,
        span: float = SPAN,
        slate: SlateMode = "off",
        stills: Stills | None = None,
        rng: random.Random,
        on_event: OnEvent,
        resume: Place | None = None,
    ) -> None:
        self._transports = transports
        self._pump = pump
        self._hold = hold
        self._stall = stall
        self._span = span
        self._rng = rng
        self._on_event = on_event
        self._loop = asyncio.get_running_loop()
        self._sampled_at = self._loop.time()
        mode = slate if plan.slate is None else plan.slate
        self._stream = Stream(pump, keep_gop=mode == "last")
        self._timeline = Timeline(self._stream.push, on_break=self._begin_anew, pause=self._pause)
        self._slate = self._make_slate(mode, stills)
        self._plan = plan
        self._pace = Pace()
        self._election = Election(return_after, self._sampled_at)
        self._closing = False
        #: When the source on air went.
        self._lost_at: float | None = None
        self._on_air: Candidate | None = None
        #: When media of the source on air last came.
        self._moved_at = 0.0
        #: Since when the source on air is (loop time).
        self.on_air_since = self._sampled_at
        self.switches = Switches(on_event)
        self._intakes = {
            source.id: self._intake(source, None if number else resume) for number, source in enumerate(plan.sources)
        }
        self.sinks = {sink.id: self._sink(sink) for sink in plan.sinks}
        self._receivers: dict[Supervisor, Receiver] = {}

    def apply(self, plan: Plan) -> list[Intake | Supervisor]:
        """Make the running graph equal `plan`. Nodes that are equal are not touched. Returns those to be closed."""
        old, self._plan = self._plan, plan
        closing: list[Intake | Supervisor] = []
        intakes, self._intakes = self._intakes, {}
        for source in plan.sources:
            had = intakes.get(source.id)
            if had is not None and had.change(source):
                self._intakes[source.id] = intakes.pop(source.id)
            else:
                self._election.renew(source.id)
                self._intakes[source.id] = self._intake(source)
        closing += intakes.values()
        wanted = {sink.id: sink for sink in plan.sinks}
        had_sinks = {sink.id: sink for sink in old.sinks}
        changed = [sink_id for sink_id in self.sinks if wanted.get(sink_id) != had_sinks.get(sink_id)]
        closing += [self.sinks.pop(sink_id) for sink_id in changed]
        for sink_id, sink in wanted.items():
            if sink_id not in self.sinks:
                self.sinks[sink_id] = self._sink(sink)
                self.sinks[sink_id].want(self._on_air is not None or self._lost_at is not None)
        return closing

    @property
    def on_air(self) -> str:
        """The id of the source whose media goes out; empty: none does."""
        source = self._on_air
        if source is None or (isinstance(source, Intake) and source.supervisor.state is not NodeState.FLOWING):
            return ""
        return source.id

    @property
    def returning(self) -> Iterator[tuple[Supervisor, float | None]]:
        """Those preferred to the one on air that are well again, each with how long it still has to be (seconds); None:
        until the file on air has been played."""
        if self._on_air is None or self._on_air is self._slate:
            return
        for intake in self._intakes.values():
            source = intake.supervisor
            if intake is self._on_air:
                return
            if source.state is NodeState.FLOWING and source.flowing_since is not None:
                healthy_for = self._loop.time() - source.flowing_since
                to_its_end = isinstance(self._on_air, Intake) and self._on_air.stands_in
                yield source, None if to_its_end else self._election.health_of(source.id) - healthy_for

    @property
    def progress(self) -> Progress | None:
        """Where the first playlist is; None: there is none, or it has not begun, or it is over."""
        return next(iter(self._intakes.values())).progress

    @property
    def finished(self) -> bool:
        """Whether the preferred source has delivered all there was."""
        return self.sources[0].finished

    @property
    def lead(self) -> float | None:
        """How far the output is ahead of the wall, in ms; None: it has not begun."""
        due, end = self._due(), self._timeline.end
        return None if due is None or end is None else end - due

    def _due(self) -> float | None:
        """Return where the output should end by now, in ms; None: it has not begun."""
        return self._pace.due(self._loop.time())

    def _pause(self) -> float:
        """Return for how long (ms) nothing came from the source on air before its newest message."""
        return self._on_air.pause * 1000 if isinstance(self._on_air, Intake) else 0.0

    def _behind(self) -> float:
        """How far the pictures are behind the wall, in ms."""
        due, end = self._due(), self._timeline.picture_end
        return 0.0 if due is None or end is None else due - end

    @property
    def sources(self) -> Sequence[Supervisor]:
        """In order of preference."""
        return [intake.supervisor for intake in self._intakes.values()]

    @property
    def failing(self) -> bool:
        """Whether nothing can be delivered: all sources failed, or all sinks did, and have not recovered."""
        return all(source.error for source in self.sources) or all(sink.error for sink in self.sinks.values())

    def is_delivering(self) -> bool:
        """Whether a sink delivers."""
        return any(map(self.delivers, self.sinks.values()))

    def delivers(self, sink: Supervisor) -> bool:
        """Whether the sink's socket took bytes and media time advanced within the last 3 s."""
        at = sink.meter.progress_at
        return at is not None and self._loop.time() - at <= ACTIVE

    @property
    def nodes(self) -> Sequence[Supervisor]:
        """All that connects: the sources, then the sinks."""
        return [*self.sources, *self.sinks.values()]

    async def close(self) -> None:
        """End everything in order: sinks unpublish."""
        self._closing = True
        if self._slate is not None:
            self._slate.close()
        intakes, sinks = self._intakes.values(), self.sinks.values()
        await asyncio.gather(*(intake.close() for intake in intakes), *(sink.close() for sink in sinks))

    # -- building

    def _intake(self, node: Source | Playlist, resume: Place | None = None) -> Intake:
        return Intake(
            node,
            self,
            transports=self._transports,
            stall=self._stall,
            rng=self._rng,
            on_event=self._on_event,
            resume=resume,
            stands_in=isinstance(node, Playlist) and node is not self._plan.sources[0],
        )

    def _make_slate(self, mode: SlateMode, stills: Stills | None) -> Slate | None:
        if mode == "off" or stills is None:
            return None
        return Slate(
            mode,
            stills,
            self._pump,
            self._timeline,
            self._stream,
            behind=self._behind,
            push=self.push,
            on_ready=self._elect,
            on_event=self._on_event,
        )

    def _sink(self, node: Sink) -> Supervisor:
        async def run(supervisor: Supervisor) -> None:
            leaf = self._transports.sink(node)
            try:
                await leaf.run(partial(self._sink_connected, supervisor), self._stream, supervisor.meter)
            finally:
                self._receivers.pop(supervisor, None)

        return Supervisor(node.id, "sink", node.url, run, rng=self._rng, on_event=self._on_event)

    # -- sources, see `penstock.media.intake.Output`

    def joined(self, intake: Intake, connection: Counted) -> None:
        """Take the shortcut while this source is on air."""
        if isinstance(connection, Connection) and isinstance(connection.reader, ChunkReader):
            lane = Lane(
                connection.reader,
                self._timeline,
                self._stream,
                intake.supervisor.meter,
                open_=lambda: intake.on_air and self._lost_at is None and not self._stream.keeps_gop,
                progressed=intake.progressed,
            )
            connection.shortcut = lane.run
        for sink in self.sinks.values():
            sink.want(True)
        self._elect()

    def offered(self, _: Intake) -> None:
        """See who is to be on air now."""
        self._elect()

    def push(self, type_: int, timestamp: int, payload: bytes, kind: Kind) -> None:
        """Send a message of the source on air on."""
        self._timeline.push(type_, timestamp, payload, kind)
        if kind is Kind.KEYFRAME and self._slate is not None and not self._slate.on_air:
            self._slate.seen(payload)
        if self._lost_at is not None and self._timeline.on_air:
            self._lost_at = None
        self._tell_switch()

    def left(self, intake: Intake, cause: Cause) -> None:
        """Keep the output's pace in mind, and see who takes the place of the one on air."""
        now = self._loop.time()
        if intake is self._on_air:
            self._on_air = None
            self._election.lost(now, cause, flowed=self._timeline.on_air)
            self._moved_at = intake.moved_at or self._moved_at
            if self._slate is not None and not (self.finished or self._closing):
                self._slate.lost()
                self._loop.call_later(RESORT_AFTER, self._elect)
            if self._lost_at is None:
                self._lost_at = now
                self._keep_pace(now)
        self._elect()
        if self._on_air is None and (lead := self.lead) is not None and lead < -MOST_LAG:
            self._timeline.hold(self._due() or 0.0)

    def _elect(self) -> None:
        alone = len(self._intakes) == 1 and self._on_air is not self._slate
        if self._closing or self.finished or (self._on_air is not None and alone):
            return
        now, flows = self._loop.time(), self._flows
        if flows:
            self._keep_pace(now)
        lead = self.lead
        candidates = self._candidates()
        standings = [one.standing(lead) for one in candidates.values()]
        self._call_stand_ins(standings)
        bound = over = False
        if isinstance(self._on_air, Intake) and self._on_air.stands_in:
            over = self._on_air.is_over(awaited=any(True for _ in self.returning))
            bound = not over
        chosen = self._election.choose(now, standings, flows=flows, bound=bound, over=over)
        if chosen is not None:
            self._put_on_air(candidates[chosen[0]], chosen[1], lead)

    def _call_stand_ins(self, standings: Sequence[Standing]) -> None:
        """Have files played that stand in, while all that is preferred to them is gone."""
        gone = True
        for intake, standing in zip(self._intakes.values(), standings, strict=False):
            if intake.stands_in and intake is not self._on_air:
                intake.need(gone)
            gone = gone and standing.failed

    @property
    def _flows(self) -> bool:
        """Whether the source on air is being sent."""
        return self._on_air is not None and self._timeline.on_air

    def _keep_pace(self, now: float) -> None:
        if (end := self._timeline.end) is not None:
            self._pace.follow(now, end)

    def _candidates(self) -> dict[str, Candidate]:
        """In order of preference."""
        candidates: dict[str, Candidate] = {**self._intakes}
        if self._slate is not None:
            candidates[self._slate.id] = self._slate
        return candidates

    def _put_on_air(self, chosen: Candidate, cause: Cause, lead: float | None) -> None:
        if self._on_air is not None:
            self._moved_at = self._on_air.moved_at or self._moved_at
            self._on_air.stand_by()
        entries = chosen.go_on_air(lead)
        self._timeline.switch(chosen.clocks)
        self._pace.splice()
        self._on_air = chosen
        self.switches.drop()
        self.on_air_since = self._loop.time()
        for entry in entries:
            self.push(*entry)
        self._stream.flush()  # the audience has waited long enough: not for the next tick, too
        self.switches.begin(chosen.id, cause, self._moved_at)
        self._tell_switch()

    def _tell_switch(self) -> None:
        if self.switches.is_pending and self._timeline.on_air:
            self.switches.tell(self._loop.time(), self.lead)

    # -- sinks

    def _sink_connected(self, sink: Supervisor, connection: Connection, receiver: Receiver) -> None:
        sink.connected(connection)
        self._receivers[sink] = receiver

    def _begin_anew(self, reason: str) -> None:
        """What comes next cannot follow on the same connection; all its headers come with it."""
        self._break(reason)
        self._stream.forget()

    def _break(self, reason: str) -> None:
        """Have every sink connect anew."""
        self._pump.flush()
        for receiver in list(self._stream.receivers):
            self._stream.remove(receiver)
        self._on_event("sink.reconnect", f"the destination is connected anew: {reason}")
        for sink in self.sinks.values():
            sink.reconnect()

    # -- a few times a second

    def sample(self) -> None:
        """Measure rates and progress, find stalls, keep the sinks alive while there is no source."""
        now = self._loop.time()
        for intake in self._intakes.values():
            intake.sample()
        if self._slate is not None:
            self._slate.sample()
        self._elect()
        flows = self._flows
        for sink in self.sinks.values():
            self._sample_sink(sink, self._sampled_at)
            if flows:
                sink.want(True)
        self._sampled_at = now
        if flows:
            self._keep_pace(now)
        if (self._timeline.end or 0) > self._span * 1000:
            self._break(f"its clock has run for {self._span / 86400:.3g} days")
            self._timeline.rewind()
            self._pace.forget()
        if self._lost_at is None:
            return
        if now - self._lost_at > self._hold and not (self._slate is not None and self._slate.is_coming):
            self._lost_at = None
            self._pace.forget()
            self._on_event("sink.left", f"no source for {self._hold:g} s: the destination is left until there is one")
            for sink in self.sinks.values():
                sink.want(False)
        elif not flows:
            self._timeline.hold(self._pace.due(now) or 0.0)

    def _sample_sink(self, sink: Supervisor, since: float) -> None:
        """Measure a sink. What has moved did so at `since` or later, which is long ago if this process stood still."""
        moved = sink.measure()
        if isinstance(self._on_air, Intake):
            sink.meter.codecs = self._on_air.supervisor.meter.codecs
        receiver = self._receivers.get(sink)
        if receiver is not None and receiver.joined and moved and sink.meter.advance(receiver.timestamp):
            sink.progressed(since)
