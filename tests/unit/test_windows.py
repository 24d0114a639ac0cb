"""Acknowledgements, windows, pings and what both sides say they can do, on the wire."""

from collections.abc import AsyncIterator
from itertools import pairwise

import pytest

from penstock.media.packet import DATA, VIDEO
from penstock.media.pump import QUEUE_LIMIT
from penstock.media.rtmp import chunk
from penstock.media.rtmp.client import ClientSession
from tests.rtmp_peer import Connection
from tests.rtmp_wire import Message, Writer, amf, amf3, read_amf
from tests.unit.house import house
from tests.unit.test_client import POLICY, Server
from tests.unit.wires import Wires

PING = Message(4, 0, bytes.fromhex("0006 0000002a"), csid=2)


@pytest.fixture
async def wires() -> AsyncIterator[Wires]:
    """A pump that is served by hand."""
    with Wires() as wires:
        yield wires


async def test_a_peer_that_wants_acknowledgements_gets_one_per_half_window(wires: Wires) -> None:
    """With the number of bytes so far; nobody else gets any."""
    quiet, peer = wires.peer(), wires.peer()
    peer.send(Message(5, 0, (1000).to_bytes(4, "big"), csid=2))
    for one in (quiet, peer):
        for at in range(10):
            one.send(Message(VIDEO, at, bytes(400), csid=6))
    assert quiet.messages() == []
    acknowledged = [int.from_bytes(m.payload, "big") for m in peer.messages() if m.type == chunk.ACKNOWLEDGEMENT]
    assert len(acknowledged) in (4, 5)
    assert all(500 <= later - before < 1000 for before, later in pairwise(acknowledged))


async def test_a_limit_of_bandwidth_is_answered_with_our_window(wires: Wires) -> None:
    """RTMP 1.0, section 5.4.5: so the peer knows when it must acknowledge."""
    peer = wires.peer()
    peer.send(Message(6, 0, bytes.fromhex("002625a0 02"), csid=2), PING)
    assert [(m.type, m.payload.hex()) for m in peer.messages()] == [(5, "002625a0"), (4, "00070000002a")]


async def test_a_peer_that_takes_no_answers_gets_no_more_of_them(wires: Wires) -> None:
    """Else pings without end would fill our memory with pongs."""
    peer = wires.peer()
    pings = Writer().write(*[PING] * 5000)
    for _ in range(80):
        peer.sock.send(pings)
        wires.pump.serve()
        while peer.sock.fileno() >= 0 and peer.connection.received % len(pings):
            wires.pump.serve()
    assert QUEUE_LIMIT < peer.connection.queued < QUEUE_LIMIT + 100


async def test_metadata_in_amf3_reaches_receivers_in_amf0(wires: Wires) -> None:
    """Message type 15: few receivers read AMF3."""
    peer = wires.peer()
    payload = b"\0" + amf("@setDataFrame", "onMetaData") + b"\x11" + amf3({"width": 640, "title": "é"})
    peer.send(Message(15, 40, payload, csid=5))
    ((type_, time, data),) = peer.media
    assert (type_, time) == (DATA, 40)
    assert read_amf(data) == ["onMetaData", {"width": 640, "title": "é"}]


@pytest.mark.looptime(noop_cycles=12)
async def test_a_small_window_is_acknowledged_before_media_flows() -> None:
    """A server that waits for it would never go on."""

    def connect(connection: Connection, transaction: float) -> None:
        connection.send(Message(5, 0, (10).to_bytes(4, "big"), csid=2))
        connection.send(Message(6, 0, (77).to_bytes(4, "big") + b"\2", csid=2))
        connection.command("_result", transaction, {}, {"level": "status"})

    async with Server(connect=connect) as server:
        session = await ClientSession.publish(POLICY, server.url)
        session.close()
        controls = [(m.type, int.from_bytes(m.payload, "big")) for m in server.connections[0].controls]
    assert (chunk.WINDOW_SIZE, 77) in controls
    assert any(type_ == chunk.ACKNOWLEDGEMENT and value > 10 for type_, value in controls)


@pytest.mark.looptime(noop_cycles=12)
async def test_we_say_what_we_pass_on() -> None:
    """Any codec, several tracks, modifiers, nanoseconds; Enhanced RTMP v2, "NetConnection.connect"."""
    async with Server() as server:
        (await ClientSession.publish(POLICY, server.url)).close()
        offer = server.connections[0].commands[0][2]
    assert {"hvc1", "av01", "vp09", "Opus", "mp4a"} <= set(offer["fourCcList"])
    assert offer["videoFourCcInfoMap"] == offer["audioFourCcInfoMap"] == {"*": 4}
    assert offer["capsEx"] == 2 | 4 | 8


@pytest.mark.looptime(noop_cycles=12)
@pytest.mark.parametrize(
    "offer", [{"fourCcList": ["hvc1"]}, {"capsEx": 2}, {}], ids=["codecs", "capabilities", "plain"]
)
@pytest.mark.parametrize("wrapped", [False, True], ids=["AMF0", "AMF3"])
async def test_the_hub_says_so_to_those_who_know_it(offer: dict[str, object], wrapped: bool) -> None:
    """An old client is not bothered with it. Commands may come as AMF3, with objects of it."""
    async with house() as there:
        client = await there.open()
        offer = offer | {"app": "live", "tcUrl": "rtmp://127.0.0.1/live"}
        command = b"\0" + amf("connect", 1) + b"\x11" + amf3(offer) if wrapped else amf("connect", 1, offer)
        client.writer.write(Writer().write(Message(17 if wrapped else 20, 0, command)))
        await client.until(lambda: any(m.type == 20 for m in client.messages))
        result = next(read_amf(m.payload) for m in client.messages if m.type == 20)
    assert result[0] == "_result"
    assert ("capsEx" in result[2]) == ("fourCcList" in result[2]) == (len(offer) > 2)
