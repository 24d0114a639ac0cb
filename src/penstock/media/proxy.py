"""The HTTP proxy on loopback through which children reach the network: each of their requests is checked by the policy.

A child is given one address of ours as its input, answered by a redirect to the caller's URL: nothing of the caller's
stands in its arguments. What it asks for from then on (redirects, playlists, segments, keys) comes through here too.
"""

import asyncio
import base64
import secrets
import socket
from contextlib import closing
from typing import NamedTuple
from urllib.parse import urljoin, urlsplit

from penstock.errors import AddressRefused, MediaError
from penstock.log import mask_url
from penstock.media.loopback import Loopback, copy, until_one_ends
from penstock.media.posing import Posing
from penstock.net import Policy

#: The name that stands for the caller's URL; nothing else ever has it (RFC 6761).
_ALIAS = "source.invalid"
#: What DASH's manifest names relative to itself is asked for in this folder, and is found relative to the caller's URL.
_FOLDER = "/~/"
#: FFmpeg takes text for a playlist only if its name or its media type says so.
_PLAYLIST = "index.m3u8"
_ALIAS_URL = f"http://{_ALIAS}{_FOLDER}{_PLAYLIST}"
_MAX_HEAD = 32768
#: What FFmpeg says of a format that it knows and we do not permit.
_NOT_PERMITTED = "Format not on whitelist"
#: Seconds for a child to say what it wants.
_PATIENCE = 10
#: Headers that are between the child and us alone (RFC 9110, section 7.6.1).
_HOP_BY_HOP = {b"connection", b"keep-alive", b"proxy-authorization", b"proxy-connection", b"te", b"upgrade", b"host"}


class _Request(NamedTuple):
    method: str
    target: str
    #: Whole lines.
    headers: list[bytes]

    def header(self, name: bytes) -> bytes:
        """The value of a header; empty: it is not there."""
        values = (line.partition(b":")[2].strip() for line in self.headers if _name(line) == name)
        return next(values, b"")


class HttpProxy(Loopback):
    """The proxy of one child: FFmpeg's option ``-http_proxy`` is `proxy`."""

    url = _ALIAS_URL

    def __init__(self, policy: Policy, source: str, posing: Posing | None = None) -> None:
        super().__init__(policy, source)
        self._posing = posing
        token = secrets.token_hex(16)
        self._key = b"Basic " + base64.b64encode(f"{token}:".encode())
        self.proxy = f"http://{token}:@127.0.0.1:{self.port}"

    def explain(self, reason: str) -> str:
        if "certificate verify failed" in reason:
            return f"{reason}; the setting tls.insecure_hosts can permit it"
        if reason.startswith(_NOT_PERMITTED):
            return "what is there is nothing that is taken over HTTP: a session description (SDP), a list of files, …"
        return reason

    async def serve(self, client: socket.socket) -> None:
        """Carry out one request."""
        async with asyncio.timeout(_PATIENCE):
            request = await _receive_request(client)
        if request is None:
            await self._answer(client, b"400 Bad Request")
        elif request.header(b"proxy-authorization") != self._key:
            # FFmpeg takes the offset that it asked for even from an answer that only wants its token.
            offset = request.header(b"range").removeprefix(b"bytes=").partition(b"-")[0]
            content_range = b"Content-Range: bytes %s-%s/*" % (offset, offset)
            challenge = b"Proxy-Authenticate: Basic realm=penstock"
            await self._answer(client, b"407 Proxy Authentication Required", challenge, content_range)
        else:
            await self._pass(client, request)

    async def _pass(self, client: socket.socket, request: _Request) -> None:
        """A tunnel for HTTPS, else a GET or a HEAD."""
        if request.method == "CONNECT":
            url = f"https://{request.target}/"
        elif request.target.startswith((f"http://{_ALIAS}/", f"http://{_ALIAS}:")):
            await self._answer(client, b"302 Found", b"Location: " + self._meant(request.target).encode())
            return
        else:
            url = request.target
        try:
            if request.method not in ("CONNECT", "GET", "HEAD") or urlsplit(url).scheme not in ("http", "https"):
                raise MediaError(f"a child may not ask for {request.method} {urlsplit(url).scheme}")
            if self._is_hub(url) and not self._is_hub(self.source):
                raise AddressRefused("redirected to this server itself")
            upstream = await self.policy.connect(url)
        except (AddressRefused, MediaError, ValueError) as error:
            self.failure = str(error) if _host(url) == _host(self.source) else f"{error} ({mask_url(url)})"
            refused = isinstance(error, AddressRefused)
            await self._answer(client, b"403 Forbidden" if refused else b"502 Bad Gateway")
            return
        self.failure = ""
        with closing(upstream):
            if request.method == "CONNECT":
                await self.loop.sock_sendall(client, b"HTTP/1.1 200 Connection established\r\n\r\n")
                await self._tunnel(client, upstream, _host(url) or "")
            else:
                await self.loop.sock_sendall(upstream, _forwarded(request))
                await until_one_ends(copy(client, upstream), copy(upstream, client))

    async def _tunnel(self, client: socket.socket, upstream: socket.socket, host: str) -> None:
        if self._posing is None or not self._posing.poses_as(host):
            await until_one_ends(copy(client, upstream), copy(upstream, client))
            return
        try:
            await self._posing.join(client, upstream, self.policy.tls(host), host)
        except MediaError as error:
            self.failure = error.message

    def _meant(self, url: str) -> str:
        """The address that a child means by the alias, or by a name relative to it."""
        parts = urlsplit(url)
        path = parts.path.removeprefix(_FOLDER)
        relative = parts._replace(scheme="", netloc="", path=path).geturl()
        return self.source if path == _PLAYLIST else urljoin(self.source, relative)

    def _is_hub(self, url: str) -> bool:
        """Whether this means our own hub. Nobody but the caller may send us there."""
        parts = urlsplit(url)
        return self.policy.is_hub(parts.hostname or "", parts.port, parts.scheme)

    async def _answer(self, client: socket.socket, status: bytes, *headers: bytes) -> None:
        head = [b"HTTP/1.1 " + status, *headers, b"Content-Length: 0", b"Connection: close", b"", b""]
        await self.loop.sock_sendall(client, b"\r\n".join(head))


async def _receive_request(client: socket.socket) -> _Request | None:
    """Read one request's head; None: it is none that we understand."""
    loop, head = asyncio.get_running_loop(), b""
    while not head.endswith(b"\r\n\r\n"):
        data = await loop.sock_recv(client, _MAX_HEAD)
        head += data
        if not data or len(head) > _MAX_HEAD:
            return None
    first, *headers = head[:-4].split(b"\r\n")
    words = first.decode("latin-1").split(" ")
    if len(words) != 3 or not words[2].startswith("HTTP/1."):
        return None
    return _Request(words[0], words[1], headers)


def _forwarded(request: _Request) -> bytes:
    """The request as the origin gets it (RFC 9112, section 3.2.1), on a connection for it alone."""
    parts = urlsplit(request.target)
    host = parts.netloc.rpartition("@")[2]
    target = f"{parts.path or '/'}{f'?{parts.query}' if parts.query else ''}"
    headers = [line for line in request.headers if _name(line) not in _HOP_BY_HOP]
    first = f"{request.method} {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close".encode("latin-1")
    return b"\r\n".join([first, *headers, b"", b""])


def _host(url: str) -> str | None:
    """The host of a URL; None: there is none."""
    try:
        return urlsplit(url).hostname
    except ValueError:
        return None


def _name(line: bytes) -> bytes:
    return line.partition(b":")[0].strip().lower()
