"""A hub on loopback, and clients of it, in virtual time. Tests that use it are marked with `looptime`."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, closing
from typing import NamedTuple

from structlog.testing import capture_logs

from penstock.hub.access import Access
from penstock.hub.server import Hub, HubConfig
from tests.packets import Clip
from tests.patience import PATIENCE
from tests.rtmp_client import Client
from tests.rtmp_wire import Message

CLIP = Clip(seconds=3)
SECRET = b"of the hub and its workers"
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

    def __init__(self, resources: AsyncExitStack, now: int) -> None:
        self._resources = resources
        loop = asyncio.get_running_loop()
        begun = loop.time() - now
        self.access = Access(secret=SECRET, clock=lambda: round((loop.time() - begun) * 1000))
        self.hub = Hub(HubConfig(), access=self.access, clock=lambda: round((loop.time() - begun) * 1000))
        self.rtmp, self.media = (socket.create_server(("127.0.0.1", 0)) for _ in range(2))
        for sock in (self.rtmp, self.media):
            resources.enter_context(closing(sock))
        self.port = self.rtmp.getsockname()[1]
        self.task = loop.create_task(self.hub.serve(self.rtmp, self.media))

    async def publish(self, name: str = "test", app: str = "live", host: str = "127.0.0.1") -> Client:
        """A publisher, granted or refused."""
        return await self._kept(await Client.publish(self.port, app, name, host))

    async def play(self, name: str = "test", app: str = "live", host: str = "127.0.0.1") -> Client:
        """An RTMP player, granted or refused."""
        return await self._kept(await Client.play(self.port, app, name, host))

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
        async with asyncio.timeout(PATIENCE):
            while not condition():
                await asyncio.sleep(0.01)


async def response(reader: asyncio.StreamReader) -> Response:
    """Read a response to its end."""
    async with asyncio.timeout(PATIENCE):
        data = await reader.read()
    head, _, body = data.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in lines)
    return Response(int(first.split(" ")[1]), headers, body)


@asynccontextmanager
async def house(now: int = 0) -> AsyncIterator[House]:
    """A hub that runs, from Unix second `now` on; nobody may have met a defect in it.

    No fixture: those run outside the virtual time.
    """
    with capture_logs() as logs:
        async with AsyncExitStack() as resources:
            there = House(resources, now)
            await asyncio.sleep(0)
            yield there
            there.task.cancel()
            await asyncio.wait([there.task])
    assert [line for line in logs if line["log_level"] in ("error", "critical")] == []


def media(messages: list[Message]) -> list[tuple[int, int, bytes]]:
    """Audio, video and data."""
    return [(m.type, m.timestamp, m.payload) for m in messages]
