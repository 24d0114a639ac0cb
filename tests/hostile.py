"""Peers that mean harm: valid sessions with a few bytes wrong, and the product's own code that takes them in.

No sockets: a session's bytes come from a list, in pieces cut anywhere, and what the product answers is thrown away.
What it holds of a peer is counted when the peer has nothing more to say.
"""

import random
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from typing import NamedTuple

from penstock.errors import MediaError
from penstock.hub.streams import Name, Publication, Totals
from penstock.media.flv import FlvChunks
from penstock.media.framing import flv_chunked, rtmp_play, rtmp_publish
from penstock.media.lane import Lane
from penstock.media.meter import Meter
from penstock.media.packet import AUDIO, VIDEO, kind_of
from penstock.media.pump import Connection, Flushable
from penstock.media.rtmp.chunk import ChunkReader
from penstock.media.rtmp.client import ClientSession
from penstock.media.rtmp.server import ServerSession
from penstock.media.rtmp.session import Closed, Session
from penstock.media.rtmp.transport import _dispatch_backlog, _end, _refused
from penstock.media.stream import Stream
from penstock.media.timeline import Timeline
from tests import rtmp_wire
from tests.packets import Clip, metadata
from tests.rtmp_wire import DATA, Message, Writer, amf, amf3, flv_file

HANDSHAKE = b"\3" + bytes(1536)
#: A session's messages, and the size of its chunks.
Recording = tuple[list[Message], int]
#: Makes bytes of them.
Write = Callable[[list[Message], int], bytes]
URL = "rtmp://host/live/test?key=1"


# -- valid sessions


def written(messages: list[Message], size: int) -> bytes:
    """Messages with the shortest headers, behind an announcement of the chunk size."""
    writer = Writer()
    data = writer.write(Message(1, 0, size.to_bytes(4, "big"), csid=2))
    writer.chunk_size = size
    return data + b"".join(b"".join(writer.chunks(m, writer.allowed(m)[-1])) for m in messages)


def media() -> list[list[Message]]:
    """Plain media; extended times; times that wrap; an aggregate, enhanced tags, several tracks, AMF3."""
    clip = Clip(seconds=0.6, b_frames=2, gop=5).messages()
    late = [Message(m.type, (m.timestamp + 0xFFFFF0) % 2**32, m.payload, 4 + m.type % 4) for m in clip]
    wrapping = [Message(m.type, (m.timestamp + 2**32 - 100) % 2**32, m.payload, 70) for m in clip]
    enhanced = [
        Message(15, 0, b"\0" + amf("onMetaData") + b"\x11" + amf3({"width": 640, "list": [1, "a", "a"]})),
        *(Message(9, at, payload, 6) for at, payload in enumerate(_ENHANCED)),
        *(Message(8, at, payload, 4) for at, payload in enumerate(_ENHANCED_SOUND)),
    ]
    return [clip, late, wrapping, [*enhanced, Message(22, 500, rtmp_wire.aggregate(clip))]]


_ENHANCED = [
    b"\x90hvc1" + bytes(20),
    b"\x96\x00hvc1\x01" + bytes(20),
    b"\xd4hvc1" + amf("colorInfo", {}),
    b"\x91hvc1\0\0\x28" + bytes(20),
    b"\x96\x01hvc1\x01\0\0\x28" + bytes(20),
    b"\xa7\x02\0\1\2\1hvc1\0\0\x28" + bytes(20),
    b"\xa6\x21av01\0\0\0\4abcdhvc1\1\0\0\4abcd",
]
_ENHANCED_SOUND = [b"\x90mp4a\x11\x90", b"\x95\0mp4a\1\x11\x90", b"\x94mp4a\1\2", b"\x91mp4aab", b"\x95\1mp4a\1ab"]
_CONTROL = [
    Message(5, 0, b"\0\0\1\0", csid=2),
    Message(6, 0, b"\0\x26\x25\xa0\2", csid=2),
    Message(4, 0, bytes.fromhex("0006 00000001"), csid=2),
]


def _status(code: str, level: str = "status") -> Message:
    return Message(20, 0, amf("onStatus", 0, None, {"level": level, "code": code, "description": "for test"}))


def publishers() -> list[Recording]:
    """What publishers send, after the handshake; one of them wraps its commands in AMF3."""
    offer = {"app": "live", "tcUrl": "rtmp://h/live", "fourCcList": ["hvc1"], "list": [1, None, True]}
    plain = [
        Message(20, 0, amf("connect", 1, offer)),
        *_CONTROL,
        Message(20, 0, amf("releaseStream", 2, None, "test?key=1")),
        Message(20, 0, amf("createStream", 4, None)),
        Message(20, 0, amf("publish", 5, None, "test?key=1", "live")),
        Message(18, 0, amf("@setDataFrame") + metadata(videocodecid=7.0)),
    ]
    wrapped = [Message(17, 0, b"\0" + amf("connect", 1) + b"\x11" + amf3(offer)), *plain[1:]]
    ends = [Message(20, 0, amf("FCUnpublish", 6, None, "test")), Message(20, 0, amf("deleteStream", 7, None, 1))]
    return [([*head, *clip, *ends], size) for head in (plain, wrapped) for clip, size in _sized()]


def servers(*codes: str) -> list[Recording]:
    """What servers send to those who play or publish, after the handshake; some send them away."""
    sent_on = {"code": "NetConnection.Connect.Rejected", "ex": {"code": 302, "redirect": "rtmp://other/live"}}
    granted = [
        *_CONTROL,
        Message(20, 0, amf("_result", 1, {"fmsVer": "FMS/3,0"}, {"code": "NetConnection.Connect.Success"})),
        *(Message(20, 0, amf("_result", transaction, None, 1)) for transaction in (2, 4)),
        Message(4, 0, bytes.fromhex("0000 00000001"), csid=2),
        *(_status(code) for code in codes),
    ]
    end = [Message(4, 0, bytes.fromhex("0001 00000001"), csid=2), _status("NetStream.Play.UnpublishNotify")]
    refused = [_CONTROL[0], Message(20, 0, amf("_error", 1, None, sent_on))]
    return [(refused, 128), *(([*granted, *clip, *end], size) for clip, size in _sized())]


def _sized() -> Iterator[tuple[list[Message], int]]:
    return zip(media(), (128, 60, 4096, 200), strict=True)


def damaged(sessions: list[Recording], write: Write, rng: random.Random, each: int = 100) -> list[bytes]:
    """The bytes of sessions, and of so many copies of each in which messages are damaged and chunks are not."""
    found = [write(*session) for session in sessions]
    for messages, size in sessions:
        others = [message.payload for message in messages]
        for _ in range(each):
            copy = list(messages)
            for at in rng.sample(range(len(copy)), 3 if len(copy) > 3 else 1):
                copy[at] = replace(copy[at], payload=mutated_once(copy[at].payload, others, rng))
            found.append(write(copy, size))
    return found


def flv(messages: list[Message], _size: int) -> bytes:
    """The same media as a file."""
    return flv_file(m for m in messages if m.type in (AUDIO, VIDEO, DATA))


def mutated(sessions: list[bytes], rng: random.Random, count: int) -> Iterator[bytes]:
    """Sessions with up to five mutations each, more of them near the beginning."""
    for _ in range(count):
        data = rng.choice(sessions)
        for _ in range(rng.randrange(6)):
            data = mutated_once(data, sessions, rng)
        yield data


def mutated_once(valid: bytes, others: list[bytes], rng: random.Random) -> bytes:
    """Bytes of which one is changed, some are cut out, doubled, cut off, or followed by another's tail."""
    data = bytearray(valid)
    at = int(len(data) * rng.random() ** 2)
    match rng.randrange(6):
        case 0:
            data[at : at + 1] = bytes([rng.randrange(256)])
        case 1:
            data[at : at + 1] = bytes([data[at] ^ 1 << rng.randrange(8)]) if data[at:] else b""
        case 2:
            del data[at : at + rng.choice([1, 4, 100])]
        case 3:
            data[at:at] = data[at : at + rng.choice([1, 4, 100])]
        case 4:
            data[at:] = rng.choice(others)[at:]
        case 5:
            del data[rng.randrange(len(data) + 1) :]
    return bytes(data)


def handshake(rng: random.Random) -> bytes:
    """What comes before: hardly ever with a wrong version or a byte too few."""
    shake = HANDSHAKE + bytes(1536)
    if rng.random() < 0.02:
        shake = bytes([rng.randrange(256)]) + shake[1 + rng.randrange(2) :]
    return shake


# -- the product's side


class Wire:
    """A socket and a pump at once: gives a peer's bytes in pieces, takes everything."""

    def __init__(self, data: bytes, rng: random.Random) -> None:
        cuts = sorted(rng.randrange(len(data) + 1) for _ in range(rng.randrange(4)))
        self._pieces = [data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True) if a < b]
        self._dirty: list[Flushable] = []
        self.sent: list[bytes] = []

    def piece(self, size: int) -> bytes:
        """The next bytes; none at the end."""
        if not self._pieces:
            return b""
        piece = self._pieces[0][:size]
        self._pieces[0] = self._pieces[0][size:]
        if not self._pieces[0]:
            del self._pieces[0]
        return piece

    def fileno(self) -> int:
        return 0

    def send(self, data: bytes) -> int:
        self.sent.append(bytes(data))
        return len(data)

    def recv_into(self, buffer: bytearray) -> int:
        piece = self.piece(len(buffer))
        buffer[: len(piece)] = piece
        return len(piece)

    def close(self) -> None: ...
    def watch(self, connection: Connection, events: int) -> None: ...
    def remove(self, connection: Connection) -> None: ...

    def dirty(self, stream: Flushable) -> None:
        self._dirty.append(stream)

    def flush(self) -> None:
        """The end of a tick."""
        for stream in self._dirty:
            stream.flush()
        self._dirty.clear()


class _Fed(Session):
    """A session without a socket."""

    sock: Wire  # type: ignore[assignment]

    async def _send(self, data: bytes) -> None:
        self.sock.send(data)

    async def _receive(self, size: int) -> bytes:
        if not (data := self.sock.piece(size)):
            raise Closed
        return data


class _Client(_Fed, ClientSession):
    url = URL


class _Server(_Fed, ServerSession):
    pass


#: How valid sessions end.
_ENDS = ("closed by the peer", "the publisher has left")
BUFFER = bytearray(1 << 16)
VIEW = memoryview(BUFFER)


def connect(wire: Wire, session: Session) -> Connection:
    """The connection that the pump makes of a session."""
    return Connection(wire, session.sock, session.reader)  # type: ignore[arg-type]


class Outcome(NamedTuple):
    """What became of a session: bytes that are held of it, and why it was broken off, if it was."""

    held: int
    reason: str


def serve(wire: Wire, connection: Connection) -> str:
    """Take in all that the peer has to say; return why it was broken off, if it was. That is no defect of ours."""
    while not connection.is_closed:
        connection.read(BUFFER, VIEW)
        wire.flush()
    reason = connection.closed.result() or ""
    assert not reason.startswith("internal error"), reason
    return "" if reason in _ENDS else reason


async def source(data: bytes, rng: random.Random) -> Outcome:
    """A server that we play from."""
    wire = Wire(handshake(rng) + data, rng)
    session = _Client(wire)  # type: ignore[arg-type]
    await session._play()
    session.settle()
    connection = connect(wire, session)
    connection.on_command = lambda type_, _, payload: _end(connection, type_, payload)
    _dispatch_backlog(session, connection)
    return relay(wire, connection, session.reader, rng)


async def child(data: bytes, rng: random.Random) -> Outcome:
    """A pipe, or an HTTP server, from which FLV comes."""
    wire = Wire(data, rng)
    reader = FlvChunks()
    return relay(wire, Connection(wire, wire, reader), reader, rng)  # type: ignore[arg-type]


def relay(wire: Wire, connection: Connection, reader: ChunkReader, rng: random.Random) -> Outcome:
    """Into Timeline and lane, and out to a destination."""
    stream, meter = Stream(wire), Meter()  # type: ignore[arg-type]
    timeline = Timeline(stream.push)

    def take(type_: int, timestamp: int, payload: bytes) -> None:
        kind = kind_of(type_, payload)
        meter.count(type_, timestamp, payload, kind)
        timeline.push(type_, timestamp, payload, kind)

    connection.on_media = take
    if rng.random() < 0.8:
        lane = Lane(reader, timeline, stream, meter, open_=lambda: True, progressed=lambda: None)
        connection.shortcut = lane.run
    out = Wire(b"", rng)
    stream.add(Connection(wire, out, None), rtmp_publish(1), Meter())  # type: ignore[arg-type]
    reason = serve(wire, connection)
    assert_rising(out.sent)
    headers = [*stream.headers.values(), *stream.extras.values()]
    unread = reader.held + (len(reader._flv._buffer) if isinstance(reader, FlvChunks) else 0)
    early = sum(len(message[2]) for message in timeline._early)
    return Outcome(unread + connection.queued + sum(map(len, headers)) + early, reason)


def assert_rising(sent: list[bytes]) -> None:
    """What a destination is sent can be read, and DTS rises in each kind's first track."""
    reader, newest = ChunkReader(), {AUDIO: -1, VIDEO: -1}
    reader.chunk_size = 65536
    for type_, timestamp, payload in reader.feed(b"".join(sent)):
        if kind_of(type_, payload).name in ("KEYFRAME", "FRAME", "SOUND"):
            assert timestamp > newest[type_], "DTS does not rise"
            newest[type_] = timestamp


async def destination(data: bytes, rng: random.Random) -> Outcome:
    """A server that we publish to."""
    wire = Wire(handshake(rng) + data, rng)
    session = _Client(wire)  # type: ignore[arg-type]
    await session._publish()
    session.settle()
    connection = connect(wire, session)
    connection.on_command = lambda type_, _, payload: _refused(connection, type_, payload)
    _dispatch_backlog(session, connection)
    reason = serve(wire, connection)
    return Outcome(session.reader.held + connection.queued, reason)


async def publisher(data: bytes, rng: random.Random) -> Outcome:
    """A client of the hub, and two players of what it publishes."""
    wire = Wire(handshake(rng) + data, rng)
    session = _Server(wire)  # type: ignore[arg-type]
    wish = await session.wish()
    await session.grant(wish)
    publication = Publication(wire, lambda: 0, Totals(), Name(1, "live", "test"))  # type: ignore[arg-type]
    for framing in (rtmp_play, flv_chunked):
        publication.stream.add(Connection(wire, Wire(b"", rng), None), framing, Meter())  # type: ignore[arg-type]
    connection = connect(wire, session)
    connection.on_media = publication.take
    _dispatch_backlog(session, connection)
    reason = serve(wire, connection)
    stream = publication.stream
    headers = [*stream.headers.values(), *stream.extras.values()]
    gop = sum(len(message[2]) for message in stream._gop)
    return Outcome(session.reader.held + connection.queued + sum(map(len, headers)) + gop, reason)


#: A role: takes one session in. Raises `MediaError`.
Role = Callable[[bytes, random.Random], Awaitable[Outcome]]
ROLES: dict[str, tuple[Role, list[Recording], Write]] = {
    "source": (source, servers("NetStream.Play.Reset", "NetStream.Play.Start"), written),
    "destination": (destination, servers("NetStream.Publish.Start"), written),
    "publisher": (publisher, publishers(), written),
    "child": (child, [(messages, 0) for messages in media()], flv),
}


async def attack(role: Role, data: bytes, rng: random.Random) -> bool:
    """Let one session loose; say whether it was refused."""
    try:
        held, reason = await role(data, rng)
    except MediaError:
        return True
    assert held <= 2 * len(data) + 4096, f"{held} bytes are held of a session of {len(data)}"
    return bool(reason)
