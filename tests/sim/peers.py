"""RTMP servers of the simulated network: origins that are played from, ingests that are published to."""

import asyncio
import errno
import math
import random
from collections.abc import Callable
from functools import cache
from typing import Protocol

from tests.rtmp_wire import AUDIO, COMMAND, VIDEO, Message, Writer, amf
from tests.sim.clockwork import Loop
from tests.sim.encoder import TRICKLE, Encoder, Format, any_format, other_format
from tests.sim.network import Peer, Socket

_HELLO = b"\3" + bytes(3072)
_CONTROL, _USER_CONTROL = 2, 4


@cache
def _result(transaction: float) -> bytes:
    return Writer().write(Message(COMMAND, 0, amf("_result", transaction, None, 1.0)))


@cache
def _status(level: str, code: str, description: str = "") -> bytes:
    info = {"level": level, "code": code, "description": description}
    return Writer().write(Message(COMMAND, 0, amf("onStatus", 0.0, None, info), stream_id=1))


def _set_chunk_size(size: int) -> bytes:
    return Writer().write(Message(1, 0, size.to_bytes(4, "big"), csid=2))


class ChunkParser:
    """Messages out of what the product sends, at speed: it relies on what the tests of the codec prove."""

    def __init__(self) -> None:
        self.chunk_size = 128
        self._rest = b""
        #: By chunk stream: time, length, type, field.
        self._streams: dict[int, list[int]] = {}

    def feed(self, data: bytes) -> list[tuple[int, int, bytes]]:
        """(type, time, payload) of each message that is complete."""
        messages = []
        buffer = self._rest + data if self._rest else data
        at, end = 0, len(buffer)
        while at < end:
            begin = at
            first = buffer[at]
            fmt, csid = first >> 6, first & 63
            at += 1
            size = (11, 7, 3, 0)[fmt]
            if at + size > end:
                at = begin
                break
            stream = self._streams.setdefault(csid, [0, 0, 0, 0])
            time, length, type_, field = stream
            if fmt < 3:
                field = int.from_bytes(buffer[at : at + 3], "big")
            if fmt < 2:
                length = int.from_bytes(buffer[at + 3 : at + 6], "big")
                type_ = buffer[at + 6]
            at += size
            extended = field >= 0xFFFFFF
            if extended:
                if at + 4 > end:
                    at = begin
                    break
                field = int.from_bytes(buffer[at : at + 4], "big")
                at += 4
            time = field if fmt == 0 else (time + field) & 0xFFFFFFFF
            if length <= self.chunk_size:
                after = at + length
                payload = buffer[at:after]
            else:
                skip = 5 if extended else 1
                pieces, left = [], length
                after = at
                while True:
                    piece = min(left, self.chunk_size)
                    pieces.append(buffer[after : after + piece])
                    after += piece
                    left -= piece
                    if not left:
                        break
                    after += skip
                payload = b"".join(pieces)
            if after > end:
                at = begin
                break
            at = after
            stream[:] = time, length, type_, field
            if type_ == 1:
                self.chunk_size = int.from_bytes(payload, "big")
            messages.append((type_, time, payload))
        self._rest = buffer[at:]
        return messages


class Session(Peer):
    """A server's side of one connection."""

    def __init__(self, host: "Host", sock: Socket) -> None:
        self.sock = sock
        self._mute = host.mode == "mute"
        self._refuses = host.mode == "reject"
        self.alive = True
        self.name = ""
        self._handshaken = 0
        self.parser = ChunkParser()

    def took(self, data: bytes) -> None:
        if self._mute:
            return
        if self._handshaken < 2:
            self._handshaken += 1
            if self._handshaken == 1:
                self.sock.arrive(_HELLO)
            return
        for message in self.parser.feed(data):
            if message[0] == COMMAND:
                self._command(message[2])
            else:
                self.media(*message)

    def _command(self, payload: bytes) -> None:
        size = payload[2]
        name = payload[3 : 3 + size].decode()
        if name in ("connect", "createStream"):
            self.sock.arrive(_result({"connect": 1.0}.get(name) or self._stream_transaction))
        elif name in ("play", "publish"):
            at = 3 + size + 9 + 1
            length = int.from_bytes(payload[at + 1 : at + 3], "big")
            self.name = payload[at + 3 : at + 3 + length].decode()
            if self._refuses:
                self.sock.arrive(_status("error", f"NetStream.{name.title()}.Failed", f"no {self.name} here"))
            else:
                self.sock.arrive(_status("status", f"NetStream.{name.title()}.Start"))
                self.begin()
        elif name in ("FCUnpublish", "deleteStream"):
            self.unpublished()

    _stream_transaction = 2.0

    def begin(self) -> None:
        """Playing or publishing begins."""

    def media(self, type_: int, time: int, payload: bytes) -> None:
        """The client sent something else than a command."""

    def unpublished(self) -> None:
        """The client says goodbye."""

    def finished(self) -> None:
        if self.alive:
            self.close()

    def gone(self) -> None:
        self.alive = False

    def close(self, error: int | None = None) -> None:
        """End the connection from this side."""
        self.alive = False
        self.sock.end(error)


class Host:
    """What may be wrong with a server."""

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        #: ``up``, ``refuse``, ``hang`` (no answer to a connection), ``mute`` (none to a command), ``reject``.
        self.mode = "up"

    async def admit(self) -> None:
        """Let a connection in, or not."""
        if self.mode == "refuse":
            raise ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused")
        if self.mode == "hang":
            await asyncio.Event().wait()


class Viewer(Session):
    """The product plays from here."""

    def __init__(self, origin: "Origin", sock: Socket) -> None:
        super().__init__(origin, sock)
        self._origin = origin
        self.playing = False
        #: The kinds that it has got since it plays, and how many pictures of the format that is sent now.
        self.got: set[int] = set()
        self.pictures = 0

    @property
    def knows_the_relation(self) -> bool:
        """Whether it can tell how sound and picture belong together: both, and how long a picture is shown."""
        return self.got == {VIDEO, AUDIO} and self.pictures > 1

    def begin(self) -> None:
        origin = self._origin
        self.sock.arrive(_set_chunk_size(origin.chunk_size))
        if not origin.published:
            return
        self.playing = True
        origin.realign()
        self.sock.arrive(origin.encoder.headers())
        if origin.keeps_gop:
            self.sock.arrive(bytes(origin.encoder.gop))
        origin.viewers.append(self)

    def gone(self) -> None:
        super().gone()
        if self in self._origin.viewers:
            self._origin.viewers.remove(self)

    def close(self, error: int | None = None) -> None:
        super().close(error)
        self.gone()


#: Where an encoder's clock begins, in ms: most at 0, some shortly before their timestamps get longer, turn negative for
#: careless readers, or wrap.
_BASES = [0, 0, 0, 0, 5, 900_000, 2**24 - 20_000, 2**31 - 30_000, 2**32 - 20_000]
#: Bytes that an origin keeps for one player that does not read.
_PLAYER_QUEUE = 1 << 20


class Origin(Host):
    """A server with one live stream."""

    def __init__(self, loop: Loop, rng: random.Random, form: Format, *, number: Callable[[Encoder], int]) -> None:
        super().__init__(loop)
        self._rng = rng
        self._number = number
        self.published = True
        self.stalled = False
        self.keeps_gop = rng.random() < 0.5
        self.chunk_size = rng.choice([4096, 4096, 60000, 60000, 65536, 4095])
        self.every = 1.0 if form == TRICKLE else rng.choice([0.04, 0.1, 0.25])
        #: By how much later than that it may come, at random.
        self.jitter = 0.0
        self.viewers: list[Viewer] = []
        self.encoder = self._encode(form, rng.choice(_BASES))
        loop.call_later(rng.random() * self.every, self._tick)

    def _encode(self, form: Format, base: int) -> Encoder:
        encoder = Encoder(0, form, now=self._loop.time(), base=base)
        encoder.number = self._number(encoder)
        return encoder

    async def accept(self, sock: Socket) -> None:
        await self.admit()
        sock.peer = Viewer(self, sock)

    def _tick(self) -> None:
        late = self._rng.random() * self.jitter if self.jitter else 0.0
        self._loop.call_later(self.every + late, self._tick)
        self._flow()

    def _flow(self) -> None:
        """Give all players what the encoder has made."""
        before = self.encoder.pictures
        data = self.encoder.produce(self._loop.time())
        if not (self.published and data):
            return
        if self.stalled:
            self.encoder.lose()
            return
        self.encoder.arrive()
        for viewer in list(self.viewers):
            viewer.got |= self.encoder.kinds
            viewer.pictures += self.encoder.pictures - before
            viewer.sock.arrive(data)
            if viewer.sock.unread > _PLAYER_QUEUE:
                viewer.close(errno.ECONNRESET)

    # -- faults

    def jump(self, ms: int, kinds: tuple[int, ...]) -> None:
        """Move the clock of these kinds; one alone only if all players know how the two belong together."""
        self._flow()
        if len(kinds) == 2 or all(viewer.knows_the_relation for viewer in self.viewers):
            self.encoder.move(ms, kinds)

    def realign(self) -> None:
        """Bring the clocks of sound and picture together again: what connects anew is not to begin with them apart."""
        encoder, form = self.encoder, self.encoder.form
        drifted_at = encoder.cuts[-1] if encoder.doubt and encoder.cuts else -math.inf
        in_gop = encoder.true_time - drifted_at <= form.gop * form.frame
        if encoder.base[AUDIO] != encoder.base[VIDEO] + form.skew or in_gop:
            self.change(form)

    def change(self, form: Format | None = None) -> None:
        """Go on in another format on the same connections."""
        self._flow()
        before = self.encoder
        self.encoder = self._encode(form or other_format(self._rng, before.form), before.clock)
        self.encoder.follow(before)
        if self.published:
            for viewer in self.viewers:
                viewer.pictures = 0
                viewer.sock.arrive(self.encoder.headers())  # also in a stall: a server loses media, but no header

    def republish(self) -> None:
        """Another publisher comes, players are kept or dropped."""
        self.drop()
        form = self.encoder.form if self.encoder.form == TRICKLE else any_format(self._rng)
        self.encoder = self._encode(form, self._rng.choice(_BASES))

    def drop(self, error: int | None = None) -> None:
        """Close all connections."""
        for viewer in list(self.viewers):
            viewer.close(error)

    def leave(self) -> None:
        """The publisher goes: players are told, and stay connected."""
        for viewer in self.viewers:
            viewer.sock.arrive(_status("status", "NetStream.Play.UnpublishNotify"))


class Watcher(Protocol):
    """Sees what an ingest gets."""

    def begins(self, publisher: "Publisher") -> None: ...
    def late(self, publisher: "Publisher") -> None: ...
    def takes(self, publisher: "Publisher", type_: int, time: int, payload: bytes) -> None: ...


class Publisher(Session):
    """The product publishes to here."""

    _stream_transaction = 4.0

    def __init__(self, ingest: "Ingest", sock: Socket) -> None:
        super().__init__(ingest, sock)
        self.ingest = ingest
        self.publishing = False
        self.reading_since = 0.0

    def begin(self) -> None:
        self.publishing = True
        self.ingest.watch.begins(self)

    def took(self, data: bytes) -> None:
        if not (self.alive and self.reading):
            self.ingest.watch.late(self)
        if self.alive:
            super().took(data)

    def media(self, type_: int, time: int, payload: bytes) -> None:
        if self.publishing and type_ > 7:
            self.ingest.watch.takes(self, type_, time, payload)

    def unpublished(self) -> None:
        self.publishing = False

    def gone(self) -> None:
        super().gone()
        self.publishing = False

    def close(self, error: int | None = None) -> None:
        super().close(error)
        self.gone()


class Ingest(Host):
    """A server that is published to."""

    def __init__(self, loop: Loop, watch: Watcher) -> None:
        super().__init__(loop)
        self.watch = watch
        self.publishers: list[Publisher] = []

    async def accept(self, sock: Socket) -> None:
        await self.admit()
        sock.peer = publisher = Publisher(self, sock)
        self.publishers = [one for one in self.publishers if one.alive]
        self.publishers.append(publisher)

    def drop(self, error: int | None = None) -> None:
        """Close all connections."""
        for publisher in self.publishers:
            if publisher.alive:
                publisher.close(error)

    def stop_reading(self, room: int) -> None:
        """Take no more than the system's buffer of `room` bytes."""
        for publisher in self.publishers:
            publisher.reading = False
            publisher.sock.room = room

    def read_again(self) -> None:
        for publisher in self.publishers:
            if not publisher.reading:
                publisher.reading, publisher.reading_since = True, self._loop.time()

    def vanish(self, room: int) -> None:
        """Be gone without a word: nothing is acknowledged, and the system gives up after 10 s."""
        self.stop_reading(room)
        for publisher in self.publishers:
            self._loop.call_later(10, self._give_up, publisher)

    def _give_up(self, publisher: Publisher) -> None:
        if publisher.alive and not publisher.reading:
            publisher.close(errno.ETIMEDOUT)
