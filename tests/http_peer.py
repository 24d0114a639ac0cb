"""An HTTP server for tests that answers as it is told, and a canary that counts who comes."""

import asyncio
import socket
from typing import NamedTuple, Self

from tests.http_login import DigestGuard
from tests.patience import settled

#: Where `Server` is, and where nobody may go. Linux has all of 127.0.0.0/8.
HERE, FORBIDDEN = "127.0.0.2", "127.0.0.1"


class Answer(NamedTuple):
    """What is said for one path."""

    body: bytes = b""
    status: str = "200 OK"
    headers: tuple[str, ...] = ()
    #: Say the body again and again.
    endless: bool = False
    #: Say how long the body is.
    length: bool = True


def redirect(location: str) -> Answer:
    """To another address."""
    return Answer(status="302 Found", headers=(f"Location: {location}",))


def unauthorized(*challenges: str) -> Answer:
    """To be asked again, with a proof."""
    return Answer(status="401 Unauthorized", headers=tuple(f"WWW-Authenticate: {one}" for one in challenges))


class Server:
    """Serves `pages` by their paths at `HERE`; at the same port of `FORBIDDEN` a canary counts connections."""

    def __init__(self) -> None:
        self.pages: dict[str, Answer] = {}
        #: Who may have them; None: everybody.
        self.guard: DigestGuard | None = None
        #: Heads of requests, as they came.
        self.heads: list[str] = []
        self.canary = 0
        #: Bytes of endless bodies.
        self.sent = 0
        self.port = 0
        self._servers: list[asyncio.Server] = []

    @property
    def url(self) -> str:
        """Where the pages are."""
        return f"http://{HERE}:{self.port}"

    async def __aenter__(self) -> Self:
        while not self._servers:
            with socket.create_server((FORBIDDEN, 0)) as probe:
                self.port = probe.getsockname()[1]
            try:
                self._servers.append(await asyncio.start_server(self._serve, HERE, self.port))
                for address in (FORBIDDEN, "::1"):
                    self._servers.append(await asyncio.start_server(self._count, address, self.port))
            except OSError:
                self._close()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._close()
        await settled()

    def _close(self) -> None:
        for server in self._servers:
            server.close()
        self._servers = []

    async def _count(self, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.canary += 1
        writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            self.heads.append(head)
            answer = self.pages.get(head.split(" ")[1].partition("?")[0], Answer(status="404 Not Found"))
            if self.guard and not self.guard.admits(head):
                answer = unauthorized(self.guard.challenge())
            writer.write(head_of(answer) + answer.body)
            await writer.drain()
            while answer.endless:
                writer.write(answer.body)
                await writer.drain()
                self.sent += len(answer.body)
        except (OSError, asyncio.IncompleteReadError):
            pass
        except asyncio.CancelledError:
            writer.transport.abort()  # nobody will read the rest
            raise
        finally:
            writer.close()


def head_of(answer: Answer) -> bytes:
    """The head of an answer that closes its connection."""
    unsaid = answer.endless or not answer.length
    length = [] if unsaid else [f"Content-Length: {len(answer.body)}"]
    return "\r\n".join([f"HTTP/1.1 {answer.status}", *length, "Connection: close", *answer.headers, "", ""]).encode()


def playlist(*segments: str, before: str = "", duration: float = 2) -> Answer:
    """A media playlist that has ended."""
    lines = ["#EXTM3U", "#EXT-X-VERSION:7", f"#EXT-X-TARGETDURATION:{duration:.0f}", *([before] if before else [])]
    lines += [line for segment in segments for line in (f"#EXTINF:{duration},", segment)]
    return Answer("\n".join([*lines, "#EXT-X-ENDLIST", ""]).encode())
