"""The streams that live in the hub: one publisher each, any number of players."""

import asyncio
import ipaddress
from collections.abc import Callable

import msgspec

from penstock.media.framing import Framing
from penstock.media.meter import Meter
from penstock.media.packet import AUDIO, VIDEO, kind_of
from penstock.media.pump import Connection, Pump
from penstock.media.stream import Stream

#: (application, stream name)
Name = tuple[str, str]


class StreamInfo(msgspec.Struct, frozen=True, kw_only=True):
    """What the hub says of one stream. Times are Unix milliseconds."""

    app: str
    stream: str
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

    def __init__(self, pump: Pump, now: int) -> None:
        self.since = now
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
            app=name[0],
            stream=name[1],
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

    def publish(self, name: Name) -> Publication | None:
        """Begin a stream; None if it has a publisher already."""
        if name in self._live:
            return None
        publication = self._live[name] = Publication(self._pump, self._clock())
        for waiting in self._arrivals.pop(name, []):
            if not waiting.done():
                waiting.set_result(publication)
        return publication

    def unpublish(self, name: Name) -> None:
        """Forget a stream."""
        self._live.pop(name, None)

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


def is_loopback(address: str) -> bool:
    """Whether a peer's address is this machine's own."""
    found = ipaddress.ip_address(address.split("%", maxsplit=1)[0])
    mapped = found.ipv4_mapped if isinstance(found, ipaddress.IPv6Address) else None
    return (mapped or found).is_loopback
