"""The RTSP relay: proofs, redirects, and servers that say something else. A child is played by the test."""

import asyncio
import ipaddress
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.errors import MediaError
from penstock.media.rtsp import Message, Peer, RtspRelay
from penstock.net import Policy
from tests.http_peer import FORBIDDEN, HERE
from tests.patience import PATIENCE

POLICY = Policy([ipaddress.ip_network(f"{HERE}/32")])
OK = "RTSP/1.0 200 OK\r\nCSeq: 1"


class Camera:
    """A server that answers each request with the next of its answers, then hangs up."""

    def __init__(self, answers: Sequence[str | bytes]) -> None:
        self._answers = list(answers)
        self.requests: list[str] = []
        self.port = 0

    @property
    def url(self) -> str:
        return f"rtsp://{HERE}:{self.port}"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while self._answers:
                self.requests.append((await reader.readuntil(b"\r\n\r\n")).decode())
                answer = self._answers.pop(0)
                writer.write(answer if isinstance(answer, bytes) else f"{answer}\r\n\r\n".encode())
                await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def camera(*answers: str | bytes) -> AsyncIterator[Camera]:
    """A running one."""
    running = Camera(answers)
    server = await asyncio.start_server(running._serve, HERE, 0)
    running.port = server.sockets[0].getsockname()[1]
    try:
        yield running
    finally:
        server.close()


async def say(relay: RtspRelay, *requests: str) -> str:
    """What a child gets for its requests until the relay hangs up; `URL` stands for the relay's own."""
    reader, writer = await asyncio.open_connection("127.0.0.1", relay.port)
    for request in requests:
        writer.write(f"{request.replace('URL', relay.url)}\r\nCSeq: 1\r\n\r\n".encode())
    writer.write_eof()
    async with asyncio.timeout(PATIENCE):
        answer = await reader.read()
    writer.close()
    return answer.decode("latin-1")


DESCRIBE = "DESCRIBE URL RTSP/1.0"


async def test_server_sees_its_own_address_and_not_who_knows_it() -> None:
    async with camera(OK) as there, RtspRelay(POLICY, f"rtsp://u:p@{HERE}:{there.port}/live/a?b=c") as relay:
        assert (await say(relay, "SETUP URL/track=1 RTSP/1.0")).startswith("RTSP/1.0 200 OK")
    assert there.requests == [f"SETUP {there.url}/live/a?b=c/track=1 RTSP/1.0\r\nCSeq: 1\r\n\r\n"]


async def test_publisher_reaches_its_server() -> None:
    """A description, then frames, however they come, then a request: all as it was said, but for the address."""
    frames = b"".join(b"$\0" + size.to_bytes(2, "big") + bytes([size % 256]) * size for size in (0, 5, 1400, 65535, 36))
    got = bytearray()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for _ in range(2):
            got.extend(await reader.readuntil(b"\r\n\r\n"))
            if got.endswith(b"Content-Length: 4\r\n\r\n"):
                got.extend(await reader.readexactly(4))
            writer.write(f"{OK}\r\n\r\n".encode())
        while data := await reader.read(65536):
            got.extend(data)
        writer.close()

    server = await asyncio.start_server(serve, HERE, 0)
    port = server.sockets[0].getsockname()[1]
    async with server, RtspRelay(POLICY, f"rtsp://{HERE}:{port}/a") as relay:
        _, writer = await asyncio.open_connection("127.0.0.1", relay.port)
        writer.write(f"ANNOUNCE {relay.url} RTSP/1.0\r\nContent-Length: 4\r\n\r\nv=0\n".encode())
        writer.write(f"RECORD {relay.url} RTSP/1.0\r\n\r\n".encode())
        for at in range(0, len(frames), 1000):
            writer.write(frames[at : at + 1000])
            await writer.drain()
            await asyncio.sleep(0)
        writer.write(f"TEARDOWN {relay.url} RTSP/1.0\r\n\r\n".encode())
        end = f"TEARDOWN rtsp://{HERE}:{port}/a RTSP/1.0\r\n\r\n".encode()
        async with asyncio.timeout(PATIENCE):
            while not got.endswith(end):
                await asyncio.sleep(0.01)
        writer.close()
    said = f"ANNOUNCE rtsp://{HERE}:{port}/a RTSP/1.0\r\nContent-Length: 4\r\n\r\nv=0\n"
    said += f"RECORD rtsp://{HERE}:{port}/a RTSP/1.0\r\n\r\n"
    assert bytes(got) == said.encode() + frames + end


async def test_nobody_else_is_served() -> None:
    async with camera(OK) as there, RtspRelay(POLICY, there.url) as relay:
        assert await say(relay, f"DESCRIBE rtsp://127.0.0.1:{relay.port}/guess RTSP/1.0") == ""
        assert await say(relay, "GET / HTTP/1.1") == ""
    assert there.requests == []


async def test_password_is_told_to_its_own_server_alone() -> None:
    """Neither before it is asked for, nor to the next server, which asks for it too."""
    ask = 'RTSP/1.0 401 Unauthorized\r\nCSeq: 1\r\nWWW-Authenticate: Basic realm="x"'
    async with camera(ask, ask) as next_:
        moved = f"RTSP/1.0 302 Found\r\nCSeq: 1\r\nLocation: {next_.url}/b"
        async with camera(ask, moved) as first, RtspRelay(POLICY, first.url.replace("//", "//u:p@") + "/a") as relay:
            assert (await say(relay, DESCRIBE)).startswith("RTSP/1.0 401 ")
    assert ["Authorization: Basic dTpw" in request for request in first.requests] == [False, True]
    assert [request.splitlines()[0] for request in next_.requests] == [f"DESCRIBE {next_.url}/b RTSP/1.0"]
    assert "Authorization" not in next_.requests[0]


@pytest.mark.parametrize(
    ("location", "reason"),
    [
        (f"rtsp://{FORBIDDEN}:1/a", "network.allow"),
        ("rtsp://127.1:1/a", "network.allow"),
        ("rtsp://[::1]/a", "network.allow"),
        ("rtsp://[::ffff:127.0.0.1]/a", "network.allow"),
        ("http://8.8.8.8/", "something else than RTSP"),
        ("file:///etc/passwd", "something else than RTSP"),
        ("", "something else than RTSP"),
        ("rtsp://[::1", "Invalid IPv6 URL"),
        ("rtsp://h:x/", "cannot be understood"),
    ],
)
async def test_redirect_is_checked(location: str, reason: str) -> None:
    async with camera(f"RTSP/1.0 302 Found\r\nLocation: {location}") as there, RtspRelay(POLICY, there.url) as relay:
        assert await say(relay, DESCRIBE) == ""
        assert reason in relay.failure


async def test_redirects_are_followed_a_few_times() -> None:
    answers = ["RTSP/1.0 301 Moved\r\nLocation: rtsp://{}/a"] * 10
    async with camera(*answers) as there:
        there._answers = [str(answer).format(f"{HERE}:{there.port}") for answer in answers]
        async with RtspRelay(POLICY, there.url) as relay:
            assert (await say(relay, DESCRIBE)).startswith("RTSP/1.0 301 ")
    assert len(there.requests) == 6


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"HTTP/1.1 200 OK\r\n\r\n", "does not speak RTSP"),
        (b"hello, world\r\n\r\n", "does not speak RTSP"),
        (b"RTSP/1.0\r\n\r\n", "does not speak RTSP"),
        (b"x" * 100_000, "does not speak RTSP"),
        (b"RTSP/1.0 200 OK\r\nContent-Length: many\r\n\r\n", "no usable length"),
        (b"RTSP/1.0 200 OK\r\nContent-Length: 99999999999\r\n\r\n", "no usable length"),
        (b"RTSP/1.0 200 OK\r\nContent-Length: 10\r\n\r\nshort", "closed by the peer"),
        (b"", "closed by the peer"),
        (b'RTSP/1.0 401 No\r\nWWW-Authenticate: Digest algorithm="MD2"\r\n\r\n', "a digest by MD2"),
    ],
)
async def test_server_that_says_something_else_is_a_reason(answer: bytes, reason: str) -> None:
    async with camera(answer) as there, RtspRelay(POLICY, there.url.replace("//", "//u:p@")) as relay:
        await say(relay, DESCRIBE)
        assert reason in relay.failure


@given(st.binary(max_size=300))
async def test_no_bytes_raise_anything_else(data: bytes) -> None:
    peer = Peer.__new__(Peer)
    peer.rest = bytearray(data)

    async def end(size: int) -> None:
        if len(peer.rest) < size:
            raise ConnectionResetError("closed by the peer")

    peer._fill = end  # type: ignore[method-assign]
    try:
        for _ in range(100):
            item = await peer.receive()
            assert item.wire() if isinstance(item, Message) else item[:1] == b"$"
    except (MediaError, ConnectionResetError):
        pass
