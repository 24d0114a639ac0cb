"""The pump moves bytes: all sockets of a process, served once per tick.

A connection comes here when its control phase is over. Each tick reads every readable socket, hands the messages
to the connection's handlers, and then flushes the streams they went to, one send per receiver. Serving sockets per
tick instead of per packet is what makes a relay cheap: the kernel's cost per call dominates.
"""

import asyncio
import select
import socket
from collections.abc import Callable
from typing import Protocol, runtime_checkable

import structlog

from penstock.errors import MediaError
from penstock.media.packet import AUDIO, DATA, SET_DATA_FRAME, VIDEO
from penstock.media.rtmp import amf, chunk
from penstock.media.rtmp.chunk import Message, Shortcut, Take

log = structlog.get_logger()

#: Bytes that may wait for one receiver before whole messages are dropped.
QUEUE_LIMIT = 4 << 20
#: Seconds that a peer has to close its side once we have finished ours.
FAREWELL = 1.0
#: Bytes of script data that are worth keeping and passing on.
MAX_DATA = 1 << 20
_RECEIVE = 1 << 18
#: Reads of one source per tick, at most: a burst is taken in, but nobody starves the others.
_ROUNDS = 8
#: Sockets that are served at once: about 3 ms. With more, the event loop has its turn in between.
SLICE = 64
_IN, _OUT = select.EPOLLIN, select.EPOLLOUT
_GONE = select.EPOLLHUP | select.EPOLLERR

_STREAM_EOF = chunk.STREAM_EOF.to_bytes(2, "big")

#: (message type, timestamp in ms modulo 2^32, payload)
OnMessage = Callable[[int, int, bytes], None]
#: (number of a `Wire`, what it is ready for: EPOLLIN, EPOLLOUT)
Wake = Callable[[int, int], None]


class Flushable(Protocol):
    """Something that collects during a tick and writes at its end."""

    def flush(self) -> None: ...


class Reader(Protocol):
    """Turns bytes into messages: `ChunkReader` for RTMP, `FlvReader` for FLV."""

    def read(self, data: memoryview, take: Take, shortcut: Shortcut | None, /) -> None: ...
    def acknowledgement(self) -> bytes: ...


class Wire(Protocol):
    """What the pump needs of a socket."""

    def fileno(self) -> int: ...
    def recv_into(self, buffer: bytearray, /) -> int: ...
    def send(self, data: bytes | bytearray, /) -> int: ...
    def shutdown(self, how: int, /) -> None: ...
    def close(self) -> None: ...


@runtime_checkable
class FedWire(Wire, Protocol):
    """One that the kernel does not know, and that says itself when it is ready: see `penstock.media.feed`."""

    def attach(self, wake: Wake, /) -> None: ...


class Poller(Protocol):
    """Says which sockets are ready, as `select.epoll` does."""

    def register(self, fd: int, events: int, /) -> None: ...
    def modify(self, fd: int, events: int, /) -> None: ...
    def unregister(self, fd: int, /) -> None: ...
    def poll(self, timeout: float, /) -> list[tuple[int, int]]: ...
    def close(self) -> None: ...


class Connection:
    """One socket that the pump serves.

    `on_media` takes audio, video and data, `on_command` AMF commands. Without a `reader` what the peer sends is thrown
    away. `closed` is done when the socket is: with None after an orderly end, else with the reason. Wait for it with
    `wait_closed`: awaited bare, it would be cancelled with whoever waits.
    """

    __slots__ = (
        "_finishing",
        "_paused",
        "_pump",
        "_queue",
        "closed",
        "fd",
        "is_closed",
        "on_command",
        "on_media",
        "reader",
        "received",
        "sent",
        "shortcut",
        "sock",
    )

    def __init__(
        self,
        pump: "Pump",
        sock: Wire,
        reader: Reader | None,
        *,
        on_media: OnMessage | None = None,
        on_command: OnMessage | None = None,
    ) -> None:
        self._pump = pump
        self.sock = sock
        self.fd = sock.fileno()
        self.reader = reader
        self.on_media = on_media
        self.on_command = on_command
        #: See `penstock.media.lane`.
        self.shortcut: Shortcut | None = None
        self.is_closed = False
        self.closed: asyncio.Future[str | None] = asyncio.get_running_loop().create_future()
        #: Bytes that the socket took, and gave.
        self.sent = 0
        self.received = 0
        self._queue = bytearray()
        self._finishing = False
        self._paused = False

    async def wait_closed(self) -> str | None:
        """Return why the connection ended, once it has; None after an orderly end."""
        await asyncio.wait([self.closed])
        return self.closed.result()

    @property
    def queued(self) -> int:
        """Bytes that wait for the socket."""
        return len(self._queue)

    def send(self, data: bytes) -> None:
        """Write now what the socket takes, queue the rest. Never blocks, never raises; the caller bounds the queue."""
        if self.is_closed or self._finishing:
            return
        if self._queue:
            self._queue += data
            return
        taken = self._write(data)
        if taken < len(data) and not self.is_closed:
            self._queue += memoryview(data)[taken:]
            self._watch()

    def _write(self, data: bytes | bytearray) -> int:
        try:
            taken = self.sock.send(data)
        except (BlockingIOError, InterruptedError):
            return 0
        except OSError as error:
            self.close(_reason(error))
            return 0
        self.sent += taken
        return taken

    def drain(self) -> None:
        """Write what is queued; called when the socket is writable."""
        taken = self._write(self._queue)
        if taken:
            del self._queue[:taken]
        if not self._queue and not self.is_closed:
            if self._finishing:
                self._half_close()
            else:
                self._watch()

    def finish(self) -> None:
        """Close once everything queued is delivered; nothing more is taken, in either direction."""
        if self.is_closed or self._finishing:
            return
        self._finishing = True
        if not self._queue:
            self._half_close()

    def _half_close(self) -> None:
        """Say that this was all, and wait for the peer to close: a socket closed with bytes unread is reset, and what
        the peer has not yet received is lost."""
        try:
            self.sock.shutdown(socket.SHUT_WR)
        except OSError as error:
            self.close(_reason(error))
            return
        self._paused = False
        self._watch()
        timer = asyncio.get_running_loop().call_later(FAREWELL, self.close, None)
        self.closed.add_done_callback(lambda _: timer.cancel())

    def close(self, reason: str | None) -> None:
        """Close the socket; `closed` is done with `reason`."""
        if self.is_closed:
            return
        self.is_closed = True
        self.closed.set_result(None if self._finishing else reason)
        self._pump.remove(self)
        self.sock.close()

    def pause(self) -> None:
        """Take nothing in until `resume`: the peer waits once what lies between is full, and its end is seen later."""
        self._paused = True
        self._watch()

    def resume(self) -> None:
        """Go on after `pause`."""
        if self._paused:
            self._paused = False
            self._watch()

    def _watch(self) -> None:
        if not self.is_closed:
            self._pump.watch(self, (0 if self._paused else _IN) | (_OUT if self._queue else 0))

    def read(self, buffer: bytearray, view: memoryview) -> None:
        """Take in what has arrived."""
        for _ in range(_ROUNDS):
            if self._paused:
                return
            try:
                size = self.sock.recv_into(buffer)
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                self.close(_reason(error))
                return
            if not size:
                self.close("closed by the peer")
                return
            self.received += size
            if self.reader is not None and not self._finishing and not self._take(self.reader, view[:size]):
                return
            if size < len(buffer):
                return

    def _take(self, reader: Reader, data: memoryview) -> bool:
        """Parse and dispatch; False when the connection is closed after that."""
        try:
            reader.read(data, self.dispatch, self.shortcut)
        except MediaError as error:
            self.close(error.message)
        except Exception as error:
            log.exception("a connection met a defect")
            self.close(f"internal error ({type(error).__name__})")
        self._answer(reader.acknowledgement())
        return not self.is_closed

    def dispatch(self, message: Message) -> None:
        """Hand one message to its handler; protocol messages are answered here."""
        type_, timestamp, payload = message
        if type_ in (AUDIO, VIDEO):
            if self.on_media is not None:
                self.on_media(type_, timestamp, payload)
        elif type_ in (DATA, chunk.DATA_AMF3):
            self._data(type_, timestamp, payload)
        elif type_ in (chunk.COMMAND, chunk.COMMAND_AMF3):
            if self.on_command is not None:
                self.on_command(type_, timestamp, amf.content(payload) if type_ == chunk.COMMAND_AMF3 else payload)
        elif type_ == chunk.USER_CONTROL and payload[:2] == _STREAM_EOF and len(payload) >= 6:
            if self.on_command is not None:
                self.on_command(type_, 0, payload)
        else:
            self._answer(chunk.answer(type_, payload))

    def _data(self, type_: int, timestamp: int, payload: bytes) -> None:
        if self.on_media is None or len(payload) > MAX_DATA:
            return
        if type_ == chunk.DATA_AMF3:
            payload = amf.encode(*amf.decode(amf.content(payload)))
        payload = payload.removeprefix(SET_DATA_FRAME)
        if payload.startswith(b"\x02") and not payload.startswith(b"\x02\x00\x11|RtmpSampleAccess"):
            self.on_media(DATA, timestamp, payload)

    def _answer(self, data: bytes) -> None:
        """Answer a protocol message; a peer that does not take its answers gets no more of them."""
        if data and self.queued <= QUEUE_LIMIT:
            self.send(data)


class Pump:
    """Serves all connections of a process. `tick` is in seconds; nothing runs while there is no connection.

    The `poller` knows their sockets; it is the kernel's unless another is given.
    """

    def __init__(self, *, tick: float, poller: Poller | None = None) -> None:
        self.tick = tick
        self._loop = asyncio.get_running_loop()
        self._poller: Poller = poller or select.epoll()
        self._connections: dict[int, Connection] = {}
        #: Fed wires that are ready, and what for.
        self._woken: dict[int, int] = {}
        self._dirty: list[Flushable] = []
        #: Called at the beginning of each tick.
        self._tickers: list[Callable[[], None]] = []
        self._buffer = bytearray(_RECEIVE)
        self._view = memoryview(self._buffer)
        self._timer: asyncio.Handle | None = None
        #: Sockets that are ready and have not been served in this tick yet.
        self._waiting: list[tuple[int, int]] = []
        self._due = 0.0

    def add(
        self,
        sock: Wire,
        reader: Reader | None = None,
        *,
        on_media: OnMessage | None = None,
        on_command: OnMessage | None = None,
    ) -> Connection:
        """Own a connected, non-blocking socket, or what is fed, from now on."""
        connection = Connection(self, sock, reader, on_media=on_media, on_command=on_command)
        self._connections[connection.fd] = connection
        if isinstance(sock, FedWire):
            sock.attach(self._wake)
        else:
            self._poller.register(connection.fd, _IN)
        self._start()
        return connection

    def each_tick(self, call: Callable[[], None]) -> None:
        """Have something called in each tick, before its sockets are served, until `no_tick`."""
        self._tickers.append(call)
        self._start()

    def no_tick(self, call: Callable[[], None]) -> None:
        """End what `each_tick` began."""
        if call in self._tickers:
            self._tickers.remove(call)

    def _start(self) -> None:
        if self._timer is None:
            self._due = self._loop.time() + self.tick
            self._timer = self._loop.call_at(self._due, self._run)

    def owns(self, sock: Wire) -> bool:
        """Whether this socket is served here."""
        connection = self._connections.get(sock.fileno())
        return connection is not None and connection.sock is sock

    def watch(self, connection: Connection, events: int) -> None:
        """Choose which events of a connection's socket wake it."""
        if connection.fd >= 0:
            self._poller.modify(connection.fd, events)
        else:
            self._wake(connection.fd, events & _IN)

    def remove(self, connection: Connection) -> None:
        """Forget a connection; it closes its socket itself."""
        if self._connections.pop(connection.fd, None) is not None and connection.fd >= 0:
            self._poller.unregister(connection.fd)

    def _wake(self, number: int, events: int) -> None:
        self._woken[number] = self._woken.get(number, 0) | events

    def dirty(self, stream: Flushable) -> None:
        """Have a stream flushed at the end of this tick."""
        self._dirty.append(stream)

    def close(self) -> None:
        """Close every connection."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for connection in list(self._connections.values()):
            connection.close(None)
        self._poller.close()

    def _run(self) -> None:
        self._timer = None
        try:
            ready = self._waiting or self._begin()
            self._waiting = ready[SLICE:]
            self._serve(ready[:SLICE])
        finally:
            if self._waiting:
                self._timer = self._loop.call_soon(self._run)
            elif self._connections or self._tickers:
                self._due = max(self._due + self.tick, self._loop.time())
                self._timer = self._loop.call_at(self._due, self._run)

    def _begin(self) -> list[tuple[int, int]]:
        """Call who wants to be called in each tick; return the sockets that are ready."""
        for call in list(self._tickers):
            call()
        return self._poll()

    def serve(self) -> None:
        """Serve every socket that is ready, then flush the streams that took something in."""
        self._serve(self._poll())

    def _poll(self) -> list[tuple[int, int]]:
        ready = self._poller.poll(0)
        if self._woken:
            ready += self._woken.items()
            self._woken = {}
        return ready

    def _serve(self, ready: list[tuple[int, int]]) -> None:
        for fd, events in ready:
            connection = self._connections.get(fd)
            if connection is None:
                continue
            if events & (_IN | _GONE):
                connection.read(self._buffer, self._view)
            if events & _OUT and not connection.is_closed:
                connection.drain()
        self.flush()

    def flush(self) -> None:
        """Flush the streams that took something in since the last flush."""
        while self._dirty:
            streams, self._dirty = self._dirty, []
            for stream in streams:
                stream.flush()


def _reason(error: OSError) -> str:
    return (error.strerror or str(error)).lower()
