"""The RTSP relay on loopback: what lies between an FFmpeg child and a server, over one TCP connection (RFC 2326).

FFmpeg resolves and connects by itself, so it is given an address of ours instead of the caller's. The relay puts the
real one into its requests, proves who we are where the server asks for that, and follows redirects after the check.
"""

import asyncio
import secrets
import socket
from typing import NamedTuple
from urllib.parse import urlsplit, urlunsplit

from penstock.errors import AddressRefused, MediaError
from penstock.media.authorization import User, authorization, strongest
from penstock.media.loopback import Loopback, copy
from penstock.net import Policy

_RECEIVE = 65536
#: What an interleaved frame begins with; its channel and size follow (section 10.12).
_FRAME = ord("$")
_MAX_HEAD = 65536
_MAX_BODY = 1 << 20
_MAX_REDIRECTS = 5
_REDIRECTS = frozenset({b"301", b"302", b"303", b"305", b"307"})


class _ChildGone(Exception):
    """The child has hung up: it knows why, and says so itself."""


class Message(NamedTuple):
    """A request or a response."""

    #: The first line's words: method, URI, version; or version, status, reason.
    words: list[bytes]
    #: Whole lines.
    headers: list[bytes]
    body: bytes

    def headed(self, name: bytes) -> list[bytes]:
        """The values of all headers of that name, in lower case."""
        return [
            line.partition(b":")[2].strip() for line in self.headers if line.partition(b":")[0].strip().lower() == name
        ]

    def wire(self) -> bytes:
        """The bytes to be sent."""
        return b"\r\n".join([b" ".join(self.words), *self.headers, b"", self.body])


class Peer:
    """One side of the relay: messages, and between them the frames of interleaved media, taken apart."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.rest = bytearray()
        self._loop = asyncio.get_running_loop()

    async def send(self, data: bytes) -> None:
        await self._loop.sock_sendall(self.sock, data)

    async def receive(self) -> bytes | Message:
        """Return the next message, or the next frames as far as they have come.

        Raise `MediaError` for anything else, `ConnectionError` at the end.
        """
        await self._fill(4)
        if self.rest[0] == _FRAME:
            await self._fill(4 + int.from_bytes(self.rest[2:4], "big"))
            return await self._take(self._frames())
        while (end := self.rest.find(b"\r\n\r\n")) < 0:
            if len(self.rest) > _MAX_HEAD:
                raise MediaError("the server does not speak RTSP")
            await self._fill(len(self.rest) + 1)
        first, *headers = (await self._take(end + 4))[:-4].lstrip(b"\r\n").split(b"\r\n")
        words = first.split(b" ", 2)
        if len(words) < 3 or b"RTSP/1.0" not in (words[0], words[2]):
            raise MediaError("the server does not speak RTSP")
        message = Message(words, headers, b"")
        length = next(iter(message.headed(b"content-length")), b"0")
        if not length.isdigit() or int(length) > _MAX_BODY:
            raise MediaError("an RTSP message has no usable length")
        return message._replace(body=await self._take(int(length)))

    def _frames(self) -> int:
        """How many bytes the whole frames have that have come."""
        at, end = 0, 0
        while end <= len(self.rest):
            at = end
            if len(self.rest) < at + 4 or self.rest[at] != _FRAME:
                break
            end = at + 4 + int.from_bytes(self.rest[at + 2 : at + 4], "big")
        return at

    async def _take(self, size: int) -> bytes:
        await self._fill(size)
        data = bytes(self.rest[:size])
        del self.rest[:size]
        return data

    async def _fill(self, size: int) -> None:
        while len(self.rest) < size:
            data = await self._loop.sock_recv(self.sock, _RECEIVE)
            if not data:
                raise ConnectionResetError("closed by the peer")
            self.rest += data


class RtspRelay(Loopback):
    """The relay of one child."""

    def __init__(self, policy: Policy, source: str) -> None:
        super().__init__(policy, source)
        #: What only our child knows.
        self.url = f"rtsp://127.0.0.1:{self.port}/{secrets.token_hex(16)}"
        self._turn_to(source)

    def _turn_to(self, url: str) -> None:
        """Ask this server from now on, with the name and password that its own URL has: no other is told them."""
        parts = urlsplit(url)
        self._user = User.of(parts)
        self._target = urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
        self._challenge = b""

    async def serve(self, client: socket.socket) -> None:
        """Relay one connection."""
        child = Peer(client)
        try:
            request = await _hear(child)
            if not isinstance(request, Message) or not request.words[1].startswith(self.url.encode()):
                return
            server = Peer(await self._connect())
            try:
                await self._converse(child, server, request)
            finally:
                server.sock.close()
        except (AddressRefused, MediaError, ValueError) as error:
            self.failure = str(error)
        except ConnectionError as error:
            self.failure = (error.strerror or str(error)).lower()
        except _ChildGone:
            pass

    async def _connect(self) -> socket.socket:
        return await self.policy.connect(self._target)

    async def _converse(self, child: Peer, server: Peer, request: bytes | Message) -> None:
        """Pass on requests and their answers, until media flows; from then on what the server says goes through."""
        while True:
            if isinstance(request, Message):
                answer = await self._ask(child, server, request)
                await child.send(answer.wire())
                if request.words[0] in (b"PLAY", b"RECORD") and answer.words[1] == b"200":
                    break
            else:
                await server.send(request)
            request = await _hear(child)
        await child.send(bytes(server.rest))
        ways = [
            asyncio.ensure_future(copy(server.sock, child.sock)),
            asyncio.ensure_future(self._pass_on(child, server)),
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
        if ways[1].cancelled():
            raise ConnectionResetError("closed by the peer")

    async def _pass_on(self, child: Peer, server: Peer) -> None:
        """Pass on what the child says while media flows: receiver reports, and requests that keep the session."""
        while True:
            item = await _hear(child)
            await server.send(item if isinstance(item, bytes) else self._ours(item).wire())

    async def _ask(self, child: Peer, server: Peer, request: Message) -> Message:
        """Return the server's answer to a request, after proofs and redirects."""
        redirects, proven = 0, False
        while True:
            await server.send(self._ours(request).wire())
            answer = await self._answer(child, server)
            if answer.words[1] == b"401" and self._user and not proven:
                self._challenge = strongest(answer.headed(b"www-authenticate"))
                proven = True
            elif answer.words[1] in _REDIRECTS and redirects < _MAX_REDIRECTS:
                await self._redirect(server, answer)
                redirects, proven = redirects + 1, False
            else:
                return answer

    async def _answer(self, child: Peer, server: Peer) -> Message:
        while True:
            item = await server.receive()
            if isinstance(item, Message) and item.words[0] == b"RTSP/1.0":
                return item
            if isinstance(item, bytes):
                await child.send(item)

    async def _redirect(self, server: Peer, answer: Message) -> None:
        """Go on with the server that this one names."""
        location = next(iter(answer.headed(b"location")), b"").decode("latin-1")
        old, new = urlsplit(self._target), urlsplit(location)
        if new.scheme != "rtsp":
            raise MediaError("the server redirects to something else than RTSP")
        user = self._user if old.netloc == new.netloc else None
        self._turn_to(location)
        self._user = self._user or user
        before, server.sock, server.rest = server.sock, await self._connect(), bytearray()
        before.close()

    def _ours(self, request: Message) -> Message:
        """The request as the server gets it: with its own address, and our proof."""
        method, uri, version = request.words
        if uri.startswith(self.url.encode()):
            uri = self._target.encode("latin-1", "replace") + uri[len(self.url) :]
        headers = [line for line in request.headers if not line.lower().startswith(b"authorization:")]
        if self._user and self._challenge:
            headers.append(b"Authorization: " + authorization(self._challenge, self._user, method, uri))
        return Message([method, uri, version], headers, request.body)


async def _hear(child: Peer) -> bytes | Message:
    try:
        return await child.receive()
    except ConnectionError as error:
        raise _ChildGone from error
