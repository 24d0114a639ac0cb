"""As much of an HTTP/1.1 client as a viewer on an edge needs: one GET for each connection, which can be drained."""

import asyncio
import socket
from collections.abc import Mapping
from importlib.metadata import version
from typing import NamedTuple
from urllib.parse import urljoin, urlsplit

from penstock.errors import AddressRefused, MediaError, SourceError
from penstock.net import Door

#: Seconds for the head of an answer.
PATIENCE = 10.0
MAX_REDIRECTS = 5
_MAX_HEAD = 1 << 16
_RECEIVE = 1 << 16
_REDIRECTS = (301, 302, 303, 307, 308)
_AGENT = f"Penstock/{version('penstock')}"


class _Head(NamedTuple):
    status: int
    #: By name in lower case.
    headers: Mapping[str, str]
    #: What has arrived of the body.
    body: bytes


class Response:
    """The body of an answer with status 200, as it comes."""

    def __init__(self, sock: socket.socket, head: _Head, url: str) -> None:
        self.sock = sock
        #: Where it came from, after redirections.
        self.url = url
        #: As the server names it: ``text/html``; empty: it does not.
        self.media_type = head.headers.get("content-type", "").partition(";")[0].strip().lower()
        #: Bytes of the body so far, as they come through the socket.
        self.received = len(head.body)
        length = head.headers.get("content-length", "")
        #: How many there are to be; None: the server has not said.
        self.length = int(length) if length.isascii() and length.isdecimal() and len(length) < 19 else None
        self._chunks = _Chunks() if head.headers.get("transfer-encoding", "").lower() == "chunked" else None
        if self._chunks:
            self.length = None
        self._first = head.body

    async def read(self) -> bytes:
        """Return the next bytes of the content; nothing at its end."""
        while not (self.length is not None and self.received >= self.length and not self._first):
            data, self._first = self._first, b""
            if not data:
                data = await _receive(self.sock)
                self.received += len(data)
                if not data:
                    break
            content = self._chunks.feed(data) if self._chunks else data
            if content:
                return content
            if self._chunks and self._chunks.ended:
                break
        return b""

    async def read_all(self, limit: int) -> bytes:
        """Return the whole content. Raise `SourceError` if it is longer than `limit` bytes or breaks off."""
        content = b""
        while data := await self.read():
            content += data
            if len(content) > limit:
                raise SourceError(f"the edge's answer is longer than {limit} bytes")
        if (self.length is not None and self.received < self.length) or (self._chunks and not self._chunks.ended):
            raise SourceError("the edge's answer breaks off")
        return content

    def close(self) -> None:
        """Close the socket."""
        self.sock.close()


async def get(door: Door, url: str) -> Response:
    """Ask for a URL, go where we are sent. Raise `MediaError`, `AddressRefused`."""
    sent_on = ""
    for _ in range(1 + MAX_REDIRECTS):
        try:
            sock = await door.connect(url)
        except AddressRefused as error:
            raise AddressRefused(sent_on + error.message) from error
        except MediaError as error:
            raise SourceError(sent_on + error.message) from error
        try:
            async with asyncio.timeout(PATIENCE):
                head = await _exchange(sock, url)
            if head.status == 200:
                return Response(sock, head, url)
            if head.status not in _REDIRECTS:
                raise SourceError(f"{sent_on}HTTP status {head.status}")
            url = _location(url, head.headers.get("location", ""))
            sent_on = f"redirected to {urlsplit(url).netloc}: "
        except TimeoutError:
            sock.close()
            raise SourceError(f"{sent_on}connected, but no answer within {PATIENCE:g} s") from None
        except BaseException:
            sock.close()
            raise
        sock.close()
    raise SourceError(f"redirected more than {MAX_REDIRECTS} times")


async def _exchange(sock: socket.socket, url: str) -> _Head:
    """Ask, and read the answer's head."""
    parts = urlsplit(url)
    target = f"{parts.path or '/'}{f'?{parts.query}' if parts.query else ''}"
    host = parts.netloc.rpartition("@")[2]
    lines = (f"GET {target} HTTP/1.1", f"Host: {host}", f"User-Agent: {_AGENT}", "Accept: */*", "Connection: close")
    try:
        request = "\r\n".join([*lines, "", ""]).encode("ascii")
    except UnicodeEncodeError:
        raise SourceError("its address is not written in ASCII") from None
    await _send(sock, request)
    data = b""
    while b"\r\n\r\n" not in data:
        piece = await _receive(sock)
        if not piece or len(data) > _MAX_HEAD:
            raise SourceError("the edge does not speak HTTP" if data else "the edge closed the connection unasked")
        data += piece
    head, _, body = data.partition(b"\r\n\r\n")
    first, *lines_ = head.decode("latin-1").split("\r\n")
    words = first.split(" ", 2)
    if not (words[0].startswith("HTTP/1.") and len(words) > 1 and words[1].isascii() and words[1].isdecimal()):
        raise SourceError("the edge does not speak HTTP")
    headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines_)}
    return _Head(int(words[1][:4]), headers, body)


def _location(url: str, where: str) -> str:
    """Return where a redirection leads. Raise `SourceError` if we do not go there."""
    try:
        found = urljoin(url, where)
        parts = urlsplit(found)
        usable = bool(where and parts.hostname) and parts.port != 0 and not any(c <= " " for c in found)
    except ValueError:
        usable = False
    if not usable:
        raise SourceError("redirected to what is no URL")
    if parts.scheme != "http":
        raise SourceError(f"redirected to another protocol ({parts.scheme})")
    return found


async def _send(sock: socket.socket, data: bytes) -> None:
    try:
        await asyncio.get_running_loop().sock_sendall(sock, data)
    except OSError as error:
        raise SourceError((error.strerror or str(error)).lower()) from error


async def _receive(sock: socket.socket) -> bytes:
    try:
        return await asyncio.get_running_loop().sock_recv(sock, _RECEIVE)
    except OSError as error:
        raise SourceError((error.strerror or str(error)).lower()) from error


class _Chunks:
    """Takes the chunked transfer coding off (RFC 9112, section 7.1)."""

    _LONGEST_LINE = 1024

    def __init__(self) -> None:
        self.ended = False
        self._line = b""
        #: Bytes that the current chunk misses, its CRLF among them.
        self._missing = 0

    def feed(self, data: bytes) -> bytes:
        """Return the content that `data` holds. Raise `SourceError` if it is not chunked."""
        content = []
        while data and not self.ended:
            if self._missing:
                piece, data = data[: self._missing], data[self._missing :]
                content.append(piece[: max(0, self._missing - 2)])
                self._missing -= len(piece)
                continue
            line, newline, rest = (self._line + data).partition(b"\n")
            if not newline:
                self._line, data = line, b""
                if len(line) > self._LONGEST_LINE:
                    raise SourceError("the edge's answer is not chunked as it claims")
                continue
            self._line, data = b"", rest
            self._begin(line)
        return b"".join(content)

    def _begin(self, line: bytes) -> None:
        try:
            size = int(line.partition(b";")[0].strip(), 16)
        except ValueError:
            size = -1
        if not 0 <= size < 1 << 40:
            raise SourceError("the edge's answer is not chunked as it claims")
        self.ended = size == 0
        self._missing = size + 2 if size else 0
