"""The little HTTP that media over HTTP needs: read one request, answer it, keep the bare socket."""

import asyncio
import socket
from contextlib import suppress
from http import HTTPStatus
from urllib.parse import unquote

import httptools
import msgspec

from penstock.errors import MediaError

#: Seconds and bytes that a request may take.
PATIENCE = 10
MAX_REQUEST = 16 << 10


class Request(msgspec.Struct, kw_only=True):
    """A request's first line and headers (names in lower case)."""

    method: str = ""
    path: str = ""
    #: ``1.0`` or ``1.1``.
    version: str = "1.1"
    headers: dict[str, str] = msgspec.field(default_factory=dict)


class _Collector:
    """What httptools calls while it parses."""

    def __init__(self) -> None:
        self.url = b""
        self.headers: dict[str, str] = {}
        self.complete = False

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        self.complete = True


async def read_request(sock: socket.socket) -> Request:
    """Read a request's head. Raise `MediaError` if it is none, too long or too slow."""
    loop = asyncio.get_running_loop()
    collector = _Collector()
    parser = httptools.HttpRequestParser(collector)
    size = 0
    try:
        async with asyncio.timeout(PATIENCE):
            while not collector.complete:
                data = await loop.sock_recv(sock, 4096)
                size += len(data)
                if not data or size > MAX_REQUEST:
                    raise MediaError("no complete HTTP request")
                with suppress(httptools.HttpParserUpgrade):  # offered, and not taken up
                    parser.feed_data(data)
        path = httptools.parse_url(collector.url).path or b""
    except TimeoutError:
        raise MediaError(f"no HTTP request within {PATIENCE} s") from None
    except httptools.HttpParserError as error:
        await respond(sock, 400, "This is not an HTTP request.\n")
        raise MediaError("not an HTTP request") from error
    return Request(
        method=parser.get_method().decode("latin-1"),
        path=unquote(path),
        version=parser.get_http_version(),
        headers=collector.headers,
    )


async def respond(
    sock: socket.socket,
    status: int,
    text: str = "",
    *,
    content_type: str = "text/plain",
    chunked: bool = False,
    head_only: bool = False,
) -> None:
    """Send a response's head, and `text` as its body; media may follow until the connection closes."""
    lines = [
        f"HTTP/1.1 {status} {HTTPStatus(status).phrase}",
        "Connection: close",
        "Cache-Control: no-store",
        "Access-Control-Allow-Origin: *",
        "Access-Control-Allow-Methods: GET, HEAD, OPTIONS",
        "Access-Control-Allow-Headers: *",
    ]
    if status != HTTPStatus.NO_CONTENT:
        lines.append(f"Content-Type: {content_type}")
    if chunked:
        lines.append("Transfer-Encoding: chunked")
    if text:
        lines.append(f"Content-Length: {len(text)}")
    if status == HTTPStatus.METHOD_NOT_ALLOWED:
        lines.append("Allow: GET, HEAD, OPTIONS")
    head = "\r\n".join(lines) + "\r\n\r\n"
    await asyncio.get_running_loop().sock_sendall(sock, (head if head_only else head + text).encode())
