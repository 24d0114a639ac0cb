"""As much of an HTTP/1.1 client as media needs: one GET per connection, whose body the pump or a drain can take."""

import asyncio
import socket
import string
from collections.abc import Collection, Mapping
from contextlib import ExitStack
from importlib.metadata import version
from typing import NamedTuple
from urllib.parse import SplitResult, quote, urljoin, urlsplit

from penstock.errors import AddressRefused, MediaError, SourceError
from penstock.media.authorization import User, authorization, strongest
from penstock.media.feed import Feed, receive, secure, send
from penstock.net import Door

#: Seconds for the head of an answer.
PATIENCE = 10.0
MAX_REDIRECTS = 5
_MAX_HEAD = 1 << 16
_RECEIVE = 1 << 16
_REDIRECTS = (301, 302, 303, 307, 308)
_UNAUTHORIZED = 401
_AGENT = f"Penstock/{version('penstock')}"


class _Head(NamedTuple):
    status: int
    #: By name in lower case.
    headers: Mapping[str, str]
    #: What the server offers to know us by.
    challenges: list[bytes]
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
    """Ask, again with a login if one is wanted; return the answer, or where we are sent."""
    user = User.of(urlsplit(url))
    answer = await _try(door, url)
    if isinstance(answer, _Head) and answer.status == _UNAUTHORIZED and user:
        proof = authorization(strongest(answer.challenges), user, b"GET", _target(urlsplit(url)).encode())
        answer = await _try(door, url, proof)
    if isinstance(answer, Response):
        return answer
    if answer.status == _UNAUTHORIZED:
        wrong = "the user name or the password is wrong" if user else "a user name and a password are wanted"
        raise SourceError(f"HTTP status {answer.status}, {wrong}")
    if answer.status not in _REDIRECTS:
        raise SourceError(f"HTTP status {answer.status}")
    return _location(door, url, answer.headers.get("location", ""), schemes)


async def _try(door: Door, url: str, proof: bytes = b"") -> Response | _Head:
    """Ask once; return the answer, of one that is not 200 its head."""
    sock = await _connect(door, url)
    with ExitStack() as undo:
        undo.callback(sock.close)
        try:
            async with asyncio.timeout(PATIENCE):
                head = await _exchange(sock, _request(urlsplit(url), proof))
        except TimeoutError:
            raise SourceError(f"connected, but no answer within {PATIENCE:g} s") from None
        if head.status == 200:
            undo.pop_all()
            return Response(sock, head, url)
    return head


async def _connect(door: Door, url: str) -> socket.socket | Feed:
    sock, parts = await door.connect(url), urlsplit(url)
    host = parts.hostname or ""
    return await secure(sock, door.tls(host), host) if parts.scheme == "https" else sock


async def _exchange(sock: socket.socket | Feed, request: bytes) -> _Head:
    """Ask, and read the answer's head."""
    await _send(sock, request)
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
    pairs = [(name.strip().lower(), value.strip()) for name, _, value in (line.partition(":") for line in lines_)]
    challenges = [value.encode("latin-1") for name, value in pairs if name == "www-authenticate"]
    return _Head(int(words[1][:4]), dict(pairs), challenges, body)


def _request(parts: SplitResult, proof: bytes) -> bytes:
    """The GET for a URL, with what proves who we are, if anything does."""
    lines = [f"GET {_target(parts)} HTTP/1.1", f"Host: {_host(parts)}", f"User-Agent: {_AGENT}", "Accept: */*"]
    try:
        head = "\r\n".join([*lines, "Connection: close", ""]).encode("ascii")
    except UnicodeEncodeError:
        raise SourceError("its host is not written in ASCII") from None
    return head + (b"Authorization: " + proof + b"\r\n" if proof else b"") + b"\r\n"


def _target(parts: SplitResult) -> str:
    """Path and query."""
    return quote(f"{parts.path or '/'}{f'?{parts.query}' if parts.query else ''}", safe=string.punctuation)


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
