"""As much of an HTTP/1.1 client as media needs: one GET per connection, whose body the pump or a drain can take."""

import asyncio
import socket
import string
from base64 import b64encode
from collections.abc import Collection, Mapping
from contextlib import ExitStack
from importlib.metadata import version
from typing import NamedTuple
from urllib.parse import SplitResult, quote, unquote_to_bytes, urljoin, urlsplit

from penstock.errors import AddressRefused, MediaError, SourceError
from penstock.media.feed import Feed, receive, secure, send
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

    def __init__(self, sock: socket.socket | Feed, head: _Head, url: str) -> None:
        self.sock = sock
        #: Where it came from, after redirections.
        self.url = url
        #: As the server names it: ``text/html``; empty: it does not.
        self.media_type = head.headers.get("content-type", "").partition(";")[0].strip().lower()
        #: What of the body came with the head, as it came through the socket.
        self.first = head.body
        #: Bytes of the body so far, as they come through the socket.
        self.received = len(head.body)
        self._chunks = _Chunks() if head.headers.get("transfer-encoding", "").lower() == "chunked" else None
        #: How many there are to be; None: the server has not said.
        self.length = None if self._chunks else _length(head.headers.get("content-length", ""))

    @property
    def ended(self) -> bool:
        """Whether the server has said, in its chunked transfer coding, that this was all."""
        return self._chunks is not None and self._chunks.ended

    def decode(self, data: bytes) -> bytes:
        """Return the content in what came through the socket. Raise `SourceError` if it is not coded as claimed."""
        return self._chunks.feed(data) if self._chunks else data

    async def read(self) -> bytes:
        """Return the next bytes of the content; nothing at its end."""
        while not self.ended and not (self.length is not None and self.received >= self.length and not self.first):
            data, self.first = self.first, b""
            if not data:
                data = await _receive(self.sock)
                self.received += len(data)
                if not data:
                    break
            if content := self.decode(data):
                return content
        return b""

    async def read_all(self, limit: int) -> bytes:
        """Return the whole content. Raise `SourceError` if it is longer than `limit` bytes or breaks off."""
        content = b""
        while data := await self.read():
            content += data
            if len(content) > limit:
                raise SourceError(f"the server's answer is longer than {limit} bytes")
        if (self.length is not None and self.received < self.length) or (self._chunks and not self.ended):
            raise SourceError("the server's answer breaks off")
        return content

    def close(self) -> None:
        """Close the socket."""
        self.sock.close()


async def get(door: Door, url: str, schemes: Collection[str] = ("http", "https")) -> Response:
    """Ask for a URL, go where we are sent, by these schemes. Raise `MediaError`, `AddressRefused`."""
    sent_on = ""
    for _ in range(1 + MAX_REDIRECTS):
        try:
            answer = await _ask(door, url, schemes)
        except AddressRefused as error:
            raise AddressRefused(sent_on + error.message) from error
        except MediaError as error:
            raise SourceError(sent_on + error.message) from error
        if isinstance(answer, Response):
            return answer
        url = answer
        sent_on = f"redirected to {_host(urlsplit(url))}: "
    raise SourceError(f"redirected more than {MAX_REDIRECTS} times")


async def _ask(door: Door, url: str, schemes: Collection[str]) -> Response | str:
    """Ask once; return the answer, or where we are sent."""
    sock = await _connect(door, url)
    with ExitStack() as undo:
        undo.callback(sock.close)
        try:
            async with asyncio.timeout(PATIENCE):
                head = await _exchange(sock, url)
        except TimeoutError:
            raise SourceError(f"connected, but no answer within {PATIENCE:g} s") from None
        if head.status == 200:
            undo.pop_all()
            return Response(sock, head, url)
    if head.status not in _REDIRECTS:
        raise SourceError(f"HTTP status {head.status}")
    return _location(door, url, head.headers.get("location", ""), schemes)


async def _connect(door: Door, url: str) -> socket.socket | Feed:
    sock, parts = await door.connect(url), urlsplit(url)
    host = parts.hostname or ""
    return await secure(sock, door.tls(host), host) if parts.scheme == "https" else sock


async def _exchange(sock: socket.socket | Feed, url: str) -> _Head:
    """Ask, and read the answer's head."""
    await _send(sock, _request(urlsplit(url)))
    data = b""
    while b"\r\n\r\n" not in data:
        piece = await _receive(sock)
        if not piece or len(data) > _MAX_HEAD:
            raise SourceError("the server does not speak HTTP" if data else "the server closed the connection unasked")
        data += piece
    head, _, body = data.partition(b"\r\n\r\n")
    first, *lines_ = head.decode("latin-1").split("\r\n")
    words = first.split(" ", 2)
    if not (words[0].startswith("HTTP/1.") and len(words) > 1 and words[1].isascii() and words[1].isdecimal()):
        raise SourceError("the server does not speak HTTP")
    headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines_)}
    return _Head(int(words[1][:4]), headers, body)


def _request(parts: SplitResult) -> bytes:
    """The GET for a URL; a user and password in it are proven by RFC 7617."""
    target = f"{parts.path or '/'}{f'?{parts.query}' if parts.query else ''}"
    target = quote(target, safe=string.punctuation)
    lines = [f"GET {target} HTTP/1.1", f"Host: {_host(parts)}", f"User-Agent: {_AGENT}", "Accept: */*"]
    if parts.username is not None:
        proof = unquote_to_bytes(parts.username) + b":" + unquote_to_bytes(parts.password or "")
        lines.append(f"Authorization: Basic {b64encode(proof).decode()}")
    try:
        return "\r\n".join([*lines, "Connection: close", "", ""]).encode("ascii")
    except UnicodeEncodeError:
        raise SourceError("its host is not written in ASCII") from None


def _host(parts: SplitResult) -> str:
    """Host and port, without a user."""
    return parts.netloc.rpartition("@")[2]


def _location(door: Door, url: str, where: str, schemes: Collection[str]) -> str:
    """Return where a redirection leads. Raise `SourceError` or `AddressRefused` if we do not go there.

    The address itself is checked when we connect to it. Our hub is no place for strangers to send us to.
    """
    try:
        found = urljoin(url, where)
        parts = urlsplit(found)
        usable = bool(where and parts.hostname) and parts.port != 0 and not any(c <= " " for c in found)
    except ValueError:
        usable = False
    if not usable:
        raise SourceError("redirected to what is no URL")
    if parts.scheme not in schemes:
        raise SourceError(f"redirected to another protocol ({parts.scheme})")
    if door.is_hub(parts.hostname or "", parts.port, parts.scheme):
        raise AddressRefused("redirected to this server itself")
    return found


def _length(said: str) -> int | None:
    return int(said) if said.isascii() and said.isdecimal() and len(said) < 19 else None


async def _send(sock: socket.socket | Feed, data: bytes) -> None:
    try:
        await send(sock, data)
    except OSError as error:
        raise SourceError((error.strerror or str(error)).lower()) from error


async def _receive(sock: socket.socket | Feed) -> bytes:
    try:
        return await receive(sock, _RECEIVE)
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
        content, at = [], 0
        while at < len(data) and not self.ended:
            if self._missing:
                size = min(self._missing, len(data) - at)
                content.append(data[at : at + min(size, max(0, self._missing - 2))])
                self._missing -= size
                at += size
                continue
            newline = data.find(b"\n", at)
            end = newline if newline >= 0 else len(data)
            self._line += data[at:end]
            if len(self._line) > self._LONGEST_LINE:
                raise SourceError("the server's answer is not chunked as it claims")
            at = end + 1
            if newline >= 0:
                line, self._line = self._line, b""
                self._begin(line)
        return b"".join(content)

    def _begin(self, line: bytes) -> None:
        try:
            size = int(line.partition(b";")[0].strip(), 16)
        except ValueError:
            size = -1
        if not 0 <= size < 1 << 40:
            raise SourceError("the server's answer is not chunked as it claims")
        self.ended = size == 0
        self._missing = size + 2 if size else 0
