"""Sources of many megabits per second, and groups of pictures that come at once: every byte arrives."""

import asyncio
import select

import pytest

from penstock.media.pump import Pump, Wake
from penstock.media.rtmp.chunk import ChunkReader
from tests import packets
from tests.packets import AVC_HEADER, number_of
from tests.rtmp_peer import STREAM, Connection, Origin, Sink
from tests.rtmp_wire import VIDEO, Message, Writer
from tests.unit.stage import KEY, plan, staged

pytestmark = pytest.mark.looptime(noop_cycles=12)

TICK = 0.040
#: Less than may wait for a destination before it loses messages.
WINDOW = 3 << 20


class Pipe:
    """A socket's receiving side, whose kernel holds whatever a test puts there."""

    def __init__(self) -> None:
        self._held = bytearray()
        self._wake: Wake

    def attach(self, wake: Wake) -> None:
        self._wake = wake

    def put(self, data: bytes) -> None:
        self._held += data
        self._wake(self.fileno(), select.EPOLLIN)

    @property
    def held(self) -> int:
        return len(self._held)

    def fileno(self) -> int:
        return -7

    def recv_into(self, buffer: bytearray) -> int:
        if not self._held:
            raise BlockingIOError
        size = min(len(buffer), len(self._held))
        buffer[:size] = self._held[:size]
        del self._held[:size]
        return size

    def send(self, data: bytes | bytearray) -> int:
        return len(data)

    def shutdown(self, how: int) -> None: ...
    def close(self) -> None: ...


@pytest.mark.parametrize("megabits", [52, 200])
async def test_a_tick_takes_in_all_that_a_fast_source_has_sent_since_the_last(megabits: int) -> None:
    """Nothing is left behind, so nothing adds up."""
    share = round(megabits * 1_000_000 / 8 * TICK)
    pump, pipe = Pump(tick=TICK), Pipe()
    taken: list[tuple[int, int, bytes]] = []
    pump.add(pipe, ChunkReader(), on_media=lambda *message: taken.append(message))
    messages = [Message(VIDEO, at * 40, packets.picture(at, size=share)) for at in range(25)]
    sent = Writer().write(*messages)
    for at in range(0, len(sent), share):
        pipe.put(sent[at : at + share])
        pump.serve()
        assert pipe.held == 0
    assert taken == [(message.type, message.timestamp, message.payload) for message in messages]
    pump.close()


class Torrent(Origin):
    """Plays small pictures in their time until the destination has one, then big ones as fast as it takes them."""

    def __init__(self, sink: Sink, sizes: list[int]) -> None:
        super().__init__([])
        self._sink = sink
        self._sizes = sizes
        #: The first big picture's number.
        self.first = 0
        self._sent = 0

    async def _play(self, connection: Connection) -> None:
        self._send(connection, Message(VIDEO, 0, AVC_HEADER))
        while not (self._sink.connections and self._sink.last.frames) or self.first % 25:
            self._send(connection, self._picture(self.first))
            self.first += 1
            await asyncio.sleep(0.04)
        for at, size in enumerate(self._sizes):
            self._sent += size
            await self._sink.until(self._may_go_on)
            self._send(connection, self._picture(self.first + at, size))
            await connection.writer.drain()

    def _may_go_on(self) -> bool:
        return self._sent - sum(len(message.payload) for message in self._sink.last.frames) <= WINDOW

    def _picture(self, number: int, size: int = 30) -> Message:
        return Message(VIDEO, number * 40, packets.picture(number, key=number % 25 == 0, size=size))

    def _send(self, connection: Connection, message: Message) -> None:
        connection.send(Message(message.type, message.timestamp, message.payload, 6, STREAM))


@pytest.mark.parametrize(
    "sizes", [[260_000] * 50, [1_000_000] * 50, [30_000] * 100], ids=["52 Mbit/s", "200 Mbit/s", "four groups at once"]
)
async def test_what_a_fast_source_sends_reaches_the_destination_whole(sizes: list[int]) -> None:
    """Each picture, in order, over the same connection; nothing is counted as lost."""
    async with staged() as stage:
        sink = await stage.sink()
        async with Torrent(sink, sizes) as source:
            stage.engine.run(KEY, 1, plan(source, sink))
            await stage.until(lambda: sink.connections and sink.last.frames)
            await sink.until(lambda: number_of(sink.last.frames[-1].payload) == source.first + len(sizes) - 1)
            big = [message for message in sink.last.frames if number_of(message.payload) >= source.first]
            assert [number_of(message.payload) for message in big] == [source.first + at for at in range(len(sizes))]
            assert [len(message.payload) for message in big] == sizes
            assert (len(sink.connections), stage.seen.sinks[0].dropped) == (1, 0)
