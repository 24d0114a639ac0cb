"""The parent of all processes on one machine: it opens the ports, starts the parts, and restarts what dies.

It does as little as it can, since nothing restarts the parent. API, hub and workers are children (design:
processes). A new life of a child gets the same listening sockets, so a port never changes and no connection
is refused meanwhile.
"""

import asyncio
import fcntl
import json
import os
import signal
import sys
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any

import structlog

from penstock.config import Config
from penstock.errors import ConfigError, PenstockError
from penstock.parent import listening
from penstock.parent.keeper import Keeper
from penstock.parent.notify import Manager
from penstock.parent.orphans import end_orphans

log = structlog.get_logger()

#: From SIGTERM to the end, in seconds: for the workers, and for all.
DRAIN_WORKERS, DRAIN = 8.0, 10.0


class DataLock:
    """The right to serve one DATA: a lock on ``DATA/penstock.lock`` for as long as this process lives."""

    def __init__(self, data: Path) -> None:
        """Make DATA if need be. Raise `ConfigError`, naming its pid, if another server has the right."""
        try:
            data.mkdir(mode=0o700, parents=True, exist_ok=True)
            (data / "run").mkdir(mode=0o700, exist_ok=True)
            self._fd = os.open(data / "penstock.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise ConfigError(f"cannot use {error.filename}: {error.strerror}") from None
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pid = os.pread(self._fd, 32, 0).decode().strip() or "unknown"
            os.close(self._fd)
            raise ConfigError(f"a server with pid {pid} already runs on {data}") from None
        os.ftruncate(self._fd, 0)
        os.pwrite(self._fd, f"{os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        os.close(self._fd)

    @staticmethod
    def holder(data: Path) -> int | None:
        """The process that has the right now; None: nobody has."""
        try:
            descriptor = os.open(data / "penstock.lock", os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise ConfigError(f"cannot use {error.filename}: {error.strerror}") from None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return int(os.pread(descriptor, 32, 0).decode().strip() or 0) or None
        else:
            return None
        finally:
            os.close(descriptor)


class Parent:
    """One server.

    Args:
        config: all settings.
        ready_file: where to say that requests are answered; None: only the log says so.
        prepare: brings DATA up to date, while the children load and before the API is restarted; called in a
            thread of its own. Raises a `PenstockError` if nobody could serve.
        bury: removes what dead processes left in ``DATA/run``.
        hint: tells the living processes that tasks may be claimed.
    """

    def __init__(
        self,
        config: Config,
        *,
        ready_file: Path | None,
        prepare: Callable[[], None],
        bury: Callable[[], object],
        hint: Callable[[], Coroutine[Any, Any, None]],
    ) -> None:
        self._config, self._ready_file = config, ready_file
        self._prepare, self._bury, self._hint = prepare, bury, hint
        server = config.server
        self._http = listening.open_socket(server.http, "server.http")
        self._https = listening.open_socket(server.https, "server.https") if server.https else None
        self._media = listening.open_socket(server.media, "server.media")
        self._rtmp = listening.open_socket(server.rtmp, "server.rtmp")
        hub = ["--rtmp", str(listening.bound(self._rtmp)), "--media", str(listening.bound(self._media))]
        http_fd, media_fd, rtmp_fd = self._http.fileno(), self._media.fileno(), self._rtmp.fileno()
        https_fds = [self._https.fileno()] if self._https else []
        https = [word for fd in https_fds for word in ("--https", f"fd:{fd}")]
        self._api = self._keeper("api", ["--http", f"fd:{http_fd}", *https, *hub], [http_fd, *https_fds])
        self._hub = self._keeper("hub", ["--media", f"fd:{media_fd}", "--rtmp", f"fd:{rtmp_fd}"], [media_fd, rtmp_fd])
        self._workers = [self._keeper(f"worker-{number}", hub, []) for number in range(1, server.workers + 1)]
        self._all = [*self._workers, self._hub, self._api]
        self._stopping = asyncio.Event()
        self._served = False
        self._manager = Manager(os.environ)
        self._errands: set[asyncio.Task[None]] = set()

    def _keeper(self, name: str, options: Sequence[str], fds: Sequence[int]) -> Keeper:
        role = name.partition("-")[0]
        argv = [sys.executable, "-P", "-m", "penstock", role, "--data", str(self._config.data), *options]
        if self._config.file:
            argv += ["--config", str(self._config.file)]
        return Keeper(
            name,
            argv,
            fds,
            watchdog=self._config.server.watchdog,
            ready=self._report_ready,
            died=self._child_died,
        )

    async def run(self) -> None:
        """Serve until SIGTERM or SIGINT; SIGHUP restarts the API alone. A service manager is told of all that."""
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self._asked_to_stop)
        loop.add_signal_handler(signal.SIGINT, self._asked_to_stop)
        loop.add_signal_handler(signal.SIGHUP, self._restart_api)
        end_orphans(lambda: [keeper.child.pid for keeper in self._all if keeper.child])
        if self._ready_file:
            self._ready_file.unlink(missing_ok=True)  # a killed server left it
        self._bury()
        keeping = [asyncio.create_task(keeper.keep()) for keeper in self._all]
        stopping = asyncio.create_task(self._stopping.wait())
        self._run_errand(self._show_life())
        try:
            await asyncio.to_thread(self._prepare)
            for keeper in self._all:
                keeper.go()
            done, _ = await asyncio.wait([stopping, *keeping], return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()  # no keeper ends by itself: this raises what broke it
        finally:
            await self._drain()
            for task in [stopping, *keeping]:
                task.cancel()
            if self._ready_file:
                self._ready_file.unlink(missing_ok=True)

    def _asked_to_stop(self) -> None:
        if self._stopping.is_set():
            for keeper in self._all:
                if keeper.child:
                    keeper.child.signal(signal.SIGKILL)
        self._stopping.set()

    async def _drain(self) -> None:
        """End the workers, so that they give up their tasks; then what they and the callers need."""
        log.info("stopping")
        self._manager.stopping()
        for keeper in self._all:
            keeper.retire()
        loop = asyncio.get_running_loop()
        start = loop.time()
        await asyncio.gather(*(keeper.end(DRAIN_WORKERS) for keeper in self._workers))
        left = DRAIN - (loop.time() - start)
        await asyncio.gather(self._hub.end(left), self._api.end(left))

    def _restart_api(self) -> None:
        self._run_errand(self._replace_api())

    async def _replace_api(self) -> None:
        self._manager.reloading()
        try:
            await asyncio.to_thread(self._prepare)
        except PenstockError as error:
            log.error("the API is not restarted, since it could not serve", reason=error.message)
            self._manager.ready(f"the API is not restarted: {error.message}")
            return
        if self._stopping.is_set():
            return
        log.info("restarting the API")
        await self._api.replace(DRAIN)

    async def _show_life(self) -> None:
        """Let the service manager know that this loop turns and that no child is stuck in its death."""
        while self._manager.alive_every:
            if all(keeper.well for keeper in self._all):
                self._manager.alive()
            await asyncio.sleep(self._manager.alive_every)

    def _child_died(self) -> None:
        self._manager.status(self._status())
        self._bury()
        self._run_errand(self._hint())

    def _run_errand(self, errand: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(errand)
        self._errands.add(task)
        task.add_done_callback(self._errands.discard)

    def _report_ready(self) -> None:
        """Say who serves, when all do for the first time and whenever that changes."""
        if self._stopping.is_set():
            return
        if not self._served and any(keeper.pid is None for keeper in self._all):
            return
        pids = {
            "parent": os.getpid(),
            "api": self._api.pid,
            "hub": self._hub.pid,
            "workers": [keeper.pid for keeper in self._workers if keeper.pid is not None],
            "room": None,
        }
        name = self._config.public.host
        ready = {
            "http": f"http://{listening.reach(self._http, host=name)}",
            "https": f"https://{listening.reach(self._https, host=name)}" if self._https else None,
            "media": f"http://{listening.reach(self._media, host=name)}",
            "rtmp": f"rtmp://{listening.reach(self._rtmp, host=name)}",
            "srt": None,
            "pids": pids,
        }
        if self._ready_file:
            try:
                write_atomically(self._ready_file, json.dumps(ready, indent=2) + "\n")
            except OSError as error:
                log.error("the ready file cannot be written", error=str(error))
        if self._api.pid is not None:
            self._manager.ready(self._status())
        if not self._served:
            self._served = True
            log.info("ready", **{name: where for name, where in ready.items() if isinstance(where, str)})

    def _status(self) -> str:
        """Who serves, in one line for people."""
        missing = [keeper.name for keeper in self._all if keeper.pid is None]
        where = f"serving on {listening.reach(self._http, host=self._config.public.host)}"
        return f"{where}; down: {', '.join(missing)}" if missing else where


def write_atomically(path: Path, text: str) -> None:
    """Whoever reads the file sees all of the old text or all of the new."""
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    unfinished.write_text(text, "utf-8")
    unfinished.replace(path)
