"""Sockets that are none: what the product's connections see of TCP, and the servers at the other end."""

import asyncio
import errno
import os
import select
import socket
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from penstock.net import Unreachable
from tests.sim.clockwork import HOSTS, Loop

_IN, _OUT, _ERR, _HUP = select.EPOLLIN, select.EPOLLOUT, select.EPOLLERR, select.EPOLLHUP


class Socket:
    """Our end of a connection. The peer's end is `peer`, called with what we send."""

    def __init__(self, network: "Network", loop: Loop, fd: int) -> None:
        self._network = network
        self._loop = loop
        self._fd = fd
        self.peer: Peer | None = None
        self._inbox = bytearray()
        self._eof = False
        self._error: OSError | None = None
        self._waiter: asyncio.Future[None] | None = None
        self.closed = False
        #: Bytes that the system takes although the peer does not read.
        self.room = 1 << 30

    # -- as the product uses it

    def fileno(self) -> int:
        return -1 if self.closed else self._fd

    def send(self, data: Any) -> int:
        if self._error is not None:
            raise self._error
        if self.closed or self.peer is None:
            raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))
        size = len(data)
        if not self.peer.reading:
            size = min(size, self.room)
            if not size:
                raise BlockingIOError(errno.EAGAIN, "")
            self.room -= size
        self.peer.took(bytes(data[:size]))
        return size

    def recv_into(self, buffer: bytearray) -> int:
        if not self._inbox:
            if self._error is not None:
                raise self._error
            if self._eof:
                return 0
            raise BlockingIOError(errno.EAGAIN, "")
        data = self._inbox[: len(buffer)]
        buffer[: len(data)] = data
        del self._inbox[: len(data)]
        return len(data)

    def shutdown(self, _how: int) -> None:
        if self._error is not None:
            raise self._error
        if self.peer is not None:
            self.peer.finished()

    def close(self) -> None:
        if not self.closed:
            self.closed = True
            self._network.sockets.pop(self._fd, None)
            if self.peer is not None:
                self.peer.gone()

    # -- for the loop

    async def send_all(self, data: bytes) -> None:
        while True:
            try:
                sent = self.send(data)
            except BlockingIOError:
                sent = 0
            data = data[sent:]
            if not data:
                return
            await asyncio.sleep(0.05)

    async def receive(self, size: int) -> bytes:
        buffer = bytearray(size)
        while True:
            try:
                return bytes(buffer[: self.recv_into(buffer)])
            except BlockingIOError:
                self._waiter = self._loop.create_future()
                await self._waiter

    # -- for the poller

    def events(self) -> int:
        ready = 0
        if self._inbox or self._eof:
            ready |= _IN
        if self._error is not None:
            return ready | _IN | _ERR | _HUP
        if self.peer is not None and (self.peer.reading or self.room):
            ready |= _OUT
        return ready

    # -- for the peer

    def arrive(self, data: bytes) -> None:
        """The peer has sent something."""
        if not self._eof and self._error is None:
            self._inbox += data
            self._wake()

    def end(self, error: int | None = None) -> None:
        """The peer has closed, in order or with an error."""
        self._eof = True
        if error is not None:
            self._error = OSError(error, os.strerror(error))
        self._wake()

    @property
    def unread(self) -> int:
        """Bytes that we have not read."""
        return len(self._inbox)

    def _wake(self) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done() and not self.closed:
            waiter.set_result(None)


class Peer:
    """The other end of one connection."""

    #: Whether it takes what we send; else the system does, as long as there is `room`.
    reading = True

    def took(self, data: bytes) -> None:
        """We sent something."""

    def finished(self) -> None:
        """We will send no more."""

    def gone(self) -> None:
        """Our socket is closed."""


class Poller:
    """`select.epoll` for these sockets."""

    def __init__(self, network: "Network") -> None:
        self._sockets = network.sockets
        self._masks: dict[int, tuple[Socket, int]] = {}

    def register(self, fd: int, events: int, /) -> None:
        self._masks[fd] = (self._sockets[fd], events)

    def modify(self, fd: int, events: int, /) -> None:
        self._masks[fd] = (self._masks[fd][0], events)

    def unregister(self, fd: int, /) -> None:
        del self._masks[fd]

    def poll(self, _timeout: float, /) -> list[tuple[int, int]]:
        return [
            (fd, ready) for fd, (sock, mask) in self._masks.items() if (ready := sock.events() & (mask | _ERR | _HUP))
        ]

    def close(self) -> None:
        self._masks.clear()


#: Accepts a connection: gives it its peer, or raises OSError; awaiting for ever is a host that does not answer.
Accept = Callable[[Socket], Awaitable[None]]


class Network:
    """Which hosts there are."""

    def __init__(self) -> None:
        self.hosts: dict[str, Accept] = {}
        self.sockets: dict[int, Socket] = {}
        self._fds = 1000

    def dialler(self, loop: Loop) -> Callable[[Sequence[tuple[str, int]]], Awaitable[socket.socket]]:
        """What connects one process."""

        async def dial(addresses: Sequence[tuple[str, int]]) -> socket.socket:
            host = HOSTS[addresses[0][0]]
            self._fds += 1
            sock = Socket(self, loop, self._fds)
            try:
                await self.hosts[host](sock)
            except OSError as error:
                raise Unreachable((error.strerror or str(error)).lower()) from error
            self.sockets[self._fds] = sock
            sockets: Any = sock
            found: socket.socket = sockets
            return found

        return dial
