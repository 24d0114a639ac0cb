"""A child process's side: its life hangs on its parent.

Two leashes, so that no child is ever left behind. The kernel kills it when the parent dies
(PR_SET_PDEATHSIG); and it holds one end of a socket pair, on which it says ``ready`` once and ``beat`` each
second from its event loop. The end of the line means that the parent is gone. A loop that is wedged is silent,
and the parent kills the child. The parent says ``go`` when DATA is up to date: children load meanwhile.
"""

import asyncio
import ctypes
import os
import resource
import signal
import socket
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

READY, BEAT, GO = b"ready\n", b"beat\n", b"go\n"
#: Seconds between two beats.
BEAT_EVERY = 1.0

_PR_SET_PDEATHSIG = 1


def run_part(part: "Part", *, leash: int | None, loop_factory: Callable[[], asyncio.AbstractEventLoop]) -> None:
    """Run one part of Penstock as this process, until SIGTERM or until it ends by itself.

    Args:
        part: called with its leash; it is cancelled to make it stop.
        leash: the descriptor of the line to the parent; None: the part runs alone.
        loop_factory: makes the event loop.
    """
    raise_file_limit()
    if leash is not None:
        _die_with_parent()
        # A terminal sends these to the whole group; the parent decides what they mean.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(_live(part, leash))


def raise_file_limit() -> None:
    """Allow this process as many open files as it may allow itself."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL))


async def _live(part: "Part", fd: int | None) -> None:
    loop = asyncio.get_running_loop()
    leash = Leash(fd)
    task = loop.create_task(part(leash))
    asked = False

    def stop() -> None:
        nonlocal asked
        if not asked:  # asked twice, its clean-up would be cut short
            asked = True
            task.cancel()

    loop.add_signal_handler(signal.SIGTERM, stop)
    if leash.alone:
        loop.add_signal_handler(signal.SIGINT, stop)
    beating = loop.create_task(leash.beat())
    try:
        await task
    except asyncio.CancelledError:
        if not asked:
            raise
    finally:
        beating.cancel()


class Leash:
    """A process's line to its parent; without a descriptor it has none, and is free."""

    def __init__(self, fd: int | None) -> None:
        self.alone = fd is None
        self._go = asyncio.Event()
        self._sock: socket.socket | None = None
        if fd is None:
            self._go.set()
        else:
            self._sock = socket.socket(fileno=fd)
            self._sock.setblocking(False)
            asyncio.get_running_loop().add_reader(self._sock, self._heard, self._sock)

    async def go(self) -> None:
        """Wait until DATA is up to date."""
        await self._go.wait()

    def ready(self) -> None:
        """Say that this process serves."""
        self._say(READY)

    async def beat(self) -> None:
        """Show that the event loop turns, until cancelled."""
        while True:
            self._say(BEAT)
            await asyncio.sleep(BEAT_EVERY)

    def _say(self, word: bytes) -> None:
        if self._sock:
            with suppress(OSError):  # a full line: the parent is slow, and has beats enough
                self._sock.send(word)

    def _heard(self, sock: socket.socket) -> None:
        try:
            words = sock.recv(64)
        except BlockingIOError:
            return
        except OSError:
            words = b""
        if not words:
            os._exit(1)
        self._go.set()


Part = Callable[[Leash], Coroutine[Any, Any, None]]
