"""A pump whose connections end in the test's hands."""

import socket
from contextlib import ExitStack, closing
from typing import Self

from penstock.media.pump import Pump
from penstock.media.rtmp.chunk import ChunkReader
from tests.rtmp_wire import Message, Parser, Writer


class Peer:
    """A connection in the pump, and the other end of its socket."""

    def __init__(self, pump: Pump, ours: socket.socket, theirs: socket.socket, *, reading: bool) -> None:
        self._pump = pump
        self.sock = theirs
        #: What the connection's handlers took: (type, timestamp, payload).
        self.media: list[tuple[int, int, bytes]] = []
        self.commands: list[tuple[int, int, bytes]] = []
        self.connection = pump.add(
            ours,
            ChunkReader() if reading else None,
            on_media=lambda *message: self.media.append(message),
            on_command=lambda *message: self.commands.append(message),
        )
        self.parser = Parser()

    def send(self, *messages: Message) -> None:
        """Send messages, and have the pump take them in."""
        self.sock.sendall(Writer().write(*messages))
        self._pump.serve()

    def received(self) -> bytes:
        """Everything that arrives, while the pump sends on what was queued."""
        pieces = []
        while piece := self._receive():
            pieces.append(piece)
            self._pump.serve()
        return b"".join(pieces)

    def _receive(self) -> bytes:
        try:
            return self.sock.recv(1 << 20)
        except BlockingIOError:
            return b""

    def messages(self) -> list[Message]:
        """The messages that have arrived."""
        return self.parser.feed(self.received())

    @property
    def reason(self) -> str | None:
        """Why the connection has ended."""
        return self.connection.closed.result()


class Wires:
    """A pump, served by hand unless it is given a tick, and its peers. Needs a running loop."""

    def __init__(self, *, tick: float = 3600) -> None:
        self._resources = ExitStack()
        self.pump = Pump(tick=tick)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.pump.close()
        self._resources.close()

    def peer(self, *, reading: bool = True, tcp: bool = False) -> Peer:
        """Connect one more. Without `reading` the pump throws away what it sends."""
        ours, theirs = tcp_pair() if tcp else socket.socketpair()
        for sock in (ours, theirs):
            sock.setblocking(False)
        self._resources.enter_context(theirs)
        return Peer(self.pump, ours, theirs, reading=reading)


def tcp_pair() -> tuple[socket.socket, socket.socket]:
    """Two ends of a TCP connection."""
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        client = socket.create_connection(server.getsockname())
        return client, server.accept()[0]
