"""A door on loopback for one child: what it wants of the network, it asks of us, and each address is checked."""

import asyncio
import socket
from abc import ABC, abstractmethod
from collections.abc import Coroutine
from contextlib import closing, suppress
from typing import Any, Self

from penstock.errors import MediaError
from penstock.net import Policy

_RECEIVE = 1 << 18


class Loopback(ABC):
    """Listens at a port of its own while it is used as a context manager. `url` is what the child gets as its input.

    Nothing of the caller's stands in it, nor in any other argument of the child.
    """

    url: str
    secrets = ()

    def __init__(self, policy: Policy, source: str) -> None:
        """`source` is the caller's URL."""
        #: Why what the child last asked for could not be had; empty: it could.
        self.failure = ""
        self.policy = policy
        self.source = source
        self.loop = asyncio.get_running_loop()
        self._serving: set[asyncio.Task[None]] = set()
        try:
            self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        except OSError as error:
            raise MediaError(f"no port can be opened: {(error.strerror or str(error)).lower()}") from error
        self._listener.setblocking(False)
        self.port: int = self._listener.getsockname()[1]

    async def __aenter__(self) -> Self:
        self._accepting = self.loop.create_task(self._accept(), name="loopback")
        return self

    async def __aexit__(self, *_: object) -> None:
        tasks = [self._accepting, *self._serving]
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        self._listener.close()

    def explain(self, reason: str) -> str:
        """Why the child failed, in a user's words."""
        return reason

    async def _accept(self) -> None:
        while True:
            try:
                client, _ = await self.loop.sock_accept(self._listener)
            except OSError:  # no descriptor is left: there may be one in a while
                await asyncio.sleep(0.1)
                continue
            client.setblocking(False)
            task = self.loop.create_task(self._attend(client), name="loopback connection")
            self._serving.add(task)
            task.add_done_callback(self._serving.discard)

    async def _attend(self, client: socket.socket) -> None:
        with closing(client), suppress(OSError, TimeoutError):
            await self.serve(client)

    @abstractmethod
    async def serve(self, client: socket.socket) -> None:
        """Serve one connection; it is closed afterwards."""


async def until_one_ends(*ways: Coroutine[Any, Any, None]) -> None:
    """Run these side by side until one of them ends, which ends the others."""
    tasks = [asyncio.ensure_future(way) for way in ways]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


async def copy(source: socket.socket, sink: socket.socket) -> None:
    """Pass on what comes until it ends."""
    loop, buffer = asyncio.get_running_loop(), bytearray(_RECEIVE)
    view = memoryview(buffer)
    with suppress(OSError):
        while size := await loop.sock_recv_into(source, buffer):
            await loop.sock_sendall(sink, view[:size])
