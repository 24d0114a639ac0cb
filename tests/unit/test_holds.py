"""Streams that are held warm on edges: real nginx edges before an origin that counts who comes, and faulty ones."""

import asyncio
import ipaddress
import socket
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from penstock.api.certificate import own_files
from penstock.errors import AddressRefused, MediaError
from penstock.media.hold.door import EdgeDoor
from penstock.media.hold.drain import Drain
from penstock.media.hold.proof import Watched
from penstock.media.hold.rtmp import watch_rtmp
from penstock.media.plan import Hold
from penstock.media.warming import watch_with
from penstock.net import Policy
from tests.e2e.nginx import Nginx
from tests.http_peer import FORBIDDEN, HERE, Answer, Server, redirect
from tests.packets import AVC_HEADER, Clip, picture, sound
from tests.patience import PATIENCE
from tests.rtmp_peer import Arrival, Origin
from tests.rtmp_wire import AUDIO, VIDEO, Message, flv_file
from tests.tls_front import TlsFront
from tests.unit.test_redirects import Director

MEDIA = Clip(seconds=20).messages()
POLICY = Policy([ipaddress.ip_network("127.0.0.2/32")])


def hold(
    port: int, path: str = "/live/test", *, protocol: str = "rtmp", host: str = "127.0.0.1", **more: object
) -> Hold:
    """A stream on an edge that viewers know as play.example.com; the network policy forbids its address."""
    values = {"id": f"e/{protocol}", "edge": "e", "area": "domestic", "vhost": "play.example.com"} | more
    return Hold(
        **values,  # type: ignore[arg-type]
        url=f"rtmp://play.example.com{path}",
        protocol=protocol,  # type: ignore[arg-type]
        host=host,
        port=port,
        path=path,
    )


async def watch(wanted: Hold, policy: Policy = POLICY) -> Watched:
    """Watch it until its first keyframe."""
    return await watch_with(policy, Drain())(wanted)


async def fails(wanted: Hold) -> str:
    """Why it cannot be watched."""
    with pytest.raises((MediaError, AddressRefused)) as caught:
        (await watch(wanted)).close("")
    return caught.value.message


async def received(watched: Watched, size: int) -> asyncio.Task[None]:
    """Hold it until so many bytes more have come; returns the holding."""
    target = watched.received + size
    holding = asyncio.ensure_future(watched.hold())
    async with asyncio.timeout(PATIENCE):
        while watched.received < target:
            assert not holding.done(), holding.exception()
            await asyncio.sleep(0.02)
    return holding


async def reason(holding: asyncio.Task[None]) -> str:
    """Why it ended."""
    with pytest.raises(MediaError) as caught:
        await asyncio.wait_for(holding, PATIENCE)
    return caught.value.message


def players(origin: Origin) -> int:
    """How many have ever asked for the stream."""
    return sum(connection.verb == "play" for connection in origin.connections)


async def test_nginx_edge_pulls_once_and_serves_a_hundred_viewers_from_what_is_held(tmp_path: Path) -> None:
    async with Origin(MEDIA) as origin:
        with Nginx(tmp_path, f"pull rtmp://127.0.0.1:{origin.port}/live;") as edge:
            watched = await watch(hold(edge.port))
            holding = await received(watched, 10_000)
            assert players(origin) == 1
            some = await asyncio.gather(*(watch(hold(edge.port)) for _ in range(100)))
            assert players(origin) == 1
            for one in some:
                one.close("")
            watched.close("enough")
            assert await reason(holding) == "enough"


async def test_nginx_keeps_a_viewer_that_sees_no_pings(tmp_path: Path) -> None:
    """It pings those to whom nothing flows; when media flows again, the viewer is still there."""
    async with Origin(MEDIA) as origin:
        pull = f"pull rtmp://127.0.0.1:{origin.port}/live;"
        with Nginx(tmp_path, pull, rtmp="ping 1s; ping_timeout 2s;") as edge:
            watched = await watch_rtmp(EdgeDoor(POLICY, hold(edge.port)), Drain(), keep_alive=0.2)
            holding = await received(watched, 1)
            origin.stall()
            await asyncio.sleep(4)  # longer than nginx waits
            origin.resume()
            before = watched.received
            async with asyncio.timeout(PATIENCE):
                while watched.received < before + 10_000:
                    assert not holding.done()
                    await asyncio.sleep(0.02)
            watched.close("enough")
            assert await reason(holding) == "enough"


async def test_pings_are_answered_unasked() -> None:
    async with Origin(MEDIA) as origin:
        watched = await watch_rtmp(EdgeDoor(POLICY, hold(origin.port)), Drain(), keep_alive=0.05)
        holding = asyncio.ensure_future(watched.hold())

        def answers() -> list[Arrival]:
            controls = origin.connections[0].controls
            return [message for message in controls if message.type == 4 and message.payload[:2] == b"\0\7"]

        assert all(len(answer.payload) == 6 for answer in await origin.until(lambda: answers()[2:]))
        watched.close("enough")
        assert await reason(holding) == "enough"


async def test_what_is_thrown_away_is_acknowledged() -> None:
    big = [
        Message(VIDEO, 0, AVC_HEADER),
        *(Message(VIDEO, at * 40, picture(at, key=True, size=200_000)) for at in range(100)),
    ]
    async with Origin(big) as origin:
        watched = await watch(hold(origin.port))
        holding = await received(watched, 8_000_000)
        acknowledged = await origin.until(lambda: [c for c in origin.connections[0].controls if c.type == 3][2:])
        counts = [int.from_bytes(message.payload, "big") for message in acknowledged]
        assert counts == sorted(counts)
        assert counts[0] > 1_250_000
        watched.close("enough")
        assert await reason(holding) == "enough"


async def test_edge_is_asked_as_a_viewer_would_by_the_name_that_viewers_use() -> None:
    async with Origin(MEDIA) as edge:
        watched = await watch(hold(edge.port, query="token=1"))
        [viewer] = edge.connections
        assert (viewer.tc_url, viewer.name) == ("rtmp://play.example.com/live", "test?token=1")
        watched.close("")


@pytest.mark.parametrize(
    ("media", "missing"),
    [
        ([Message(AUDIO, 0, b"\xaf\x00\x11\x90"), Message(AUDIO, 20, sound())], "sound, but no picture"),
        ([Message(VIDEO, 0, picture(key=True))], "no codec header"),
        ([Message(VIDEO, 0, AVC_HEADER), Message(VIDEO, 40, picture())], "no keyframe"),
        ([Message(18, 0, b"\x02\x00\x0aonMetaData")], "no media"),
    ],
)
@pytest.mark.looptime
async def test_edge_must_send_a_codec_header_and_a_keyframe(media: list[Message], missing: str) -> None:
    async with Origin(media, again=False) as edge:
        assert await fails(hold(edge.port)) == f"connected, but {missing} within 20 s"


async def test_edge_that_refuses_says_why() -> None:
    async with Origin(MEDIA) as edge:
        edge.refuse = "NetStream.Play.StreamNotFound"
        assert (await fails(hold(edge.port))).startswith("refused by the server, no such stream")


async def test_publisher_that_leaves_before_a_keyframe_ends_the_try() -> None:
    async with Origin([Message(VIDEO, 0, AVC_HEADER)], again=False) as edge:
        trying = asyncio.ensure_future(fails(hold(edge.port)))
        await edge.until(lambda: players(edge))
        edge.end(close=False)
        assert await trying == "the publisher has left"


async def test_edge_that_is_down_is_told_of() -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    assert await fails(hold(port)) == "connection refused"
    assert await fails(hold(port, "/live/test.flv", protocol="flv")) == "connection refused"


@pytest.mark.looptime
@pytest.mark.parametrize("protocol", ["rtmp", "flv", "hls"])
async def test_edge_that_stays_silent_is_left(protocol: str) -> None:
    async with Origin(MEDIA) as edge:
        edge.mute = True
        assert await fails(hold(edge.port, protocol=protocol)) == "connected, but no answer within 10 s"


def over_http(server: Server, path: str) -> Hold:
    """A stream on that edge."""
    return hold(server.port, path, protocol="hls" if path.endswith("m3u8") else "flv", host=HERE)


#: Longer than what is looked at before the rest is thrown away.
FLV = flv_file(
    [Message(VIDEO, 0, AVC_HEADER), *(Message(VIDEO, at * 40, picture(at, key=True, size=9000)) for at in range(50))]
)


@pytest.mark.parametrize("coding", ["until it closes", "chunked"])
async def test_flv_is_held_in_either_coding(coding: str) -> None:
    async with Server() as edge:
        answer = Answer(FLV, endless=True, headers=("Content-Type: video/x-flv",))
        if coding == "chunked":
            pieces = [FLV[at : at + 777] for at in range(0, len(FLV), 777)]
            body = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces)
            answer = Answer(body, endless=True, headers=("Transfer-Encoding: chunked",))
        edge.pages["/live/test.flv"] = answer
        watched = await watch(over_http(edge, "/live/test.flv"))
        holding = await received(watched, 1_000_000)
        watched.close("enough")
        assert await reason(holding) == "enough"
        assert "\r\nHost: play.example.com\r\n" in edge.heads[0]
        # The kernel throws away what we do not read: the edge can send far more than our buffers hold.
        assert edge.sent > 1_000_000


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (Answer(status="404 Not Found"), "HTTP status 404"),
        (Answer(status="503 Busy"), "HTTP status 503"),
        (
            Answer(b"<html>welcome to the captive portal</html>", headers=("Content-Type: text/html; charset=utf-8",)),
            "this is not FLV (the edge calls it text/html)",
        ),
        (Answer(FLV[:60]), "the edge ended the stream before a keyframe came"),
        (Answer(b"zzz", headers=("Transfer-Encoding: chunked",)), "the edge ended the stream before a keyframe came"),
        (
            Answer(b"zzz\r\n", headers=("Transfer-Encoding: chunked",)),
            "the server's answer is not chunked as it claims",
        ),
        (redirect("https://play.example.com/x"), "redirected to another protocol (https)"),
        (redirect("http://play.example.com/live/test.flv"), "redirected more than 5 times"),
        (redirect(""), "redirected to what is no URL"),
    ],
)
async def test_flv_that_cannot_be_held_says_why(answer: Answer, why: str) -> None:
    async with Server() as edge:
        edge.pages["/live/test.flv"] = answer
        assert await fails(over_http(edge, "/live/test.flv")) == why


@pytest.mark.parametrize("path", ["/live/test.flv", "/live/test.m3u8"])
async def test_redirection_goes_through_the_policy(path: str) -> None:
    """Nobody is asked about the edge's own address; about any other one the policy is."""
    async with Server() as edge:
        where = f"{FORBIDDEN}:{edge.port}"
        edge.pages[path] = redirect(f"http://{where}/x")
        why = f"redirected to {where}: address {FORBIDDEN} is not public; the setting network.allow can permit it"
        assert await fails(over_http(edge, path)) == why
        assert edge.canary == 0


async def test_rtmp_edge_that_sends_viewers_elsewhere_sends_them_through_the_policy() -> None:
    where = "rtmp://169.254.169.254/latest"
    async with Director({"redirect": where}) as edge:
        words = f"redirected to {where}: address 169.254.169.254 is not public; the setting network.allow can permit it"
        assert await fails(hold(urlsplit(edge.url).port or 0)) == words


async def test_redirection_to_the_edge_itself_is_followed() -> None:
    async with Server() as edge:
        edge.pages["/live/test.flv"] = redirect("http://play.example.com/2/test.flv?session=7")
        edge.pages["/2/test.flv"] = Answer(FLV, endless=True)
        watched = await watch_forbidding_all(over_http(edge, "/live/test.flv"))
        assert edge.heads[1].startswith("GET /2/test.flv?session=7 HTTP/1.1")
        watched.close("")


async def test_flv_over_https_is_held_as_it_comes_when_its_keyframe_has_come(tmp_path: Path) -> None:
    """Nobody decrypts what is thrown away; the edge's certificate is that of the name that viewers use."""
    async with Server() as edge:
        edge.pages["/live/test.flv"] = Answer(FLV, endless=True)
        with TlsFront(tmp_path, edge.port, host=HERE) as front:
            wanted = hold(front.port, "/live/test.flv", protocol="flv", tls=True)
            watched = await watch(wanted, Policy(insecure_hosts=["play.example.com"]))
            holding = await received(watched, 8_000_000)
            watched.close("enough")
            assert await reason(holding) == "enough"
            assert "\r\nHost: play.example.com\r\n" in edge.heads[0]
            with pytest.raises(MediaError, match=r"the certificate of play\.example\.com is not trusted"):
                await watch(wanted)


async def test_nginx_that_ends_a_stream_over_https_is_noticed(tmp_path: Path) -> None:
    files = own_files(tmp_path / "tls", ["play.example.com"], now=datetime.now(UTC))
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    tls = f"listen 127.0.0.1:{port} ssl; ssl_certificate {files.certificate}; ssl_certificate_key {files.key};"
    with Nginx(tmp_path, http=tls) as edge:
        (edge.www / "live").mkdir()
        (edge.www / "live" / "test.flv").write_bytes(FLV)
        wanted = hold(port, "/live/test.flv", protocol="flv", tls=True)
        watched = await watch(wanted, Policy(insecure_hosts=["play.example.com"]))
        assert await reason(asyncio.ensure_future(watched.hold())) == "closed by the peer"


async def watch_forbidding_all(wanted: Hold) -> Watched:
    return await watch(wanted, Policy())
