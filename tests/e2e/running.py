"""A real `penstock serve`, as a user starts it, and what a test does to it."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from tests.patience import PATIENCE

T = TypeVar("T")

#: Promised: by how many seconds a process outlives its parent at most.
GONE = 2.0
#: `source.stall` for who tests something else, in seconds, and the product's own: as the source's rhythm says.
PATIENT, FOLLOWING_RHYTHM = {"PENSTOCK_SOURCE_STALL": "10"}, {"PENSTOCK_SOURCE_STALL": "0"}

PENSTOCK = Path(sys.executable).with_name("penstock")


def until(condition: Callable[[], T], *, within: float = PATIENCE, what: str = "") -> T:
    """Wait until `condition` answers something true, and return that; fail after `within` seconds."""
    deadline = time.monotonic() + within
    while not (answer := condition()):
        assert time.monotonic() < deadline, f"not within {within} s: {what or condition}"
        time.sleep(0.1)
    return answer


def environment(**extra: str) -> dict[str, str]:
    """This process's environment without settings, but those given and leave to reach loopback."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("PENSTOCK_")}
    return {**inherited, "PENSTOCK_NETWORK_ALLOW": "127.0.0.0/8", **extra}


def penstock(*arguments: str | Path, check: bool = True, **extra: str) -> "subprocess.CompletedProcess[str]":
    """Run a command to its end."""
    done = subprocess.run(
        [PENSTOCK, *arguments], env=environment(**extra), capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert not check or done.returncode == 0, done.stderr
    return done


def is_running(pid: int) -> bool:
    """Whether this process still runs; a zombie does not."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    return False


def leave() -> float:
    """By how much a promise in seconds is stretched now: the work that waits for each core, at least 1."""
    return max(1.0, os.getloadavg()[0] / len(os.sched_getaffinity(0)))


def until_gone(pids: Collection[int]) -> None:
    """Wait until none of these processes runs: their parent is dead, and they may outlive it by `GONE` seconds."""
    until(lambda: not any(map(is_running, pids)), within=GONE * leave(), what=f"{pids} are gone with their parent")


def kill(pid: int) -> int:
    """Kill -9 a child of a running parent; returns the pid when all is over.

    A zombie is not enough: while its last threads end, its sockets may still be open.
    """
    os.kill(pid, signal.SIGKILL)
    until(lambda: not Path(f"/proc/{pid}").exists(), what=f"process {pid} is dead")
    return pid


class PenstockServer:
    """One `penstock serve` on a DATA of its own, with an account. Ports are chosen by the system.

    Its sources may be silent for longer than usual: those of a starved test are slow, not gone. A test of stalls says
    `FOLLOWING_RHYTHM`.

    Args:
        folder: for DATA, the ready file and the log; DATA stays when the server goes.
        account: what `penstock account create demo --json` printed for this DATA.
        prefix: a command that becomes the server, e.g. ``prlimit --nofile=64``.
    """

    def __init__(
        self,
        folder: Path,
        account: Mapping[str, Any],
        *,
        workers: int = 2,
        arguments: Sequence[str] = (),
        env: Mapping[str, str] | None = None,
        prefix: Sequence[str | Path] = (),
    ) -> None:
        self.data, self.ready_file, self.log_file = folder / "data", folder / "ready.json", folder / "server.log"
        self._accounts = {"demo": account}
        self.workers = workers
        self._arguments, self._env, self._prefix = arguments, environment(**{**PATIENT, **(env or {})}), prefix
        self._ports = {"http": 0, "media": 0, "rtmp": 0}
        self._process: subprocess.Popen[bytes] | None = None
        self._ever_started: set[int] = set()

    # life

    def start(self) -> "PenstockServer":
        """Start it and wait until requests are answered. A later start keeps the ports of the first."""
        self.ready_file.unlink(missing_ok=True)
        self.launch()
        until(self._is_ready, what=f"{self.ready_file} is written")
        self._ports = {name: urlsplit(getattr(self, name)).port or 0 for name in self._ports}
        return self

    def launch(self) -> None:
        """Start it without waiting."""
        listeners = [word for name, port in self._ports.items() for word in (f"--{name}", f"127.0.0.1:{port}")]
        serve: list[str | Path] = [
            *self._prefix,
            PENSTOCK,
            "serve",
            "--data",
            self.data,
            "--ready-file",
            self.ready_file,
            *listeners,
        ]
        tied = ["setpriv", "--pdeathsig", "KILL", "--"]  # killed with the tests, however they end
        with self.log_file.open("ab") as log:
            self._process = subprocess.Popen(
                [*tied, *serve, "--workers", str(self.workers), *self._arguments],
                env=self._env,
                stderr=log,
                start_new_session=True,
            )

    def _is_ready(self) -> bool:
        code = self.process.poll()
        assert code is None, f"penstock serve ended with {code}:\n{self.log}"
        return self.ready_file.exists()

    def stop(self) -> int:
        """End it by SIGTERM; returns its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.ended()

    def ended(self) -> int:
        """Wait for its end; returns its exit code."""
        return self.process.wait(PATIENCE)

    def restart(self) -> "PenstockServer":
        """Stop it in order and start it again: the same DATA, the same ports."""
        self.stop()
        return self.start()

    def clean_up(self) -> None:
        """Leave nothing behind, whatever state it is in."""
        if self._process is None:
            return
        pids = self._ever_started | set(self.all_pids)
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGCONT)  # a stopped child could not end
        self.process.terminate()
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(PATIENCE)
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        until(lambda: not any(map(is_running, pids)), what="all processes are gone")

    # looks

    @property
    def process(self) -> "subprocess.Popen[bytes]":
        assert self._process is not None
        return self._process

    @property
    def log(self) -> str:
        return self.log_file.read_text() if self.log_file.exists() else ""

    def slowest_call(self) -> float:
        """The longest that a call to the API has taken, in seconds, as the log says."""
        return max(float(ms) for ms in re.findall(r"event=api\.call .* ms=(\S+)", self.log)) / 1000

    @property
    def ready(self) -> dict[str, Any]:
        """The ready file as it is now."""
        found: dict[str, Any] = json.loads(self.ready_file.read_text())
        return found

    @property
    def http(self) -> str:
        return str(self.ready["http"])

    @property
    def media(self) -> str:
        return str(self.ready["media"])

    @property
    def rtmp(self) -> str:
        return str(self.ready["rtmp"])

    @property
    def pids(self) -> dict[str, Any]:
        return dict(self.ready["pids"])

    @property
    def all_pids(self) -> list[int]:
        """The parent and all that descends from it, at this moment."""
        found = [self.process.pid]
        for pid in found:
            with suppress(OSError):
                found += map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())
        self._ever_started.update(found)
        return found

    def get(self, path: str) -> tuple[int, str]:
        """Status and body of a GET on the API's port."""
        try:
            with urllib.request.urlopen(self.http + path, timeout=PATIENCE) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    def command(self, *arguments: str, check: bool = True) -> "subprocess.CompletedProcess[str]":
        """A `penstock` command on this DATA."""
        return penstock(*arguments, "--data", self.data, check=check)

    def account(self, name: str = "demo") -> Mapping[str, Any]:
        """An account's keys, as `account create --json` printed them; an account that is new is made."""
        if name not in self._accounts:
            self._accounts[name] = json.loads(self.command("account", "create", name, "--json").stdout)
        return self._accounts[name]

    def task(self, task_id: str, account: str = "demo") -> dict[str, Any]:
        """What `task show --json` prints."""
        shown: dict[str, Any] = json.loads(self.command("task", "show", task_id, "--account", account, "--json").stdout)
        return shown

    # harm

    def pid_of(self, part: str, number: int = 0) -> int:
        """The process of ``api``, ``hub`` or the ``worker`` of that number."""
        pids = self.pids
        return int(pids["workers"][number] if part == "worker" else pids[part])

    def kill(self, part: str, number: int = 0) -> int:
        """Kill -9 ``api``, ``hub`` or a ``worker``; returns its pid when it is dead and its connections are closed."""
        return kill(self.pid_of(part, number))

    def kill_owner(self, task: Mapping[str, Any]) -> int:
        """Kill -9 the worker that runs this task; returns its pid when it is dead."""
        return kill(int((self.data / "run" / f"{task['owner']}.lock").read_text()))

    def kill_all(self) -> None:
        """Kill -9 everything at once; returns when no process is left."""
        pids = self.all_pids
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        until(lambda: not any(map(is_running, pids)), what="all processes are gone")

    def until_replaced(self, dead: int) -> None:
        """Wait until the ready file names another process in the place of `dead`, and nobody is missing."""

        def replaced() -> bool:
            pids = self.pids
            serving = [pids["api"], pids["hub"], *pids["workers"]]
            return dead not in serving and None not in serving and len(serving) == 2 + self.workers

        until(replaced, what=f"process {dead} is replaced:\n{self.log}")


def ask(address: str, words: bytes) -> bytes:
    """Connect to an address of the ready file, say something, and return the first bytes of the answer."""
    parts = urlsplit(address)
    with socket.create_connection((parts.hostname or "", parts.port or 0), timeout=PATIENCE) as connection:
        connection.sendall(words)
        return connection.recv(64)
