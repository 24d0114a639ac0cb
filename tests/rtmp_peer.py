"""RTMP peers for tests: a `Sink` that takes publishes and records them, an `Origin` that plays a clip.

They speak through `tests.rtmp_wire`, not through the product's codec, and run inside an asyncio test or, as
`SinkThread` and `OriginThread`, beside a test that has no loop. Times are the loop's: ``time.monotonic()``, or
virtual time under looptime.
"""

import asyncio
import os
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from struct import pack
from typing import Any, Generic, NamedTuple, Self, TypeVar

from tests.patience import PATIENCE, hung_up, settled
from tests.rtmp_login import Guard
from tests.rtmp_wire import AUDIO, COMMAND, DATA, VIDEO, Message, Parser, Writer, amf, flv_tags, read_amf

HANDSHAKE = 1536
STREAM = 1

T = TypeVar("T")


class Arrival(NamedTuple):
    """A message as it came: when (seconds), its type, its time (ms modulo 2^32), its payload."""

    at: float
    type: int
    timestamp: int
    payload: bytes


@dataclass(eq=False)
class Connection:
    """One client: what it asked for and what it sent."""

    at: float
    writer: asyncio.StreamWriter = field(repr=False)
    #: Our own chunks.
    wire: Writer = field(default_factory=Writer, repr=False)
    tc_url: str = ""
    app: str = ""
    #: The stream name with its query, and whether it is published ("live") or played.
    name: str = ""
    verb: str = ""
    commands: list[list[Any]] = field(default_factory=list, repr=False)
    #: Audio, video and data, as they came.
    messages: list[Arrival] = field(default_factory=list, repr=False)
    #: User control messages and acknowledgements, as they came.
    controls: list[Arrival] = field(default_factory=list, repr=False)
    #: The client has said that it is done.
    unpublished: bool = False
    #: The connection is over, by whichever side.
    closed: bool = False

    def media(self, type_: int) -> list[Arrival]:
        """The messages of one type."""
        return [message for message in self.messages if message.type == type_]

    @property
    def frames(self) -> list[Arrival]:
        """Coded pictures, without headers; FLV's own layout of H.264 and HEVC."""
        return [message for message in self.media(VIDEO) if message.payload[1] == 1]

    @property
    def sounds(self) -> list[Arrival]:
        """AAC frames, without headers."""
        return [message for message in self.media(AUDIO) if message.payload[1] == 1]

    def send(self, *messages: Message) -> None:
        """Send messages of our own."""
        self.writer.write(self.wire.write(*messages))

    def command(self, *values: Any, stream_id: int = 0) -> None:
        """Send a command."""
        self.send(Message(COMMAND, 0, amf(*values), stream_id=stream_id))

    def status(self, code: str, description: str = "", *, level: str = "status") -> None:
        """Send an onStatus."""
        info = {"level": level, "code": code, "description": description}
        self.command("onStatus", 0, None, info, stream_id=STREAM)

    def drop(self) -> None:
        """Close at once, with a reset."""
        sock = self.writer.get_extra_info("socket")
        if sock.fileno() >= 0:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, pack("ii", 1, 0))
        self.writer.transport.abort()


class Peer:
    """A little RTMP server on a loopback port that the system chooses."""

    #: What the path of `url` is, unless the test makes its own.
    path = "live/test"

    def __init__(self) -> None:
        self.connections: list[Connection] = []
        #: An error code with which publish or play is refused; empty: granted.
        self.refuse = ""
        #: Whoever may connect; None: everybody.
        self.guard: Guard | None = None
        #: Clients are accepted, and never answered.
        self.mute = False
        self.port = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._reading = asyncio.Event()
        self._changed = asyncio.Event()

    @property
    def url(self) -> str:
        """Where it is."""
        return f"rtmp://127.0.0.1:{self.port}/{self.path}"

    async def __aenter__(self) -> Self:
        self._reading.set()
        self._server = await asyncio.start_server(self._accepted, "127.0.0.1", self.port, limit=1 << 16)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        await settled()
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        for connection in self.connections:
            connection.writer.transport.abort()
        await self._server.wait_closed()
        await settled()

    async def until(self, condition: Callable[[], T], timeout: float = PATIENCE) -> T:
        """Wait until something is true of what was recorded, and return it; asked after each arrival."""
        async with asyncio.timeout(timeout):
            while not (value := condition()):
                self._changed.clear()
                await self._changed.wait()
            return value

    def pause(self) -> None:
        """Read nothing more from any client: their sockets fill up."""
        self._reading.clear()

    def resume(self) -> None:
        """Read on."""
        self._reading.set()

    def drop(self) -> None:
        """Reset every connection."""
        for connection in self.connections:
            connection.drop()

    async def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        connection = Connection(asyncio.get_running_loop().time(), writer)
        self.connections.append(connection)
        try:
            with suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
                await self._serve(connection, reader)
        finally:
            self._tasks.discard(task)
            connection.closed = True
            writer.close()
            self._changed.set()

    async def _serve(self, connection: Connection, reader: asyncio.StreamReader) -> None:
        self._changed.set()
        if self.mute:
            while await reader.read(65536):
                pass
            return
        hello = await reader.readexactly(1 + HANDSHAKE)
        connection.writer.write(b"\3" + bytes(8) + os.urandom(HANDSHAKE - 8) + hello[1:])
        await reader.readexactly(HANDSHAKE)
        parser = Parser()
        while data := await reader.read(65536):
            for message in parser.feed(data):
                self._message(connection, message)
            self._changed.set()
            await self._reading.wait()

    def _message(self, connection: Connection, message: Message) -> None:
        arrival = Arrival(asyncio.get_running_loop().time(), message.type, message.timestamp, message.payload)
        if message.type == COMMAND:
            values = read_amf(message.payload)
            connection.commands.append(values)
            self._command(connection, *values)
        elif message.type in (AUDIO, VIDEO, DATA):
            connection.messages.append(arrival)
        else:
            connection.controls.append(arrival)

    def _command(self, connection: Connection, verb: str, transaction: float, *values: Any) -> None:
        match verb:
            case "connect":
                connection.app, connection.tc_url = values[0]["app"], values[0]["tcUrl"]
                if self.guard and (words := self._objection(connection, self.guard)):
                    info = {"level": "error", "code": "NetConnection.Connect.Rejected", "description": words}
                    connection.command("_error", transaction, None, info)
                    connection.writer.close()
                    return
                connection.send(
                    Message(5, 0, pack(">I", 2_500_000), csid=2),
                    Message(6, 0, pack(">IB", 2_500_000, 2), csid=2),
                    Message(1, 0, pack(">I", 4096), csid=2),
                )
                connection.wire.chunk_size = 4096
                info = {"level": "status", "code": "NetConnection.Connect.Success"}
                connection.command("_result", transaction, {"fmsVer": "FMS/3,0,1,123"}, info)
            case "createStream":
                connection.command("_result", transaction, None, STREAM)
            case "publish" | "play":
                connection.verb, connection.name = verb, values[1]
                if self.refuse:
                    connection.status(self.refuse, f"no {verb} of {values[1]}", level="error")
                else:
                    self._granted(connection)
            case "FCUnpublish" | "deleteStream":
                connection.unpublished = True

    def _objection(self, connection: Connection, guard: Guard) -> str:
        connection.app, mark, query = connection.app.partition("?")
        assert connection.tc_url.endswith(f"/{connection.app}{mark}{query}")
        connection.tc_url = connection.tc_url.removesuffix(mark + query)
        return guard.objection(connection.app, query)

    def _granted(self, connection: Connection) -> None:
        """Say so; what follows is a matter of what kind of peer this is."""
        connection.status("NetStream.Play.Start" if connection.verb == "play" else "NetStream.Publish.Start")


class Sink(Peer):
    """Takes publishes and records everything that comes."""

    def _granted(self, connection: Connection) -> None:
        assert connection.verb == "publish", "a sink plays nothing"
        connection.send(Message(4, 0, pack(">HI", 0, STREAM), csid=2))
        super()._granted(connection)

    @property
    def last(self) -> Connection:
        """The newest connection."""
        return self.connections[-1]


class Origin(Peer):
    """Plays a clip to each client, from its beginning, again and again, in real time (times `speed`).

    `media` is an FLV file or messages; `start` is added to their times (ms). It may be exchanged for later clients.
    """

    def __init__(
        self, media: Path | Sequence[Message], *, speed: float = 1, start: int = 0, again: bool = True
    ) -> None:
        super().__init__()
        self.media = media
        self.speed = speed
        self.start = start
        self.again = again
        self._flowing = asyncio.Event()
        self._flowing.set()

    def stall(self) -> None:
        """Stay connected and send nothing more."""
        self._flowing.clear()

    def resume(self) -> None:
        """Flow again after `stall`, grant again after `end`, read again after `pause`."""
        super().resume()
        self.refuse = ""
        self._flowing.set()

    def end(self, *, close: bool = True) -> None:
        """The publisher has left: tell the players; refuse new ones. `close`: their connections end, too."""
        self.refuse = "NetStream.Play.StreamNotFound"
        for connection in self.connections:
            if connection.closed:
                continue
            connection.send(Message(4, 0, pack(">HI", 1, STREAM), csid=2))
            connection.status("NetStream.Play.UnpublishNotify")
            if close:
                connection.writer.close()
        if not close:
            self.stall()

    def _granted(self, connection: Connection) -> None:
        assert connection.verb == "play", "an origin takes nothing"
        connection.send(Message(4, 0, pack(">HI", 0, STREAM), csid=2))
        connection.status("NetStream.Play.Reset")
        super()._granted(connection)
        task = asyncio.get_running_loop().create_task(self._play(connection))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _play(self, connection: Connection) -> None:
        loop = asyncio.get_running_loop()
        begin = loop.time()
        for time, message in endlessly(self.media) if self.again else once(self.media):
            await asyncio.sleep(max(0.0, begin + time / 1000 / self.speed - loop.time()))
            if not self._flowing.is_set():
                stalled = loop.time()
                await self._flowing.wait()
                begin += loop.time() - stalled
            if connection.closed or connection.writer.is_closing():
                return
            stamp = (self.start + time) % 2**32
            connection.send(Message(message.type, stamp, message.payload, 4 + message.type % 4, STREAM))
            with suppress(ConnectionError):
                await connection.writer.drain()


def once(media: Path | Sequence[Message]) -> Iterator[tuple[int, Message]]:
    """The messages with their times (ms)."""
    for message in flv_tags(media) if isinstance(media, Path) else media:
        yield message.timestamp, message


def endlessly(media: Path | Sequence[Message]) -> Iterator[tuple[int, Message]]:
    """The messages again and again with times (ms) that go on; metadata and headers only once."""
    messages = [message for _, message in once(media)]
    pictures = [message.timestamp for message in messages if message.type == VIDEO]
    step = pictures[-1] - pictures[-2] if len(pictures) > 1 else 21
    length = messages[-1].timestamp + step
    base = 0
    while True:
        yield from ((base + message.timestamp, message) for message in messages)
        messages = [message for message in messages if message.type != DATA and not is_header(message)]
        base += length


def is_header(message: Message) -> bool:
    """Whether it is an AVC, HEVC or AAC sequence header in FLV's own layout."""
    aac = message.type == AUDIO and message.payload[0] >> 4 == 10
    video = message.type == VIDEO and message.payload[0] & 0x8F in (7, 12)
    return (aac or video) and message.payload[1] == 0


P = TypeVar("P", bound=Peer)


class PeerThread(Generic[P]):
    """Runs a peer on a thread of its own, for tests without a loop. What was recorded may be read at any time."""

    def __init__(self, make: Callable[[], P]) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._make = make

    def __enter__(self) -> Self:
        self._thread.start()
        self.peer = self.call(self._make)
        asyncio.run_coroutine_threadsafe(self.peer.__aenter__(), self._loop).result(PATIENCE)
        return self

    def __exit__(self, *_: object) -> None:
        for leave in (self.peer.__aexit__(), hung_up()):
            asyncio.run_coroutine_threadsafe(leave, self._loop).result(PATIENCE)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(PATIENCE)
        self._loop.close()

    @property
    def url(self) -> str:
        """Where the peer is."""
        return self.peer.url

    @property
    def connections(self) -> list[Connection]:
        """The peer's clients, the oldest first."""
        return self.peer.connections

    def call(self, do: Callable[[], T]) -> T:
        """Run something on the peer's thread, e.g. ``origin.call(origin.peer.stall)``."""

        async def run() -> T:
            return do()

        return asyncio.run_coroutine_threadsafe(run(), self._loop).result(PATIENCE)

    def until(self, condition: Callable[[], T], timeout: float = PATIENCE) -> T:
        """Wait until something is true of what was recorded, and return it."""
        return asyncio.run_coroutine_threadsafe(self.peer.until(condition, timeout), self._loop).result(timeout + 5)


class SinkThread(PeerThread[Sink]):
    """A `Sink` on a thread of its own."""

    def __init__(self) -> None:
        super().__init__(Sink)


class OriginThread(PeerThread[Origin]):
    """An `Origin` on a thread of its own."""

    def __init__(self, media: Path | Sequence[Message], *, speed: float = 1, start: int = 0) -> None:
        super().__init__(lambda: Origin(media, speed=speed, start=start))
