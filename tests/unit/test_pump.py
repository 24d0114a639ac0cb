"""The pump on real sockets: what arrives is handed on and answered, what is sent arrives, nobody disturbs others."""

import asyncio
import socket
from collections.abc import AsyncIterator
from itertools import pairwise

import pytest

from penstock.errors import MediaError
from penstock.media.pump import FAREWELL, MAX_DATA, SLICE
from penstock.media.rtmp import chunk
from tests import packets, rtmp_wire
from tests.patience import PATIENCE
from tests.rtmp_wire import AUDIO, COMMAND, DATA, VIDEO, Message, Writer
from tests.unit.wires import Wires


@pytest.fixture
async def wires() -> AsyncIterator[Wires]:
    """A pump that is served by hand."""
    with Wires() as wires:
        yield wires


async def test_media_commands_and_data_go_to_their_handlers(wires: Wires) -> None:
    """An AMF3 wrapping and @setDataFrame are taken off, RtmpSampleAccess is nobody's business."""
    peer = wires.peer()
    meta = packets.metadata(width=640.0)
    play = rtmp_wire.amf("play", 3, None, "x")
    peer.send(
        Message(VIDEO, 40, packets.AVC_HEADER),
        Message(AUDIO, 41, packets.sound()),
        Message(DATA, 42, rtmp_wire.amf("@setDataFrame") + meta),
        Message(15, 43, b"\0" + meta),
        Message(DATA, 44, rtmp_wire.amf("|RtmpSampleAccess", True, True)),
        Message(COMMAND, 45, play),
        Message(17, 46, b"\0" + play),
    )
    assert peer.media == [
        (VIDEO, 40, packets.AVC_HEADER),
        (AUDIO, 41, packets.sound()),
        (DATA, 42, meta),
        (DATA, 43, meta),
    ]
    assert peer.commands == [(COMMAND, 45, play), (17, 46, play)]


async def test_script_data_of_an_absurd_size_is_dropped(wires: Wires) -> None:
    """It would be kept for every receiver that joins."""
    peer = wires.peer()
    peer.connection.dispatch((DATA, 0, packets.metadata() + bytes(MAX_DATA)))
    assert peer.media == []


async def test_pings_are_answered(wires: Wires) -> None:
    """With the peer's own number."""
    peer = wires.peer()
    peer.send(Message(4, 0, bytes.fromhex("0006 12345678")))
    assert peer.messages() == [Message(4, 0, bytes.fromhex("0007 12345678"), csid=2)]


async def test_what_a_peer_sends_is_acknowledged_twice_per_window(wires: Wires) -> None:
    """With the number of bytes since the connection began, also if the window was announced before."""
    peer = wires.peer()
    peer.send(Message(5, 0, (10_000).to_bytes(4, "big")))
    sent = peer.connection.received
    for _ in range(10):
        message = Message(VIDEO, 0, packets.picture(size=2000))
        sent += len(Writer().write(message))
        peer.send(message)
    acknowledged = [int.from_bytes(m.payload, "big") for m in peer.messages() if m.type == 3]
    assert len(acknowledged) == 3
    assert acknowledged[-1] <= sent
    assert all(later - sooner >= 5000 for sooner, later in pairwise([0, *acknowledged]))


async def test_the_end_of_a_stream_reaches_the_command_handler(wires: Wires) -> None:
    """nginx-rtmp says nothing else when the publisher leaves."""
    peer = wires.peer()
    peer.send(Message(4, 0, bytes.fromhex("0001 00000001")))
    assert peer.commands == [(chunk.USER_CONTROL, 0, bytes.fromhex("0001 00000001"))]


async def test_what_a_player_sends_is_thrown_away_without_a_reader(wires: Wires) -> None:
    """An HTTP player has nothing to say."""
    peer = wires.peer(reading=False)
    peer.sock.sendall(b"garbage" * 1000)
    wires.pump.serve()
    assert not peer.connection.closed.done()
    assert peer.connection.received == 7000


async def test_a_burst_is_taken_in_within_a_few_ticks(wires: Wires) -> None:
    """A GOP of several megabytes must not dribble in at a packet per tick."""
    peer = wires.peer(tcp=True)
    data = Writer(65536).write(*(Message(VIDEO, at, bytes(60_000)) for at in range(50)))
    peer.sock.setblocking(True)
    chunks = chunk.control(chunk.SET_CHUNK_SIZE, 65536) + data
    sending = asyncio.get_running_loop().run_in_executor(None, peer.sock.sendall, chunks)
    ticks = 0
    while len(peer.media) < 50:
        wires.pump.serve()
        ticks += 1
        await asyncio.sleep(0)
    await sending
    assert peer.connection.received == len(chunks)


# -- sending


async def test_what_the_socket_does_not_take_is_queued_and_arrives_in_order(wires: Wires) -> None:
    """Every byte, and the counter tells what has left."""
    peer = wires.peer()
    data = [bytes([at]) * 100_000 for at in range(30)]
    for piece in data:
        peer.connection.send(piece)
    queued = peer.connection.queued
    assert queued > 0
    assert peer.connection.sent + queued == 3_000_000
    assert peer.received() == b"".join(data)
    assert (peer.connection.queued, peer.connection.sent) == (0, 3_000_000)


async def test_sending_to_a_peer_that_is_gone_closes_the_connection_and_raises_nothing(wires: Wires) -> None:
    """The reason is the kernel's."""
    peer = wires.peer()
    peer.sock.close()
    peer.connection.send(b"x")
    assert peer.reason == "broken pipe"
    peer.connection.send(b"x")


# -- ends


async def test_a_peer_that_closes_is_noticed(wires: Wires) -> None:
    """After everything that it had sent was handed on."""
    peer = wires.peer()
    peer.sock.sendall(Writer().write(Message(AUDIO, 0, packets.sound())))
    peer.sock.close()
    wires.pump.serve()
    assert len(peer.media) == 1
    wires.pump.serve()
    assert peer.reason == "closed by the peer"
    assert not wires.pump._connections


async def test_a_peer_that_only_stops_sending_is_gone_as_well(wires: Wires) -> None:
    """A half-closed socket has no use for media."""
    peer = wires.peer()
    peer.sock.shutdown(socket.SHUT_WR)
    wires.pump.serve()
    assert peer.reason == "closed by the peer"


async def test_a_reset_is_told_in_words(wires: Wires) -> None:
    """As the operating system puts it."""
    peer = wires.peer(tcp=True)
    peer.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    peer.sock.close()
    wires.pump.serve()
    assert peer.reason == "connection reset by peer"


async def test_garbage_closes_the_connection_with_a_reason(wires: Wires) -> None:
    """What came before it was handed on."""
    peer = wires.peer()
    peer.sock.sendall(Writer().write(Message(AUDIO, 0, packets.sound())) + b"\xff" * 100)
    wires.pump.serve()
    assert len(peer.media) == 1
    assert peer.reason == "chunk stream 63 begins without a header"


@pytest.mark.parametrize(
    ("error", "reason"), [(MediaError("no more"), "no more"), (KeyError("x"), "internal error (KeyError)")]
)
async def test_a_handler_that_fails_ends_its_own_connection_alone(wires: Wires, error: Exception, reason: str) -> None:
    """Others in the same tick are served."""

    def fail(*_: object) -> None:
        raise error

    broken, well = wires.peer(), wires.peer()
    broken.connection.on_media = fail
    for peer in (broken, well):
        peer.sock.sendall(Writer().write(Message(AUDIO, 0, packets.sound())))
    wires.pump.serve()
    assert broken.reason == reason
    assert len(well.media) == 1


async def test_finishing_delivers_what_is_queued_and_closes_with_the_peer(wires: Wires) -> None:
    """Nothing more is taken, in either direction; the end is orderly."""
    peer = wires.peer()
    peer.connection.send(bytes(2_000_000))
    peer.connection.finish()
    peer.connection.send(b"too late")
    peer.sock.sendall(Writer().write(Message(AUDIO, 0, packets.sound())))
    assert len(peer.received()) == 2_000_000
    assert peer.media == []
    assert not peer.connection.closed.done()
    peer.sock.close()
    wires.pump.serve()
    assert peer.reason is None


async def test_finishing_loses_nothing_to_bytes_that_nobody_reads(wires: Wires) -> None:
    """A TCP socket closed with unread bytes in it is reset, and the peer loses what it had not received."""
    peer = wires.peer(tcp=True)
    peer.sock.sendall(bytes(1000))
    peer.connection.send(bytes(500_000))
    peer.connection.finish()
    peer.sock.sendall(bytes(1000))
    wires.pump.serve()
    assert len(peer.received()) == 500_000
    peer.sock.close()


@pytest.mark.looptime
async def test_a_peer_that_does_not_close_is_closed_for(wires: Wires) -> None:
    """After a moment."""
    peer = wires.peer()
    begun = asyncio.get_running_loop().time()
    peer.connection.finish()
    assert await peer.connection.wait_closed() is None
    assert asyncio.get_running_loop().time() - begun == pytest.approx(FAREWELL)


async def test_whoever_stops_waiting_for_the_end_does_not_spoil_it_for_others(wires: Wires) -> None:
    """A cancelled wait leaves the connection alone."""
    peer = wires.peer()
    first, second = (asyncio.ensure_future(peer.connection.wait_closed()) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.sleep(0)
    peer.connection.close("done")
    assert await second == "done"


async def test_a_socket_is_owned_until_it_is_closed(wires: Wires) -> None:
    """Whoever accepted it knows whether to close it."""
    peer = wires.peer()
    assert wires.pump.owns(peer.connection.sock)
    peer.connection.close(None)
    assert not wires.pump.owns(peer.connection.sock)
    assert not wires.pump.owns(peer.sock)


# -- ticks


@pytest.mark.looptime
async def test_the_pump_ticks_only_while_it_has_connections() -> None:
    """What came between two ticks is taken in, and flushed once, at the end of the tick."""
    loop = asyncio.get_running_loop()
    flushes: list[float] = []

    class Stream:
        def flush(self) -> None:
            flushes.append(round(loop.time() - begun, 3))

    with Wires(tick=0.04) as wires:
        pump = wires.pump
        assert pump._timer is None
        begun = loop.time()
        peer = wires.peer()
        peer.connection.on_media = lambda *_: None if pump._dirty else pump.dirty(Stream())
        peer.sock.sendall(Writer().write(*(Message(AUDIO, at, packets.sound()) for at in range(10))))
        await asyncio.sleep(0.1)
        peer.sock.sendall(Writer().write(Message(AUDIO, 10, packets.sound())))
        await asyncio.sleep(0.1)
        assert flushes == [0.04, 0.12]
        peer.connection.close(None)
        await asyncio.sleep(0.1)
        assert pump._timer is None


async def test_many_sockets_do_not_keep_the_loop_from_its_other_work() -> None:
    """A tick in which all of them are ready is served in slices; each socket has its turn in it, once."""
    with Wires(tick=0.01) as wires:
        peers = [wires.peer() for _ in range(3 * SLICE)]
        for peer in peers:
            peer.sock.sendall(Writer().write(Message(AUDIO, 0, packets.sound())))
        served = [0]
        async with asyncio.timeout(PATIENCE):
            while served[-1] < len(peers):
                await asyncio.sleep(0)
                served.append(sum(len(peer.media) for peer in peers))
        assert set(served) == {0, SLICE, 2 * SLICE, 3 * SLICE}


async def test_closing_the_pump_closes_every_connection() -> None:
    """And no timer is left."""
    with Wires(tick=0.04) as wires:
        peers = [wires.peer() for _ in range(3)]
    assert [peer.reason for peer in peers] == [None] * 3
    assert wires.pump._timer is None
