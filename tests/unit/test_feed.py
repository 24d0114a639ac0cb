"""What the pump is fed by other transports than its sockets: TLS and pipes, with backpressure both ways."""

import asyncio
import os
import ssl
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import pytest

from penstock.api.certificate import own_files
from penstock.media.feed import UNREAD_LIMIT, Feed
from penstock.media.flv import FlvReader
from penstock.media.pump import Connection
from penstock.media.rtmp.chunk import ChunkReader
from tests import packets
from tests.packets import Clip
from tests.patience import PATIENCE
from tests.rtmp_wire import VIDEO, Message, Parser, Writer, flv_file
from tests.unit.wires import Wires

CLIP = Clip(seconds=2).messages()
#: As the pump hands them on.
MEDIA = [(m.type, m.timestamp, m.payload) for m in CLIP]


@pytest.fixture
async def wires() -> AsyncIterator[Wires]:
    """A pump that ticks."""
    with Wires(tick=0.01) as wires:
        yield wires


async def until(condition: object) -> None:
    """Wait until something is true."""
    assert callable(condition)
    async with asyncio.timeout(PATIENCE):
        while not condition():
            await asyncio.sleep(0.005)


async def pipe_into(wires: Wires, media: list[tuple[int, int, bytes]]) -> tuple[Connection, int]:
    """An FLV pipe that the pump takes, and the end to write to."""
    ours, theirs = os.pipe()
    _, feed = await asyncio.get_running_loop().connect_read_pipe(Feed, os.fdopen(ours, "rb", buffering=0))
    connection = wires.pump.add(feed, FlvReader(), on_media=lambda *message: media.append(message))
    return connection, theirs


async def test_flv_on_a_pipe_is_handed_on_and_its_end_is_noticed(wires: Wires) -> None:
    """Every message, then the end."""
    media: list[tuple[int, int, bytes]] = []
    connection, pipe = await pipe_into(wires, media)
    await asyncio.to_thread(os.write, pipe, flv_file(CLIP))
    os.close(pipe)
    assert await connection.wait_closed() == "closed by the peer"
    assert media == MEDIA
    assert connection.received == len(flv_file(CLIP))


async def test_what_is_fed_before_the_pump_has_it_is_not_lost(wires: Wires) -> None:
    """Nor what came before an end."""
    feed, media = Feed(), []
    feed.feed(flv_file(CLIP))
    feed.connection_lost(None)
    connection = wires.pump.add(feed, FlvReader(), on_media=lambda *message: media.append(message))
    assert await connection.wait_closed() == "closed by the peer"
    assert media == MEDIA


async def test_a_pipe_is_not_read_faster_than_the_pump_serves_it(wires: Wires) -> None:
    """Between two ticks no more is taken than one may handle; whoever writes waits meanwhile, and nothing is lost."""
    wires.pump.tick = 3600
    wires.pump.serve()
    media: list[tuple[int, int, bytes]] = []
    connection, pipe = await pipe_into(wires, media)
    os.set_blocking(pipe, False)
    frames = [Message(VIDEO, at, packets.picture(at, key=True, size=100_000)) for at in range(100)]
    data, written, idle = flv_file(frames), 0, 0
    while idle < 20:
        idle += 1
        with suppress(BlockingIOError):
            written += os.write(pipe, data[written : written + 65536])
            idle = 0
        await asyncio.sleep(0)
    assert UNREAD_LIMIT <= written < UNREAD_LIMIT + (1 << 20)
    while written < len(data):
        wires.pump.serve()
        with suppress(BlockingIOError):
            written += os.write(pipe, data[written:])
        await asyncio.sleep(0)
    os.close(pipe)
    while not connection.is_closed:
        wires.pump.serve()
        await asyncio.sleep(0)
    assert media == [(m.type, m.timestamp, m.payload) for m in frames]


async def test_garbage_on_a_pipe_ends_it_with_a_reason(wires: Wires) -> None:
    """And the pipe is closed: whoever writes to it is told."""
    connection, pipe = await pipe_into(wires, [])
    os.write(pipe, b"garbage")
    assert await connection.wait_closed() == "this is not FLV"
    await asyncio.sleep(0)
    with pytest.raises(BrokenPipeError):
        os.write(pipe, b"more")
    os.close(pipe)


# -- TLS


class Secure:
    """A connection in the pump through TLS, and the client at its other end."""

    connection: Connection
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    def __init__(self) -> None:
        self.media: list[tuple[int, int, bytes]] = []


@pytest.fixture
async def secure(wires: Wires, tmp_path: Path) -> AsyncIterator[Secure]:
    """RTMP after its control phase, through TLS."""
    files = own_files(tmp_path, {"localhost"}, now=datetime.now(UTC))
    ours = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    ours.load_cert_chain(files.certificate, files.key)
    there, arrived = Secure(), asyncio.Event()

    class Arriving(Feed):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            super().connection_made(transport)
            there.connection = wires.pump.add(self, ChunkReader(), on_media=lambda *m: there.media.append(m))
            arrived.set()

    server = await asyncio.get_running_loop().create_server(Arriving, "127.0.0.1", 0, ssl=ours)
    port = server.sockets[0].getsockname()[1]
    theirs = ssl.create_default_context(cafile=str(tmp_path / "ca.pem"))
    there.reader, there.writer = await asyncio.open_connection(
        "127.0.0.1", port, ssl=theirs, server_hostname="localhost"
    )
    await arrived.wait()
    yield there
    there.writer.transport.abort()
    server.close()


async def test_rtmp_through_tls_is_handed_on_and_answered(secure: Secure) -> None:
    """Media arrives whole, a ping comes back."""
    secure.writer.write(Writer().write(Message(4, 0, bytes.fromhex("0006 12345678")), *CLIP))
    await until(lambda: len(secure.media) == len(MEDIA))
    assert secure.media == MEDIA
    assert Parser().feed(await secure.reader.read(100)) == [Message(4, 0, bytes.fromhex("0007 12345678"), csid=2)]


async def test_a_tls_peer_that_does_not_read_makes_the_queue_grow(secure: Secure) -> None:
    """As with a plain socket, so that a slow receiver is seen as one; then everything arrives in order."""
    data = [bytes([at % 251]) * 100_000 for at in range(300)]
    for piece in data:
        secure.connection.send(piece)
        await asyncio.sleep(0)
    assert secure.connection.queued > 1 << 20
    assert secure.connection.sent + secure.connection.queued == 30_000_000
    assert await secure.reader.readexactly(30_000_000) == b"".join(data)
    assert secure.connection.queued == 0


async def test_finishing_through_tls_delivers_everything(secure: Secure) -> None:
    """Then says goodbye; the end is orderly."""
    secure.connection.send(bytes(500_000))
    secure.connection.finish()
    assert len(await secure.reader.read(-1)) == 500_000
    secure.writer.close()
    assert await secure.connection.wait_closed() is None


async def test_a_tls_peer_that_breaks_off_is_noticed(secure: Secure) -> None:
    """And sending to it afterwards harms nobody."""
    secure.writer.transport.abort()
    assert await secure.connection.wait_closed()
    secure.connection.send(b"x")
