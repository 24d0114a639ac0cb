"""The hub on loopback, in virtual time: publishing, playing over RTMP and HTTP, and what is refused."""

import asyncio
import random
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, closing
from typing import NamedTuple

import pytest
from structlog.testing import capture_logs

from penstock.hub import server
from penstock.hub.server import PLAY_PATIENCE, Hub, HubConfig
from penstock.hub.streams import Publication, is_loopback
from penstock.media import framing
from tests import packets
from tests.packets import AVC_HEADER, Clip, aac_header, number_of
from tests.rtmp_client import Client
from tests.rtmp_wire import AUDIO, DATA, VIDEO, Message, flv_tags
from tests.unit.wires import Wires

pytestmark = pytest.mark.looptime(noop_cycles=12)

CLIP = Clip(seconds=3)
GONE = ["NetStream.Play.UnpublishNotify", "NetStream.Play.Stop"]


class Response(NamedTuple):
    """An HTTP response whose connection has ended."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def pieces(self) -> bytes:
        """The body, whose chunked coding must be valid to its end."""
        data, pieces = self.body, b""
        while True:
            size, separator, data = data.partition(b"\r\n")
            assert separator
            length = int(size, 16)
            piece, end, data = data[:length], data[length : length + 2], data[length + 2 :]
            assert (len(piece), end) == (length, b"\r\n")
            pieces += piece
            if not length:
                assert data == b""
                return pieces


class House:
    """A hub that runs, and clients of it that are closed with the test."""

    def __init__(self, resources: AsyncExitStack) -> None:
        self._resources = resources
        loop = asyncio.get_running_loop()
        self.hub = Hub(HubConfig(), clock=lambda: round(loop.time() * 1000))
        self.rtmp, self.media = (socket.create_server(("127.0.0.1", 0)) for _ in range(2))
        for sock in (self.rtmp, self.media):
            resources.enter_context(closing(sock))
        self.port = self.rtmp.getsockname()[1]
        self.task = loop.create_task(self.hub.serve(self.rtmp, self.media))

    async def publish(self, name: str = "test", app: str = "live") -> Client:
        """A publisher, granted or refused."""
        return await self._kept(await Client.publish(self.port, app, name))

    async def play(self, name: str = "test", app: str = "live") -> Client:
        """An RTMP player, granted or refused."""
        return await self._kept(await Client.play(self.port, app, name))

    async def open(self, *, shake: bool = True) -> Client:
        """A client that has said nothing yet."""
        return await self._kept(await Client.open(self.port, shake=shake))

    async def _kept(self, client: Client) -> Client:
        self._resources.push_async_callback(client.close)
        return client

    async def http(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A connection to the media port."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.media.getsockname()[1])
        self._resources.callback(writer.close)
        return reader, writer

    async def ask(self, request: str | bytes) -> Response:
        """Send a request, of which a line may be enough, and read to the end."""
        reader, writer = await self.http()
        writer.write(request if isinstance(request, bytes) else f"{request}\r\nHost: x\r\n\r\n".encode())
        return await response(reader)

    async def until(self, condition: Callable[[], object]) -> None:
        """Wait until something is true."""
        async with asyncio.timeout(30):
            while not condition():
                await asyncio.sleep(0.01)


async def response(reader: asyncio.StreamReader) -> Response:
    """Read a response to its end."""
    async with asyncio.timeout(60):
        data = await reader.read()
    head, _, body = data.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in lines)
    return Response(int(first.split(" ")[1]), headers, body)


@asynccontextmanager
async def house() -> AsyncIterator[House]:
    """A hub that runs; nobody may have met a defect in it. No fixture: those run outside the virtual time."""
    with capture_logs() as logs:
        async with AsyncExitStack() as resources:
            there = House(resources)
            await asyncio.sleep(0)
            yield there
            there.task.cancel()
            await asyncio.wait([there.task])
    assert [line for line in logs if line["log_level"] in ("error", "critical")] == []


def media(messages: list[Message]) -> list[tuple[int, int, bytes]]:
    """Audio, video and data."""
    return [(m.type, m.timestamp, m.payload) for m in messages]


# -- publish and play


async def test_what_is_published_is_played() -> None:
    """Headers, then everything from the newest keyframe on, unchanged."""
    async with house() as there:
        publisher = await there.publish()
        assert publisher.codes == ["NetStream.Publish.Start"]
        messages = CLIP.messages()
        publisher.send(messages[:-100])
        await there.until(lambda: there.hub.streams()[0].video > 20)
        player = await there.play()
        assert player.codes == ["NetStream.Play.Reset", "NetStream.Play.Start"]
        publisher.send(messages[-100:])
        await player.until(lambda: player.media[-1:] == media(messages[-1:]))
        first = next(at for at, m in enumerate(player.media) if m[0] == VIDEO and m[2][1] == 1)
        assert [payload for _, _, payload in player.media[:first]] == [messages[0].payload, AVC_HEADER, aac_header()]
        assert number_of(player.media[first][2]) % 25 == 0
        tail = player.media[first:]
        assert tail == media(messages)[-len(tail) :]


async def test_metadata_inside_set_data_frame_is_played_as_metadata() -> None:
    """Encoders wrap it, players do not expect it."""
    async with house() as there:
        publisher = await there.publish()
        messages = CLIP.messages()
        wrapped = Message(DATA, 0, b"\x02\x00\x0d@setDataFrame" + messages[0].payload)
        publisher.send([wrapped, *messages[1:]])
        player = await there.play()
        await player.until(lambda: player.media)
        assert player.media[0][2] == messages[0].payload


async def test_a_late_player_gets_a_picture_at_once() -> None:
    """From the newest group of pictures, which the hub keeps."""
    async with house() as there:
        publisher = await there.publish()
        publisher.send(CLIP.messages())
        await there.until(lambda: there.hub.streams()[0].video == 75)
        player = await there.play()
        await player.until(lambda: player.media)
        assert [number_of(m[2]) for m in player.media if m[0] == VIDEO and m[2][1] == 1] == list(range(50, 75))


async def test_a_player_may_come_before_the_publisher() -> None:
    """It is granted when the stream begins."""
    async with house() as there:
        waiting = asyncio.ensure_future(there.play())
        await asyncio.sleep(PLAY_PATIENCE - 1)
        assert not waiting.done()
        publisher = await there.publish()
        publisher.send(CLIP.messages())
        player = await waiting
        await player.until(lambda: player.media)


async def test_a_stream_that_nobody_publishes_is_not_found() -> None:
    """After some seconds of patience."""
    async with house() as there:
        begun = asyncio.get_running_loop().time()
        player = await there.play()
        assert player.codes == ["NetStream.Play.StreamNotFound"]
        assert asyncio.get_running_loop().time() - begun == pytest.approx(PLAY_PATIENCE, abs=0.1)
        await player.until_ended()
        assert there.hub._streams is not None
        assert there.hub._streams._arrivals == {} or not any(there.hub._streams._arrivals.values())


async def test_a_second_publisher_is_refused_and_the_first_goes_on() -> None:
    """The name is taken."""
    async with house() as there:
        first = await there.publish()
        second = await there.publish()
        assert second.codes == ["NetStream.Publish.BadName"]
        await second.until_ended()
        first.send(CLIP.messages())
        player = await there.play()
        await player.until(lambda: player.media)
        other = await there.publish("other")
        assert other.codes == ["NetStream.Publish.Start"]


@pytest.mark.parametrize("goodbye", ["FCUnpublish", "deleteStream", "closeStream", "", "reset"])
async def test_players_are_told_when_the_publisher_leaves(goodbye: str) -> None:
    """StreamEOF, UnpublishNotify, and the end; everything that was published came before. The name is free again."""
    async with house() as there:
        publisher = await there.publish()
        player = await there.play()
        publisher.send(CLIP.messages())
        await player.until(lambda: player.media)
        if goodbye == "reset":
            await there.until(lambda: there.hub.streams()[0].video == 75)
            publisher.writer.transport.abort()
        elif goodbye:
            publisher.command(goodbye, 6, None, "test")
        else:
            await publisher.close()
        await player.until_ended()
        assert player.media[-1] == media(CLIP.messages())[-1]
        assert [m.payload for m in player.messages if m.type == 4][-1] == bytes.fromhex("0001 00000001")
        assert player.codes[-2:] == GONE
        assert there.hub.streams() == []
        again = await there.publish()
        assert again.codes == ["NetStream.Publish.Start"]


async def test_a_player_that_comes_in_the_moment_in_which_the_publisher_leaves_is_told() -> None:
    """Between finding the stream and joining it lies an answer on the network."""
    with Wires() as wires:
        publication = Publication(wires.pump, 0)
        publication.end(server._farewell)
        peer = wires.peer()
        peer.parser.chunk_size = 65536
        playing = asyncio.ensure_future(publication.play(peer.connection, framing.rtmp_play))
        await asyncio.sleep(0)
        assert [m.type for m in peer.messages()] == [4, 20, 20]
        peer.sock.close()
        wires.pump.serve()
        await playing


@pytest.mark.parametrize(("app", "name"), [("", "x"), ("live", ""), ("live", "?key=1")])
async def test_a_stream_without_a_name_is_refused(app: str, name: str) -> None:
    """To publishers and players."""
    async with house() as there:
        publisher, player = await there.publish(name, app), await there.play(name, app)
        assert publisher.codes == ["NetStream.Publish.BadName"]
        assert player.codes == ["NetStream.Play.StreamNotFound"]


async def test_arguments_are_no_part_of_the_name() -> None:
    """Keys travel in the query, of the stream or of the application."""
    async with house() as there:
        publisher = await there.publish("test?txSecret=1", "live?a=b")
        publisher.send(CLIP.messages())
        player = await there.play("test?token=2")
        await player.until(lambda: player.media)
        assert [(info.app, info.stream) for info in there.hub.streams()] == [("live", "test")]


async def test_a_publisher_from_elsewhere_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Publishing is free on loopback only; playing is free."""
    async with house() as there:
        publisher = await there.publish()
        publisher.send(CLIP.messages())
        monkeypatch.setattr(server, "is_loopback", lambda _: False)
        stranger = await there.publish("other")
        assert stranger.codes == ["NetStream.Publish.Denied"]
        await stranger.until_ended()
        player = await there.play()
        await player.until(lambda: player.media)


@pytest.mark.parametrize(
    ("address", "loopback"),
    [
        ("127.0.0.1", True),
        ("127.8.8.8", True),
        ("::1", True),
        ("::ffff:127.0.0.1", True),
        ("10.0.0.1", False),
        ("0.0.0.0", False),
        ("8.8.8.8", False),
        ("::ffff:8.8.8.8", False),
        ("fe80::1%eth0", False),
        ("2001:db8::1", False),
    ],
)
def test_only_this_machine_is_loopback(address: str, loopback: bool) -> None:
    """Also as an IPv4 address inside IPv6, and with a zone."""
    assert is_loopback(address) is loopback


async def test_streams_are_measured() -> None:
    """What came, who plays, what slow players lost."""
    async with house() as there:
        publisher = await there.publish()
        players = [await there.play() for _ in range(2)]
        for second in range(6):
            publisher.send(Clip(seconds=1, start=second * 1000).messages()[3 if second else 0 :])
            await asyncio.sleep(1)
        (info,) = there.hub.streams()
        assert (info.app, info.stream, info.players, info.dropped) == ("live", "test", 2, 0)
        assert (info.video, info.keyframes, info.video_codec, info.audio_codec) == (150, 6, "h264", "aac")
        assert info.audio == 276
        assert 5_900 <= info.media_ms <= 6_000
        sent = info.bytes
        assert 0.5 < info.bitrate / (sent * 8 / 6) < 2
        await players[0].close()
        await there.until(lambda: there.hub.streams()[0].players == 1)
        players[1].command("closeStream", 0, None)
        await players[1].until_ended()
        await there.until(lambda: there.hub.streams()[0].players == 0)


async def test_losses_of_players_that_have_left_stay_counted() -> None:
    """The stream's total only grows."""
    async with house() as there:
        publisher = await there.publish()
        slow = await there.play()
        big = [packets.picture(at, key=at % 5 == 0, size=500_000) for at in range(60)]
        publisher.send([Message(VIDEO, 0, AVC_HEADER), Message(AUDIO, 0, aac_header())])
        for at, payload in enumerate(big):
            publisher.send([Message(VIDEO, 40 * at, payload)])
            await publisher.writer.drain()
        await there.until(lambda: there.hub.streams()[0].video == 60)
        dropped = there.hub.streams()[0].dropped
        assert dropped > 0
        await slow.close()
        await there.until(lambda: there.hub.streams()[0].players == 0)
        assert there.hub.streams()[0].dropped == dropped


async def test_a_hub_that_stops_lets_everybody_go() -> None:
    """Players are told; every connection ends."""
    async with house() as there:
        publisher, player = await there.publish(), await there.play()
        publisher.send(CLIP.messages())
        await player.until(lambda: player.media)
        there.task.cancel()
        await player.until_ended()
        assert player.codes[-2:] == GONE
        await publisher.until_ended()


# -- clients that mean harm, or stand still


async def test_a_client_that_does_not_shake_hands_is_let_go() -> None:
    """After ten seconds."""
    async with house() as there:
        client = await there.open(shake=False)
        begun = asyncio.get_running_loop().time()
        await client.until_ended()
        assert asyncio.get_running_loop().time() - begun == pytest.approx(10, abs=0.1)


async def test_a_client_that_never_says_what_it_wants_is_let_go() -> None:
    """Ten seconds from connecting; commands do not buy time."""
    async with house() as there:
        client = await there.open()
        begun = asyncio.get_running_loop().time()
        client.command("connect", 1, {"app": "live"})
        for _ in range(4):
            await asyncio.sleep(2)
            client.command("createStream", 2, None)
        await client.until_ended()
        assert asyncio.get_running_loop().time() - begun == pytest.approx(10, abs=0.1)


async def test_endless_commands_are_cut_off() -> None:
    """Nobody needs more than a few before publish or play."""
    async with house() as there:
        client = await there.open()
        for at in range(200):
            client.command("_checkbw", at, None)
        await client.until_ended()


async def test_garbage_ends_a_client_and_nobody_else() -> None:
    """On both ports: before and after the handshake, and in the middle of publishing."""
    rng = random.Random(5)
    async with house() as there:
        well = await there.publish("well")
        for _ in range(20):
            client = await there.open(shake=False)
            client.writer.write(rng.randbytes(4000))
            await client.until_ended()
            client = await there.open()
            client.writer.write(b"\xff" + rng.randbytes(4000))
            await client.until_ended()
            client = await there.publish("bad")
            client.send(CLIP.messages()[:50])
            client.writer.write(b"\xff" + rng.randbytes(4000))
            await client.until_ended()
        well.send(CLIP.messages())
        player = await there.play("well")
        await player.until(lambda: player.media)


@pytest.mark.parametrize(
    "request_",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(300),
        b"\x03" + bytes(1536),
        b"GET //[ HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET http://[::1/x.flv HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /live/%ff%fe.flv HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /live/\xff\xfe.flv HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /live/x.flv HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
        b"GET /live/x.flv HTTP/1.1\r\nHost: x\r\nContent-Length: x\r\n\r\n",
        b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 20_000 + b"\r\n",
        b"\r\n\r\n\r\n",
    ],
    ids=str,
)
async def test_what_is_no_request_for_a_stream_is_answered_or_closed(request_: bytes) -> None:
    """With an error, if it is HTTP at all; never with a defect."""
    async with house() as there:
        reader, writer = await there.http()
        writer.write(request_)
        async with asyncio.timeout(30):
            try:
                data = await reader.read()
            except ConnectionError:
                return
        assert data == b"" or data.startswith(b"HTTP/1.1 4")


async def test_a_request_that_does_not_come_is_not_awaited_for_ever() -> None:
    """Ten seconds, also if a byte comes now and then."""
    async with house() as there:
        reader, writer = await there.http()
        begun = asyncio.get_running_loop().time()
        for byte in b"GET /liv":
            writer.write(bytes([byte]))
            await asyncio.sleep(1)
        assert await reader.read() == b""
        assert asyncio.get_running_loop().time() - begun == pytest.approx(10, abs=0.1)


# -- HTTP-FLV


async def test_a_stream_is_played_as_flv_over_http() -> None:
    """Valid chunks of valid tags that a page from anywhere may read; it ends with the publisher."""
    async with house() as there:
        publisher = await there.publish()
        publisher.send(CLIP.messages()[:30])
        await there.until(lambda: there.hub.streams()[0].video > 5)
        reader, writer = await there.http()
        writer.write(b"GET /live/test.flv?token=1 HTTP/1.1\r\nHost: x\r\n\r\n")
        await there.until(lambda: there.hub.streams()[0].players == 1)
        publisher.send(CLIP.messages()[30:])
        await publisher.close()
        answer = await response(reader)
        assert answer.status == 200
        assert answer.headers["content-type"] == "video/x-flv"
        assert answer.headers["access-control-allow-origin"] == "*"
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["transfer-encoding"] == "chunked"
        assert "content-length" not in answer.headers
        assert media(list(flv_tags(answer.pieces))) == media(CLIP.messages())


async def test_an_http_1_0_client_gets_the_bare_file() -> None:
    """It knows no chunks; the end of the connection is the end."""
    async with house() as there:
        publisher = await there.publish()
        publisher.send(CLIP.messages()[:30])
        await there.until(lambda: there.hub.streams()[0].video > 5)
        reader, writer = await there.http()
        writer.write(b"GET /live/test.flv HTTP/1.0\r\n\r\n")
        await there.until(lambda: there.hub.streams()[0].players == 1)
        await publisher.close()
        answer = await response(reader)
        assert "transfer-encoding" not in answer.headers
        assert media(list(flv_tags(answer.body))) == media(CLIP.messages()[:30])


@pytest.mark.parametrize("path", ["/", "/live/none.flv", "/live/test", "/test.flv", "/live/test.m3u8", "/live/.flv"])
async def test_what_is_no_live_stream_is_not_found(path: str) -> None:
    """At once, with a hint."""
    async with house() as there:
        publisher = await there.publish()
        publisher.send(CLIP.messages())
        answer = await there.ask(f"GET {path} HTTP/1.1")
        assert answer.status == 404
        assert b"/APP/STREAM.flv" in answer.body
        assert answer.headers["access-control-allow-origin"] == "*"
        assert int(answer.headers["content-length"]) == len(answer.body)


async def test_a_page_may_ask_first() -> None:
    """CORS: the preflight request is answered without a stream."""
    async with house() as there:
        answer = await there.ask("OPTIONS /live/test.flv HTTP/1.1")
        assert (answer.status, answer.body) == (204, b"")
        assert "get" in answer.headers["access-control-allow-methods"]
        assert answer.headers["access-control-allow-headers"] == "*"


async def test_head_says_whether_a_stream_is_live() -> None:
    """Without a body, whatever the answer."""
    async with house() as there:
        publisher = await there.publish()
        publisher.send(CLIP.messages())
        found, missing = await there.ask("HEAD /live/test.flv HTTP/1.1"), await there.ask("HEAD /live/no.flv HTTP/1.1")
        assert (found.status, found.body) == (200, b"")
        assert (missing.status, missing.body) == (404, b"")
        assert there.hub.streams()[0].players == 0


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
async def test_other_methods_are_refused(method: str) -> None:
    """Nothing can be changed here."""
    async with house() as there:
        answer = await there.ask(f"{method} /live/test.flv HTTP/1.1")
        assert answer.status == 405
        assert answer.headers["allow"] == "get, head, options"


async def test_names_may_be_quoted() -> None:
    """In the path, as browsers do; applications may have several parts."""
    async with house() as there:
        publisher = await there.publish("a b", "live/room")
        publisher.send(CLIP.messages())
        await there.until(there.hub.streams)
        assert (await there.ask("HEAD /live/room/a%20b.flv HTTP/1.1")).status == 200
