"""Throws away what arrives on many sockets at the least cost: the kernel drops it, and nobody ever sees it.

With ``MSG_TRUNC`` a TCP socket gives its bytes up without copying them (tcp(7)). Each socket that has some is emptied
once per tick.
"""

import asyncio
import select
import socket
from collections.abc import Callable

#: Seconds between two rounds; what arrives meanwhile waits in the kernel.
TICK = 0.25
#: Bytes that the kernel may keep of one stream between two rounds: 2 s of 4 Mbps.
_KEPT = 1 << 20
#: Bytes asked for at once. The kernel writes nothing there, so no memory is ever used for them.
_NOWHERE = bytearray(4 << 20)
#: Sockets that are served at once; the event loop has its turn in between.
_SLICE = 128
#: Why a connection ended that its peer has closed in order.
CLOSED = "closed by the peer"


class Held:
    """One socket whose bytes are thrown away. `closed` is done with the reason when it ends."""

    __slots__ = ("_drain", "_sock", "closed", "due", "fd", "on_due", "received", "sent")

    def __init__(self, drain: "Drain", sock: socket.socket, received: int) -> None:
        self._drain = drain
        self._sock = sock
        self.fd = sock.fileno()
        #: Bytes that the peer has sent, also before this.
        self.received = received
        self.sent = 0
        #: `on_due` is called once so many bytes have been received; None: never.
        self.due: int | None = None
        self.on_due: Callable[[], None] | None = None
        self.closed: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    def send(self, data: bytes) -> None:
        """Write a few bytes; a peer that does not take them does without."""
        try:
            self.sent += self._sock.send(data)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self.close((error.strerror or str(error)).lower())

    def empty(self) -> None:
        """Throw away what has arrived."""
        try:
            size = self._sock.recv_into(_NOWHERE, 0, socket.MSG_TRUNC)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self.close((error.strerror or str(error)).lower())
            return
        if not size:
            self.close(CLOSED)
            return
        self.received += size
        if self.due is not None and self.on_due is not None and self.received >= self.due:
            self.on_due()

    async def wait_closed(self) -> str:
        """Return why it ended, once it has."""
        await asyncio.wait([self.closed])
        return self.closed.result()

    def close(self, reason: str) -> None:
        """Close the socket; `closed` is done with `reason`."""
        if not self.closed.done():
            self.closed.set_result(reason)
            self._drain.forget(self)
            self._sock.close()


class Drain:
    """Empties all sockets that it is given, every `tick` seconds; nothing runs while it has none."""

    def __init__(self, *, tick: float = TICK) -> None:
        self._tick = tick
        self._loop = asyncio.get_running_loop()
        self._epoll = select.epoll()
        self._held: dict[int, Held] = {}
        self._timer: asyncio.Handle | None = None

    def add(self, sock: socket.socket, *, received: int = 0) -> Held:
        """Own a connected, non-blocking socket from now on."""
        # The buffer grows with it; without, 64 KB per tick would be all that a peer can send.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, _KEPT)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, 1)
        held = self._held[sock.fileno()] = Held(self, sock, received)
        self._epoll.register(held.fd, select.EPOLLIN)
        if self._timer is None:
            self._timer = self._loop.call_later(self._tick, self._round)
        return held

    def forget(self, held: Held) -> None:
        """Serve a socket no longer."""
        if self._held.pop(held.fd, None) is not None:
            self._epoll.unregister(held.fd)

    def _round(self) -> None:
        self._serve(len(self._held))

    def _serve(self, left: int) -> None:
        """Serve a slice, and those after it until `left` sockets have had their turn."""
        ready = self._epoll.poll(0, _SLICE)
        for fd, _ in ready:
            if fd in self._held:
                self._held[fd].empty()
        if len(ready) == _SLICE and left > _SLICE:
            self._timer = self._loop.call_soon(self._serve, left - _SLICE)
        else:
            self._timer = self._loop.call_later(self._tick, self._round) if self._held else None
