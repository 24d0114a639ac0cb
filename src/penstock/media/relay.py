"""One running plan: its sources feed a Timeline, the Timeline a Stream, the Stream its sinks."""

import asyncio
import random
from collections.abc import Sequence
from functools import partial

from penstock.media.cadence import Cadence
from penstock.media.lane import Lane
from penstock.media.pace import LOOK_EVERY, Arrival, Pace
from penstock.media.packet import Kind, kind_of
from penstock.media.plan import Plan, Playlist, Sink, Source
from penstock.media.pump import Connection, Pump
from penstock.media.rtmp.chunk import ChunkReader
from penstock.media.stream import Receiver, Stream
from penstock.media.supervisor import NodeState, Supervisor
from penstock.media.timeline import Timeline
from penstock.media.transport import OnEvent, Transports

#: A connection's timestamps end before 2^32 ms, where some servers let go of their readers (seconds).
SPAN = 40 * 86400.0
#: A server that agreed to play has so long to send its first media (seconds).
FIRST_MEDIA = 10.0
#: A sink delivers if its socket took bytes and media time advanced within so many seconds.
ACTIVE = 3.0
#: A stall that is no farther off than this is awaited by a timer, so that it is found in time; more than the time
#: between two samples (seconds).
LOOK_AHEAD = 0.35


class Relay:
    """Runs one plan until it is closed. `hold` is how long (seconds) sinks stay connected without a source, `stall`
    how long a source may be silent (0: as its own rhythm says), `span` how long one connection of a sink may last.

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
        span: float = SPAN,
        rng: random.Random,
        on_event: OnEvent,
    ) -> None:
        self._transports = transports
        self._pump = pump
        self._hold = hold
        self._stall = stall
        self._span = span
        self._cadence = Cadence()
        self._watchdog: asyncio.TimerHandle | None = None
        self._rng = rng
        self._on_event = on_event
        self._loop = asyncio.get_running_loop()
        self._sampled_at = self._loop.time()
        self._stream = Stream(pump)
        self._timeline = Timeline(self._stream.push, on_break=self._begin_anew)
        self._plan = plan
        self._pace = Pace()
        #: When the source went.
        self._lost_at: float | None = None
        #: Of a source that follows another, until it is clear where to begin with it.
        self._arrival: Arrival | None = None
        self._feeding: Supervisor | None = None
        self.source = self._source(plan.sources[0])
        self.sinks = {sink.id: self._sink(sink) for sink in plan.sinks}
        self._receivers: dict[Supervisor, Receiver] = {}

    def apply(self, plan: Plan) -> list[Supervisor]:
        """Make the running graph equal `plan`. Nodes that are equal are not touched. Returns those to be closed."""
        old, self._plan = self._plan, plan
        restart = plan.generation != old.generation
        closing: list[Supervisor] = []
        if restart or plan.sources[0] != old.sources[0]:
            closing.append(self.source)
            self.source = self._source(plan.sources[0])
        wanted = {sink.id: sink for sink in plan.sinks}
        had = {sink.id: sink for sink in old.sinks}
        changed = [sink_id for sink_id in self.sinks if restart or wanted.get(sink_id) != had.get(sink_id)]
        closing += [self.sinks.pop(sink_id) for sink_id in changed]
        for sink_id, sink in wanted.items():
            if sink_id not in self.sinks:
                self.sinks[sink_id] = self._sink(sink)
                self.sinks[sink_id].want(self._feeding is not None or self._lost_at is not None)
        return closing

    @property
    def failing(self) -> bool:
        """Whether nothing can be delivered: the source failed, or all sinks did, and has not recovered."""
        return bool(self.source.error or all(sink.error for sink in self.sinks.values()))

    def is_delivering(self) -> bool:
        """Whether a sink delivers."""
        return any(map(self.delivers, self.sinks.values()))

    def delivers(self, sink: Supervisor) -> bool:
        """Whether the sink's socket took bytes and media time advanced within the last 3 s."""
        at = sink.meter.progress_at
        return at is not None and self._loop.time() - at <= ACTIVE

    @property
    def nodes(self) -> Sequence[Supervisor]:
        """All that connects: the source, then the sinks."""
        return [self.source, *self.sinks.values()]

    async def close(self) -> None:
        """End everything in order: sinks unpublish."""
        if self._watchdog is not None:
            self._watchdog.cancel()
        await asyncio.gather(self.source.close(), *(sink.close() for sink in self.sinks.values()))

    # -- building

    def _source(self, node: Source | Playlist) -> Supervisor:
        async def run(supervisor: Supervisor) -> None:
            leaf = self._transports.source(node, self._on_event)
            try:
                await leaf.run(partial(self._source_connected, supervisor), partial(self._take, supervisor))
            finally:
                self._source_gone(supervisor)

        supervisor = Supervisor(node.id, "source", node.url, run, rng=self._rng, on_event=self._on_event)
        supervisor.want(True)
        return supervisor

    def _sink(self, node: Sink) -> Supervisor:
        async def run(supervisor: Supervisor) -> None:
            leaf = self._transports.sink(node)
            try:
                await leaf.run(partial(self._sink_connected, supervisor), self._stream, supervisor.meter)
            finally:
                self._receivers.pop(supervisor, None)

        return Supervisor(node.id, "sink", node.url, run, rng=self._rng, on_event=self._on_event)

    # -- media

    def _source_connected(self, source: Supervisor, connection: Connection) -> None:
        source.connected(connection)
        self._cadence.begin()
        self._feeding = source
        self._timeline.switch()
        self._arrival = None
        if self._pace.due(self._loop.time()) is not None:
            self._arrival = Arrival()
            self._loop.call_later(LOOK_EVERY, self._admit, self._arrival)
        self._open_lane(source, connection)
        for sink in self.sinks.values():
            sink.want(True)

    def _open_lane(self, source: Supervisor, connection: Connection) -> None:
        if not isinstance(connection.reader, ChunkReader):
            return
        lane = Lane(
            connection.reader,
            self._timeline,
            self._stream,
            source.meter,
            open_=lambda: source is self._feeding and self._lost_at is None,
            progressed=partial(self._progressed, source),
        )
        connection.shortcut = lane.run

    def _take(self, source: Supervisor, type_: int, timestamp: int, payload: bytes) -> None:
        kind = kind_of(type_, payload)
        if source.meter.count(type_, timestamp, payload, kind):
            self._progressed(source)
        if source is self._feeding:
            if self._arrival is not None:
                self._arrival.take(type_, timestamp, payload, kind)
            else:
                self._push(type_, timestamp, payload, kind)

    def _push(self, type_: int, timestamp: int, payload: bytes, kind: Kind) -> None:
        self._timeline.push(type_, timestamp, payload, kind)
        if self._lost_at is not None and self._timeline.on_air:
            self._lost_at = None

    def _admit(self, arrival: Arrival) -> None:
        """Begin with a source that follows another, if it is still the same, once its server has sent what it kept."""
        if arrival is not self._arrival:
            return
        if not arrival.is_over():
            self._loop.call_later(LOOK_EVERY, self._admit, arrival)
            return
        self._arrival = None
        due, end = self._pace.due(self._loop.time()), self._timeline.end
        start = 0 if due is None or end is None else arrival.entrance(end - due)
        for at, message in enumerate(arrival.messages):
            if at >= start or message[3] in (Kind.HEADER, Kind.METADATA):
                self._push(*message)

    def _progressed(self, source: Supervisor) -> None:
        source.progressed()
        if source is self._feeding and source.meter.progress_at is not None:
            self._cadence.moved(source.meter.progress_at)

    def _watch(self, source: Supervisor) -> None:
        """Break the source's connection when it has stalled; if it may before the next sample, look again just then."""
        if self._watchdog is not None:
            self._watchdog.cancel()
        if source is not self.source or source.connection is None:
            return
        flowing = source.state is NodeState.FLOWING
        limit = (self._stall or self._cadence.limit) if flowing else FIRST_MEDIA
        left = limit - source.silent_for
        if left > 0:
            if left < LOOK_AHEAD:
                self._watchdog = self._loop.call_later(left, self._watch, source)
        elif flowing:
            source.fail(f"no media for {limit:.2g} s")
        else:
            source.fail(f"connected, but no media within {limit:g} s")

    def _source_gone(self, source: Supervisor) -> None:
        if source is self._feeding:
            self._feeding = self._arrival = None
            if self._lost_at is None:
                self._lost_at = now = self._loop.time()
                if (end := self._timeline.end) is not None:
                    self._pace.follow(now, end)

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
        self.source.measure()
        self._watch(self.source)
        for sink in self.sinks.values():
            self._sample_sink(sink, self._sampled_at)
            if self._feeding is not None and self._timeline.on_air:
                sink.want(True)
        self._sampled_at = now
        end = self._timeline.end
        if end is not None and self._timeline.on_air and self._feeding is not None:
            self._pace.follow(now, end)
        if (end or 0) > self._span * 1000:
            self._break(f"its clock has run for {self._span / 86400:.3g} days")
            self._timeline.rewind()
            self._pace.forget()
        if self._lost_at is None:
            return
        if now - self._lost_at > self._hold:
            self._lost_at = None
            self._pace.forget()
            self._on_event("sink.left", f"no source for {self._hold:g} s: the destination is left until there is one")
            for sink in self.sinks.values():
                sink.want(False)
        elif not self._timeline.on_air or self._feeding is None:
            self._timeline.hold(self._pace.due(now) or 0.0)

    def _sample_sink(self, sink: Supervisor, since: float) -> None:
        """Measure a sink. What has moved did so at `since` or later, which is long ago if this process stood still."""
        moved = sink.measure()
        sink.meter.codecs = self.source.meter.codecs
        receiver = self._receivers.get(sink)
        if receiver is not None and receiver.joined and moved and sink.meter.advance(receiver.timestamp):
            sink.progressed(since)
