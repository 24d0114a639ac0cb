"""Bytes that come by no socket of the pump's own: TLS, a pipe. A `Feed` looks like a socket to it all the same."""

import asyncio
import itertools
import os
import select
import socket
import ssl
from typing import cast

from penstock.errors import MediaError
from penstock.media.pump import Wake

#: Bytes that may wait for the next tick before the transport is told to wait: what a socket may bring in one.
UNREAD_LIMIT = 2 << 20
#: No number of a descriptor, nor that of a closed socket.
_NUMBERS = itertools.count(-2, -1)
#: Seconds for a server's part of TLS's handshake.
_HANDSHAKE = 5.0


class Feed(asyncio.Protocol):
    """The protocol of an asyncio transport whose bytes the pump serves, with those of its sockets, once per tick.

    Hand it to ``loop.create_connection(ssl=…)`` or ``loop.connect_read_pipe``, then to `Pump.add`. What comes before
    that is kept. Backpressure works both ways: a source that brings more than the pump takes is not read from, and a
    peer that takes less than we send makes `Connection.queued` grow.
    """

    def __init__(self) -> None:
        self._number = next(_NUMBERS)
        self._transport: asyncio.Transport | None = None
        self._unread = bytearray()
        self._waits = False
        self._full = False
        self._refused = False
        self._ended = False
        self._error: Exception | None = None
        self._wake: Wake | None = None

    # -- the transport's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self.feed(data)

    def pause_writing(self) -> None:
        self._full = True

    def resume_writing(self) -> None:
        self._full = False
        if self._refused:
            self._refused = False
            self._tell(select.EPOLLOUT)

    def connection_lost(self, exc: Exception | None) -> None:
        self._ended, self._error = True, exc
        self._tell(select.EPOLLIN)

    def feed(self, data: bytes) -> None:
        """Have bytes taken in at the next tick."""
        self._unread += data
        if self._transport is not None and not self._waits and len(self._unread) > UNREAD_LIMIT:
            self._waits = True
            self._transport.pause_reading()
        self._tell(select.EPOLLIN)

    def _tell(self, events: int) -> None:
        if self._wake is not None:
            self._wake(self._number, events)

    # -- before the pump has it

    async def receive(self, size: int) -> bytes:
        """Return at most `size` bytes of what has come, once something has; none at the end. Raise `OSError`."""
        if not self._unread and not self._ended:
            ready = asyncio.Event()
            self._wake = lambda *_: ready.set()
            try:
                await ready.wait()
            finally:
                self._wake = None
        buffer = bytearray(size)
        return bytes(buffer[: self.recv_into(buffer)])

    # -- the pump's side: what it needs of a socket

    def attach(self, wake: Wake) -> None:
        """Tell `wake` from now on when there is something to read, or room to write."""
        self._wake = wake
        if self._unread or self._ended:
            self._tell(select.EPOLLIN)

    def fileno(self) -> int:
        """Return a number that is no descriptor's."""
        return self._number

    def descriptor(self) -> int:
        """Return the descriptor of the socket under the transport. Raise `MediaError` if that is closed."""
        if self._ended or self._transport is None or self._transport.is_closing():
            raise MediaError("closed by the peer")
        return int(self._transport.get_extra_info("socket").fileno())

    def recv_into(self, buffer: bytearray) -> int:
        """As `socket.recv_into`."""
        size = min(len(buffer), len(self._unread))
        if size:
            buffer[:size] = self._unread[:size]
            del self._unread[:size]
        elif self._error is not None:
            raise self._error if isinstance(self._error, OSError) else ConnectionAbortedError(str(self._error))
        elif not self._ended:
            raise BlockingIOError
        if self._unread or (size and self._ended):
            self._tell(select.EPOLLIN)
        elif self._waits and self._transport is not None:
            self._waits = False
            self._transport.resume_reading()
        return size

    def send(self, data: bytes | bytearray) -> int:
        """As `socket.send`: all of it, or nothing while the transport is full."""
        if self._ended or self._transport is None:
            raise BrokenPipeError("broken pipe")
        if self._full:
            self._refused = True
            raise BlockingIOError
        self._transport.write(bytes(data))
        return len(data)

    def shutdown(self, _how: int) -> None:
        """Say goodbye as the transport does (TLS: close_notify) once everything is delivered."""
        if self._transport is not None:
            self._transport.close()

    def close(self) -> None:
        """Drop the transport, with what it has not delivered."""
        self._wake = None
        if self._transport is not None:
            # A pipe's transport knows no `abort`: it has nothing to deliver.
            getattr(self._transport, "abort", self._transport.close)()


def bare(wire: socket.socket | Feed) -> socket.socket:
    """Return the socket under a connection, for who wants none of its content: what TLS holds of it is dropped.

    Raise `MediaError` if the peer has closed it.
    """
    if not isinstance(wire, Feed):
        return wire
    try:
        return socket.socket(fileno=os.dup(wire.descriptor()))
    finally:
        wire.close()


async def secure(sock: socket.socket, context: ssl.SSLContext, host: str) -> Feed:
    """Do TLS with the server that a socket is connected to, and own the socket. Raise `MediaError`."""
    try:
        _, feed = await asyncio.get_running_loop().create_connection(
            Feed, sock=sock, ssl=context, server_hostname=host, ssl_handshake_timeout=_HANDSHAKE
        )
    except ssl.SSLCertVerificationError as error:
        advice = "the setting tls.insecure_hosts can permit it"
        raise MediaError(f"the certificate of {host} is not trusted ({error.verify_message}); {advice}") from error
    except OSError as error:
        words = getattr(error, "reason", None) or error.strerror or str(error) or "closed by the peer"
        raise MediaError(f"no TLS with {host}: {words.lower().replace('_', ' ')}") from error
    return feed


async def send(sock: socket.socket | Feed, data: bytes) -> None:
    """Send bytes before the pump has the socket. Raise `OSError`."""
    if isinstance(sock, Feed):
        sock.send(data)
    else:
        await asyncio.get_running_loop().sock_sendall(sock, data)


async def receive(sock: socket.socket | Feed, size: int) -> bytes:
    """Return at most `size` bytes of what has come before the pump has the socket; none at the end. Raise `OSError`."""
    if isinstance(sock, Feed):
        return await sock.receive(size)
    return await asyncio.get_running_loop().sock_recv(sock, size)
