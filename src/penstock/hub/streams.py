"""The streams that live in the hub: one publisher each, any number of players."""

import asyncio
from collections.abc import Callable
from typing import NamedTuple

import msgspec

from penstock.media.framing import Framing
from penstock.media.meter import Meter
from penstock.media.packet import AUDIO, VIDEO, kind_of
from penstock.media.pump import Connection, Pump
from penstock.media.stream import Stream
from penstock.tasks.publishing import Ticket


class Name(NamedTuple):
    """Streams of different accounts are different streams."""

    account_id: int
    app: str
    stream: str


class StreamInfo(msgspec.Struct, frozen=True, kw_only=True):
    """What the hub says of one stream. Times are Unix milliseconds."""

    account_id: int
    app: str
    stream: str
    #: Key of the task that publishes it; None: an encoder does.
    task_key: int | None
    #: The publisher's address.
    client: str
    since: int
    bytes: int
    #: Bits per second over the last two seconds.
    bitrate: int
    media_ms: int
    video: int
    audio: int
    keyframes: int
    #: FFmpeg's names; empty: not seen.
    video_codec: str
    audio_codec: str
    players: int
    #: Messages that slow players lost.
    dropped: int


class Publication:
    """A stream while its publisher is here."""

    def __init__(self, pump: Pump, now: int, client: str = "", ticket: Ticket | None = None) -> None:
        self.since = now
        self.client = client
        #: Whose run publishes; None: an encoder does.
        self.ticket = ticket
        self.stream = Stream(pump, keep_gop=True)
        self.meter = Meter()
        self.publisher: Connection | None = None
        self._dropped = 0
        #: What to tell players in their framing, once the publisher has left.
        self._farewell: Callable[[Framing], bytes] | None = None

    def take(self, type_: int, timestamp: int, payload: bytes) -> None:
        """Take one message of the publisher."""
        kind = kind_of(type_, payload)
        self.meter.count(type_, timestamp, payload, kind)
        self.stream.push(type_, timestamp, payload, kind)

    async def play(self, connection: Connection, framing: Framing) -> None:
        """Let a player take the stream until it leaves or the publisher does."""
        meter = Meter()
        receiver = self.stream.add(connection, framing, meter)
        self._dismiss()
        try:
            await connection.wait_closed()
        finally:
            self.stream.remove(receiver)
            self._dropped += meter.dropped

    def yields_to(self, ticket: Ticket | None) -> bool:
        """Whether a later run of the same task wants to publish: this one's worker is dead, or will be told."""
        mine = self.ticket
        return bool(mine and ticket and ticket.task_key == mine.task_key and ticket.epoch > mine.epoch)

    def end(self, farewell: Callable[[Framing], bytes]) -> None:
        """The publisher has left: tell the players, in their own framing, and let them go."""
        self._farewell = farewell
        self.stream.flush()
        self._dismiss()

    def _dismiss(self) -> None:
        if self._farewell is not None:
            for receiver in self.stream.receivers:
                receiver.connection.send(self._farewell(receiver.framing))
                receiver.connection.finish()

    def measure(self, now: float) -> None:
        """Bring the byte count up to date; `now` is the loop's time."""
        if self.publisher is not None:
            self.meter.bytes = self.publisher.received
        self.meter.sample(now)

    def info(self, name: Name) -> StreamInfo:
        """Return what is measured."""
        meter = self.meter
        return StreamInfo(
            account_id=name.account_id,
            app=name.app,
            stream=name.stream,
            task_key=self.ticket.task_key if self.ticket else None,
            client=self.client,
            since=self.since,
            bytes=meter.bytes,
            bitrate=meter.bitrate,
            media_ms=meter.media_ms,
            video=meter.video,
            audio=meter.audio,
            keyframes=meter.keyframes,
            video_codec=meter.codecs[VIDEO],
            audio_codec=meter.codecs[AUDIO],
            players=len(self.stream.receivers),
            dropped=self._dropped + sum(r.meter.dropped for r in self.stream.receivers),
        )


class Streams:
    """All streams of the hub by name."""

    def __init__(self, pump: Pump, clock: Callable[[], int]) -> None:
        self._pump = pump
        self._clock = clock
        self._live: dict[Name, Publication] = {}
        self._arrivals: dict[Name, list[asyncio.Future[Publication]]] = {}

    def publish(self, name: Name, client: str = "", ticket: Ticket | None = None) -> Publication | None:
        """Begin a stream; None if it has a publisher already, unless that one has to yield to this `ticket`."""
        before = self._live.get(name)
        if before is not None:
            if not before.yields_to(ticket):
                return None
            if before.publisher is not None:
                before.publisher.close("a later run of its task has taken over")
        publication = self._live[name] = Publication(self._pump, self._clock(), client, ticket)
        for waiting in self._arrivals.pop(name, []):
            if not waiting.done():
                waiting.set_result(publication)
        return publication

    def unpublish(self, name: Name, publication: Publication) -> None:
        """Forget a stream, unless it is another publisher's by now."""
        if self._live.get(name) is publication:
            del self._live[name]

    def end(self, farewell: Callable[[Framing], bytes]) -> None:
        """End every stream, as if all publishers left."""
        for publication in self._live.values():
            publication.end(farewell)

    def find(self, name: Name) -> Publication | None:
        """Return the stream if it is live."""
        return self._live.get(name)

    async def wait_for(self, name: Name, patience: float) -> Publication | None:
        """Return the stream, or None if nobody publishes it within `patience` seconds."""
        if (found := self._live.get(name)) is not None:
            return found
        arrival: asyncio.Future[Publication] = asyncio.get_running_loop().create_future()
        self._arrivals.setdefault(name, []).append(arrival)
        try:
            return await asyncio.wait_for(arrival, patience)
        except TimeoutError:
            return None
        finally:
            waiting = self._arrivals.get(name, [])
            if arrival in waiting:
                waiting.remove(arrival)
            if not waiting:
                self._arrivals.pop(name, None)

    def measure(self, now: float) -> None:
        """Measure every stream; to be called about once a second."""
        for publication in self._live.values():
            publication.measure(now)

    def infos(self) -> list[StreamInfo]:
        """Return what is measured of every stream."""
        return [publication.info(name) for name, publication in sorted(self._live.items())]
