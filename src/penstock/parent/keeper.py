"""One child, seen from its parent: started, listened to, killed when wedged, started again when it dies."""

import asyncio
import os
import signal
import socket
import subprocess
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress

import structlog

from penstock.parent.leash import GO, READY
from penstock.parent.policy import Damper, Silence

log = structlog.get_logger()

#: How often a child's silence is judged, in seconds.
LOOK_EVERY = 0.5
#: A process that was killed is gone within so many seconds, unless the kernel itself cannot let go of it.
DEATH = 10.0


class Child:
    """A running process and the line to it.

    It is made in the main thread: the kernel ties a child's life to the thread that started it. Raises OSError
    if the machine has no room for it.
    """

    def __init__(self, argv: Sequence[str], fds: Sequence[int], *, watchdog: float, spoke: Callable[[], None]):
        self._loop = asyncio.get_running_loop()
        self._line, theirs = socket.socketpair()
        self._line.setblocking(False)
        with theirs, ExitStack() as undo:
            undo.callback(self._line.close)
            self._process = subprocess.Popen(
                [*argv, "--leash", f"fd:{theirs.fileno()}"],
                pass_fds=[*fds, theirs.fileno()],
                stdin=subprocess.DEVNULL,
            )
            undo.callback(self._process.wait)
            undo.callback(self._process.kill)
            self._pidfd = os.pidfd_open(self._process.pid)
            undo.pop_all()
        self.pid = self._process.pid
        self.ready = False
        self.started = self._loop.time()
        #: Resolved with the exit code, negative for a signal, when the process is gone.
        self.gone: asyncio.Future[int] = self._loop.create_future()
        self._spoke = spoke
        self._killed: float | None = None
        self._silence = Silence(watchdog, now=self.started)
        self._loop.add_reader(self._pidfd, self._exited)
        self._loop.add_reader(self._line, self._heard)
        self._watch = self._loop.create_task(self._listen())

    def go(self) -> None:
        """Tell it that DATA is up to date."""
        with suppress(OSError):  # it is dying; its successor will be told
            self._line.send(GO)

    def signal(self, number: signal.Signals) -> None:
        if number is signal.SIGKILL and self._killed is None:
            self._killed = self._loop.time()
        self._process.send_signal(number)

    @property
    def undead(self) -> bool:
        """Whether it was killed and does not go: a disk or a driver holds it in the kernel."""
        return self._killed is not None and not self.gone.done() and self._loop.time() - self._killed > DEATH

    async def end(self, seconds: float) -> None:
        """Ask it to end, and after `seconds` kill it. Returns when it is gone."""
        self.signal(signal.SIGTERM)
        with suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, seconds)):
                await asyncio.shield(self.gone)
        if not self.gone.done():
            log.warning("a process does not end and is killed", pid=self.pid)
            self.signal(signal.SIGKILL)
        await asyncio.shield(self.gone)

    def _heard(self) -> None:
        try:
            words = self._line.recv(4096)
        except OSError:
            words = b""
        if not words:
            self._loop.remove_reader(self._line)
            return
        self._silence.heard(self._loop.time())
        if not self.ready and READY in words:
            self.ready = True
            self._spoke()

    def _exited(self) -> None:
        self._loop.remove_reader(self._pidfd)
        self._loop.remove_reader(self._line)
        os.close(self._pidfd)
        self._line.close()
        self._watch.cancel()
        self.gone.set_result(self._process.wait())

    async def _listen(self) -> None:
        while True:
            await asyncio.sleep(LOOK_EVERY)
            if self._silence.too_long(self._loop.time(), every=LOOK_EVERY):
                log.error("a process is wedged and is killed", pid=self.pid)
                self.signal(signal.SIGKILL)
                return


class Keeper:
    """Sees to it that one child runs, until it is retired.

    Args:
        name: for the log, e.g. ``worker-1``.
        argv: the command.
        fds: descriptors that the child inherits.
        watchdog: after how many seconds of silence the child is wedged.
        ready: called when the child serves.
        died: called when the child has died of itself.
    """

    def __init__(
        self,
        name: str,
        argv: Sequence[str],
        fds: Sequence[int],
        *,
        watchdog: float,
        ready: Callable[[], None],
        died: Callable[[], None],
    ) -> None:
        self.name = name
        self._argv, self._fds, self._watchdog = argv, fds, watchdog
        self._ready, self._died = ready, died
        self._going = self._replacing = False
        self._retired = asyncio.Event()
        self.child: Child | None = None

    @property
    def pid(self) -> int | None:
        """The process that serves; None: none does."""
        return self.child.pid if self.child and self.child.ready else None

    @property
    def well(self) -> bool:
        """Whether it does what it is for. It cannot replace a child that does not die."""
        return self.child is None or not self.child.undead

    async def keep(self) -> None:
        """Run the child, again and again, until it is retired."""
        loop, damper = asyncio.get_running_loop(), Damper()
        while not self._retired.is_set():
            started = loop.time()
            why = await self._live()
            if self._replacing or self._retired.is_set():
                self._replacing = False
                continue
            pause = damper.died(lived=loop.time() - started)
            log.error("a process has died", name=self.name, reason=why, again_in_s=pause)
            self._died()
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._retired.wait()

    async def _live(self) -> str:
        """One life of the child; returns why it ended."""
        try:
            child = Child(self._argv, self._fds, watchdog=self._watchdog, spoke=self._ready)
        except OSError as error:
            return f"it cannot be started: {error.strerror}"
        self.child = child
        if self._going:
            child.go()
        code = await asyncio.shield(child.gone)
        self.child = None
        return f"exit code {code}" if code >= 0 else signal.Signals(-code).name

    def go(self) -> None:
        """DATA is up to date: this child, and those that follow, may use it."""
        self._going = True
        if self.child:
            self.child.go()

    async def replace(self, seconds: float) -> None:
        """End the child within `seconds`; another one follows at once."""
        if self.child:
            self._replacing = True
            await self.child.end(seconds)

    def retire(self) -> None:
        """Start no other child when this one ends."""
        self._retired.set()

    async def end(self, seconds: float) -> None:
        """End the child within `seconds`."""
        if self.child:
            await self.child.end(seconds)
