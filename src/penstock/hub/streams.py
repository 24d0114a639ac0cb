"""The streams that live in the hub: one publisher each, any number of players."""

import asyncio
from collections.abc import Callable
from typing import NamedTuple

from penstock.media.framing import Framing, rtmp_play
from penstock.media.meter import Meter
from penstock.media.packet import AUDIO, VIDEO, kind_of
from penstock.media.pump import Connection, Pump
from penstock.media.stream import Receiver, Stream
from penstock.tasks.model import HubStatus, PlayerInfo, StreamInfo
from penstock.tasks.publishing import Ticket


class Name(NamedTuple):
    """Streams of different accounts are different streams."""

    account_id: int
    app: str
    stream: str


class Totals:
    """What all streams of the hub have carried together; it only grows."""

    __slots__ = ("dropped", "received", "sent")

    def __init__(self) -> None:
        #: Bytes from publishers, and to players.
        self.received = 0
        self.sent = 0
        #: Messages that slow players lost.
        self.dropped = 0


class Player:
    """One who plays a stream."""

    __slots__ = ("_dropped", "client", "receiver", "since")

    def __init__(self, receiver: Receiver, client: str, now: int) -> None:
        self.receiver = receiver
        self.client = client
        self.since = now
        #: Losses that the totals have.
        self._dropped = 0

    def measure(self, now: float, totals: Totals) -> int:
        """Bring its figures and the totals up to date; return what it lost since the last time."""
        meter, sent = self.receiver.meter, self.receiver.connection.sent
        lost = meter.dropped - self._dropped
        totals.sent += sent - meter.bytes
        totals.dropped += lost
        self._dropped, meter.bytes = meter.dropped, sent
        meter.sample(now)
        return lost

    def info(self) -> PlayerInfo:
        """Return what is measured."""
        meter = self.receiver.meter
        return PlayerInfo(
            client=self.client,
            protocol="rtmp" if self.receiver.framing is rtmp_play else "http-flv",
            since=self.since,
            bytes=meter.bytes,
            bitrate=meter.bitrate,
            dropped=meter.dropped,
        )


class Publication:
    """A stream while its publisher is here."""

    def __init__(
        self,
        pump: Pump,
        clock: Callable[[], int],
        totals: Totals,
        name: Name,
        client: str = "",
        ticket: Ticket | None = None,
    ) -> None:
        self._clock = clock
        self._totals = totals
        self.name = name
        self.since = clock()
        self.client = client
        #: Whose run publishes; None: an encoder does.
        self.ticket = ticket
        self.stream = Stream(pump, keep_gop=True)
        self.meter = Meter()
        self.publisher: Connection | None = None
        self._players: list[Player] = []
        self._dropped = 0
        #: What to tell players in their framing, once the publisher has left.
        self._farewell: Callable[[Framing], bytes] | None = None

    def take(self, type_: int, timestamp: int, payload: bytes) -> None:
        """Take one message of the publisher."""
        kind = kind_of(type_, payload)
        self.meter.count(type_, timestamp, payload, kind)
        self.stream.push(type_, timestamp, payload, kind)

    async def play(self, connection: Connection, framing: Framing, client: str = "") -> None:
        """Let a player take the stream until it leaves or the publisher does."""
        player = Player(self.stream.add(connection, framing, Meter()), client, self._clock())
        self._players.append(player)
        self._dismiss()
        try:
            await connection.wait_closed()
        finally:
            self.stream.remove(player.receiver)
            self._players.remove(player)
            self._dropped += player.measure(asyncio.get_running_loop().time(), self._totals)

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
        """Bring all figures and the totals up to date; `now` is the loop's time."""
        if self.publisher is not None:
            self._totals.received += self.publisher.received - self.meter.bytes
            self.meter.bytes = self.publisher.received
        self.meter.sample(now)
        self._dropped += sum(player.measure(now, self._totals) for player in self._players)

    def info(self) -> StreamInfo:
        """Return what is measured."""
        meter = self.meter
        return StreamInfo(
            account_id=self.name.account_id,
            app=self.name.app,
            stream=self.name.stream,
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
            dropped=self._dropped,
            players=tuple(player.info() for player in self._players),
        )


class Streams:
    """All streams of the hub by name."""

    def __init__(self, pump: Pump, clock: Callable[[], int]) -> None:
        self._pump = pump
        self._clock = clock
        self._totals = Totals()
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
        publication = Publication(self._pump, self._clock, self._totals, name, client, ticket)
        self._arrive(name, publication)
        return publication

    def unpublish(self, publication: Publication) -> None:
        """Forget a stream whose publisher has left, unless it is another publisher's by now."""
        publication.measure(asyncio.get_running_loop().time())
        if self._live.get(publication.name) is publication:
            del self._live[publication.name]

    def adopt(self, account_id: int) -> None:
        """Give the streams that began before there was any account to the first one."""
        for name in [name for name in self._live if not name.account_id]:
            heir = name._replace(account_id=account_id)
            if heir not in self._live:
                self._arrive(heir, self._live.pop(name))

    def _arrive(self, name: Name, publication: Publication) -> None:
        publication.name = name
        self._live[name] = publication
        for waiting in self._arrivals.pop(name, []):
            if not waiting.done():
                waiting.set_result(publication)

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

    def status(self) -> HubStatus:
        """Return what was measured last."""
        return HubStatus(
            streams=tuple(self._live[name].info() for name in sorted(self._live)),
            received=self._totals.received,
            sent=self._totals.sent,
            dropped=self._totals.dropped,
        )
