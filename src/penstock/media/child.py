"""The one door by which other programs are started: FFmpeg, Chromium.

A child is an argument vector, never a line for a shell. It sees nothing of our environment and none of our descriptors:
its standard input and output are one socket to us, its standard error becomes one masked line that says why it ended.
It does not outlive us: the kernel kills it with the thread that started it, which is the main one, and its socket ends.
"""

import asyncio
import os
import re
import resource
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from penstock.errors import MediaError
from penstock.log import mask_text
from penstock.media.posing import Posing

#: Seconds after which a child that has written nothing no longer keeps another one from starting.
STARTING = 1.0
#: Bytes of standard error that are kept, and how often (seconds) so many are read: a child that says more waits.
_WORDS, _LISTEN_EVERY = 8192, 0.05
#: Bytes that a pipe holds at most.
_PIPE = 65536
#: Longest reason, in characters.
_REASON = 200
#: CPU time is judged over so many seconds.
_CPU_WINDOW = 10.0
#: Added to a child's niceness: moving bytes comes first.
_NICE = 5
#: Seconds that the kernel may take to end what was killed.
_END = 1.0
#: FFmpeg's ``[hls @ 0x55d0c8a0] `` before what it has to say.
_SPEAKER = re.compile(r"^(?:\[[^\]]* @ 0x[0-9a-f]+\] ?)+")
#: … and what follows that if it is told to say how grave it is (``-v level+info``).
_LEVEL = re.compile(r"^\[(\w+)\] ")
_NO_ERROR = {"warning", "info", "verbose", "debug"}
#: FFmpeg's words where it says nothing more (TLS, SRT, a format that is not permitted); the reason stands above them.
_NO_REASON, _FAILURE = ("Input/output error", "Invalid argument"), re.compile("Error opening (in|out)put")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")
#: What `setpriv --pdeathsig KILL` does, where there is none: PR_SET_PDEATHSIG is 1, SIGKILL is 9.
_TIE = "import ctypes, os, sys; ctypes.CDLL(None).prctl(1, 9); os.execvp(sys.argv[1], sys.argv[1:])"


class Limits(NamedTuple):
    """What a child may use of the machine."""

    #: Bytes of private memory (RLIMIT_DATA); None: as much as it likes.
    memory: int | None = 512 << 20
    #: Cores, on average over 10 s; a child that uses more is killed.
    cpu: float = 1.0


LIMITS = Limits()


class Child:
    """A running program. Made by `Children.run` alone.

    `sock` (non-blocking) is its standard input and output; whoever takes it over closes it. `gone` is done with the
    exit code, negative for a signal, and never cancelled: await it by `asyncio.wait`.
    """

    def __init__(
        self, argv: Sequence[str], environment: Mapping[str, str], limits: Limits, hear: Callable[[bytes], None] | None
    ) -> None:
        if threading.current_thread() is not threading.main_thread():
            raise RuntimeError("children are started from the main thread: they die with the thread that started them")
        self._loop = asyncio.get_running_loop()
        self._limits = limits
        self._words = bytearray()
        self._hear = hear
        self._killed = ""
        self.gone: asyncio.Future[int] = self._loop.create_future()
        #: Done when it has written something, has ended, or has had `STARTING` seconds.
        self.settled: asyncio.Future[None] = self._loop.create_future()
        with ExitStack() as undo, ExitStack() as theirs:
            self.sock, its_socket = socket.socketpair()
            undo.callback(self.sock.close)
            theirs.callback(its_socket.close)
            self._stderr, its_stderr = os.pipe()
            undo.callback(os.close, self._stderr)
            theirs.callback(os.close, its_stderr)
            self._process = subprocess.Popen(
                _tied(argv),
                stdin=its_socket.fileno(),
                stdout=its_socket.fileno(),
                stderr=its_stderr,
                env=environment,
                cwd="/",
                start_new_session=True,
            )
            undo.callback(self._process.wait)
            undo.callback(self._process.kill)
            self.pid = self._process.pid
            self._pidfd = os.pidfd_open(self.pid)
            undo.pop_all()
        self.sock.setblocking(False)
        os.set_blocking(self._stderr, False)
        self._bound()
        self._loop.add_reader(self._pidfd, self._exited)
        self._listen()
        self._cpu_at = (self._loop.time(), 0.0)
        self._watch = self._loop.call_later(_CPU_WINDOW, self._judge_cpu)
        self._patience = self._loop.call_later(STARTING, self.settle)

    def _bound(self) -> None:
        # It may have ended already.
        with suppress(ProcessLookupError):
            os.setpriority(os.PRIO_PROCESS, self.pid, os.getpriority(os.PRIO_PROCESS, 0) + _NICE)
            resource.prlimit(self.pid, resource.RLIMIT_CORE, (0, 0))
            if self._limits.memory is not None:
                resource.prlimit(self.pid, resource.RLIMIT_DATA, (self._limits.memory, self._limits.memory))

    async def spoken(self) -> None:
        """Return when it has written something. Raise `MediaError` if it ends without."""
        ready = asyncio.Event()
        self._loop.add_reader(self.sock, ready.set)
        try:
            await ready.wait()
        finally:
            self._loop.remove_reader(self.sock)
        self.settle()
        with suppress(ConnectionError):
            if self.sock.recv(1, socket.MSG_PEEK):
                return
        raise MediaError(await self.ended())

    async def ended(self) -> str:
        """Return why it has ended, once it has: what it said last, or how it died."""
        await asyncio.wait([self.gone])
        return self._killed or reason(bytes(self._words)) or exit_words(self.gone.result())

    def kill(self, why: str = "") -> None:
        """End it now, and all of its process group; `why` is what `ended` will say."""
        if not self.gone.done():
            self._killed = self._killed or why
            with suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)

    def _listen(self) -> None:
        if not self.gone.done():
            self._loop.add_reader(self._stderr, self._heard)

    def _heard(self) -> None:
        self._loop.remove_reader(self._stderr)
        if self._take_words():
            self._loop.call_later(_LISTEN_EVERY, self._listen)

    def _take_words(self) -> bool:
        """Read what it says, as far as it is kept; False: there is no more to come."""
        try:
            words = os.read(self._stderr, _WORDS)
        except BlockingIOError:
            return not self.gone.done()
        if self._hear is not None:
            self._hear(words)
        self._words += words
        del self._words[:-_WORDS]
        return bool(words)

    def _exited(self) -> None:
        self._loop.remove_reader(self._pidfd)
        self._loop.remove_reader(self._stderr)
        self.gone.set_result(self._process.wait())
        self._watch.cancel()
        # Its last words; a grandchild might go on talking.
        for _ in range(_PIPE // _WORDS):
            if not self._take_words():
                break
        os.close(self._pidfd)
        os.close(self._stderr)
        self.settle()

    def settle(self) -> None:
        """It has come up: another one may start."""
        self._patience.cancel()
        if not self.settled.done():
            self.settled.set_result(None)

    def _judge_cpu(self) -> None:
        now, used = self._loop.time(), cpu_seconds(self.pid)
        then, before = self._cpu_at
        if used - before > self._limits.cpu * (now - then):
            self.kill(f"it used more than {self._limits.cpu:g} CPU cores for {now - then:.0f} s")
        self._cpu_at = (now, used)
        self._watch = self._loop.call_later(_CPU_WINDOW, self._judge_cpu)


class Children:
    """Starts children, `at_once` at a time: one that has written nothing yet keeps others waiting, for a second.

    `certificates` is the file of the authorities that they trust (PEM); empty: the system's. The certificates of
    `insecure_hosts` are not verified: `posing` stands between.
    """

    def __init__(self, *, certificates: str = "", insecure_hosts: Collection[str] = (), at_once: int = 0) -> None:
        self.posing = Posing(insecure_hosts, certificates)
        trusted = self.posing.certificates
        self._environment = {"PATH": os.defpath} | ({"SSL_CERT_FILE": trusted} if trusted else {})
        self._starting = asyncio.Semaphore(at_once or 2 * len(os.sched_getaffinity(0)))

    @asynccontextmanager
    async def run(
        self, argv: Sequence[str], limits: Limits = LIMITS, *, hear: Callable[[bytes], None] | None = None
    ) -> AsyncIterator[Child]:
        """Run a program while the block does; afterwards it is gone. Raise `MediaError` if it cannot be started.

        `hear` takes what it says on standard error, as it comes.
        """
        await self._starting.acquire()
        try:
            child = Child(argv, self._environment, limits, hear)
        except BaseException as error:
            self._starting.release()
            if isinstance(error, OSError):
                words = (error.strerror or str(error)).lower()
                raise MediaError(f"{Path(argv[0]).name} cannot be started: {words}") from error
            raise
        child.settled.add_done_callback(lambda _: self._starting.release())
        try:
            yield child
        finally:
            child.kill()
            child.sock.close()
            await asyncio.wait([child.gone], timeout=_END)


def reason(words: bytes) -> str:
    """What a program said last, in one line without secrets; empty: nothing."""
    lines = (" ".join(_CONTROL.sub(" ", line).split()) for line in words.decode(errors="replace").splitlines())
    graded = [(_LEVEL.match(line), line) for line in (_SPEAKER.sub("", line) for line in lines if line)]
    said = [line[level.end() :] if level else line for level, line in graded if not (level and level[1] in _NO_ERROR)]
    said = [line for line in said if not line.startswith("Last message repeated")]
    if said and said[-1].endswith(_NO_REASON):
        said = [line for line in said if not _FAILURE.search(line)] or said
        said = [line for line in said if not line.endswith(_NO_REASON)] or said
    text = mask_text(said[-1]) if said else ""
    return text if len(text) <= _REASON else f"{text[:_REASON]}…"


def cpu_seconds(pid: int) -> float:
    """CPU time that a process has used, in user and kernel mode (proc(5), /proc/PID/stat)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _tied(argv: Sequence[str]) -> list[str]:
    """The command that makes the kernel kill it when we are gone."""
    setpriv = shutil.which("setpriv", path=os.defpath)
    if setpriv:
        return [setpriv, "--pdeathsig", "KILL", "--", *argv]
    return [sys.executable, "-I", "-S", "-c", _TIE, *argv]


def exit_words(code: int) -> str:
    """How a program ended that has said nothing."""
    return f"it was ended by {signal.Signals(-code).name}" if code < 0 else f"it ended with exit code {code}"
