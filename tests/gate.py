"""A TCP proxy that breaks: it closes its connections, or stops to pass bytes and keeps them open (half-open TCP)."""

import select
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Self


class Gate:
    """Leads from a loopback port of its own to another; runs on threads of its own."""

    def __init__(self, port: int) -> None:
        self._to = ("127.0.0.1", port)
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._server.getsockname()[1]
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._passing = threading.Event()
        self._passing.set()
        self._done = False
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> Self:
        self._start(self._accept)
        return self

    def _start(self, run: Callable[..., None], *args: object) -> None:
        thread = threading.Thread(target=run, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def __exit__(self, *_: object) -> None:
        self._done = True
        self._passing.set()
        self._server.shutdown(socket.SHUT_RDWR)
        self.close()
        for thread in self._threads:
            thread.join(5)

    def close(self) -> None:
        """Close every connection; new ones pass."""
        pairs, self._pairs = self._pairs, []
        for pair in pairs:
            for sock in pair:
                with suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)

    def stop(self) -> None:
        """Pass nothing more, in either direction; connections stay open, and new ones are accepted."""
        self._passing.clear()

    def shut(self) -> None:
        """Close every connection; new ones are accepted, and nothing passes."""
        self.stop()
        self.close()

    def go_on(self) -> None:
        """Close what stood still, and pass what is new."""
        self.close()
        self._passing.set()

    def _accept(self) -> None:
        with self._server, suppress(OSError):
            while True:
                client, _ = self._server.accept()
                pair = client, socket.create_connection(self._to)
                self._pairs.append(pair)
                self._start(self._copy, *pair)

    def _copy(self, client: socket.socket, server: socket.socket) -> None:
        other = {client: server, server: client}
        with client, server, suppress(OSError):
            while not self._done:
                self._passing.wait()
                for sock in select.select([client, server], [], [], 0.05)[0]:
                    if not self._passing.is_set():
                        break
                    data = sock.recv(1 << 16)
                    if not data:
                        return
                    other[sock].sendall(data)
