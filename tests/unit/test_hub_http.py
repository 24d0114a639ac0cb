"""The hub: media over HTTP, and clients that mean harm or stand still, in virtual time."""

import asyncio
import random

import pytest

from tests.patience import PATIENCE
from tests.rtmp_wire import flv_tags
from tests.unit.house import CLIP, house, media, response

pytestmark = pytest.mark.looptime(noop_cycles=12)


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
        async with asyncio.timeout(PATIENCE):
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
        await there.until(lambda: there.hub.status().streams[0].video > 5)
        reader, writer = await there.http()
        writer.write(b"GET /live/test.flv?token=1 HTTP/1.1\r\nHost: x\r\n\r\n")
        await there.until(lambda: len(there.hub.status().streams[0].players) == 1)
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
        await there.until(lambda: there.hub.status().streams[0].video > 5)
        reader, writer = await there.http()
        writer.write(b"GET /live/test.flv HTTP/1.0\r\n\r\n")
        await there.until(lambda: len(there.hub.status().streams[0].players) == 1)
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
        assert not there.hub.status().streams[0].players


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
        await there.until(lambda: there.hub.status().streams)
        assert (await there.ask("HEAD /live/room/a%20b.flv HTTP/1.1")).status == 200
