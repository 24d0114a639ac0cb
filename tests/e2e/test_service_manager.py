"""`penstock serve` as systemd sees it: the unit is sound, and every word of sd_notify(3) comes when it should."""

import os
import re
import secrets
import signal
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.e2e.conftest import PenstockServer, ServerFactory, until
from tests.e2e.running import PENSTOCK
from tests.parts import require

UNIT = Path(__file__).parents[2] / "deploy/systemd/penstock.service"


class Systemd:
    """The socket that a service notifies. `heard` holds each message as its lines by name, in order."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.heard: list[dict[str, str]] = []
        #: Who spoke.
        self.pids: set[int] = set()
        self._sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        self._sock.bind(f"\0{address[1:]}" if address.startswith("@") else address)
        self._thread = threading.Thread(target=self._listen)
        self._thread.start()

    def _listen(self) -> None:
        size = struct.calcsize("3i")
        while True:
            message, ancillary, _, _ = self._sock.recvmsg(4096, socket.CMSG_SPACE(size))
            if not message:
                return
            self.pids.add(struct.unpack("3i", ancillary[0][2][:size])[0])
            self.heard.append(dict(line.split("=", 1) for line in message.decode().splitlines()))

    def close(self) -> None:
        """Be gone, as after the end of systemd itself. More than once is fine."""
        if self._thread.is_alive():
            self._sock.shutdown(socket.SHUT_RDWR)
            self._thread.join()
            self._sock.close()

    def until(self, *wanted: str, after: int = 0) -> int:
        """Wait for a message that holds all these lines' names; returns how many messages came up to it."""

        def found() -> int:
            heard = list(enumerate(self.heard[after:], after + 1))
            return next((number for number, lines in heard if set(wanted) <= lines.keys()), 0)

        return until(found, what=f"{wanted} in {self.heard}")


@pytest.fixture
def systemd(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Systemd]:
    """Its socket is a file, or abstract if that is asked for."""
    abstract = getattr(request, "param", "path") == "abstract"
    address = f"@penstock-{secrets.token_hex(8)}" if abstract else str(tmp_path / "notify")
    with closing(Systemd(address)) as systemd:
        yield systemd


def managed(penstock_server: ServerFactory, systemd: Systemd, *, watchdog: float = 30) -> PenstockServer:
    """A server that was started as systemd would."""
    env = {"NOTIFY_SOCKET": systemd.address, "WATCHDOG_USEC": str(round(watchdog * 1e6))}
    return penstock_server(workers=1, env=env)


@pytest.mark.parametrize("systemd", ["path", "abstract"], indirect=True)
def test_readiness_reload_trouble_and_end_are_notified(penstock_server: ServerFactory, systemd: Systemd) -> None:
    server = managed(penstock_server, systemd)
    serving = f"serving on {server.http.removeprefix('http://')}"
    count = systemd.until("READY")
    assert systemd.heard[count - 1] == {"READY": "1", "STATUS": serving}

    began = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    before = server.pids
    server.process.send_signal(signal.SIGHUP)
    reloading = systemd.until("RELOADING", after=count)
    usec = int(systemd.heard[reloading - 1]["MONOTONIC_USEC"])
    assert began <= usec <= time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    count = systemd.until("READY", after=reloading)
    assert server.pids["api"] not in (None, before["api"])  # said when the new one answers, no sooner

    dead = server.kill("worker")
    down = systemd.until("STATUS", after=count)
    assert systemd.heard[down - 1] == {"STATUS": f"{serving}; down: worker-1"}
    server.until_replaced(dead)
    count = systemd.until("READY", after=down)
    assert systemd.heard[count - 1]["STATUS"] == serving

    assert server.stop() == 0
    stopping = systemd.until("STOPPING", after=count)
    assert not any("READY" in lines for lines in systemd.heard[stopping:])
    assert systemd.pids == {server.process.pid}


def test_reload_that_is_refused_is_over_and_says_why(penstock_server: ServerFactory, systemd: Systemd) -> None:
    server = managed(penstock_server, systemd)
    before, count = server.pids, systemd.until("READY")
    (server.data / "secret.key").rename(server.data / "elsewhere")
    server.process.send_signal(signal.SIGHUP)
    count = systemd.until("READY", after=systemd.until("RELOADING", after=count))
    assert "the API is not restarted: " in systemd.heard[count - 1]["STATUS"]
    assert server.pids == before


def test_watchdog_hears_of_life_as_long_as_the_parent_lives(penstock_server: ServerFactory, systemd: Systemd) -> None:
    server = managed(penstock_server, systemd, watchdog=1.5)
    count = systemd.until("READY")
    for _ in range(3):
        count = systemd.until("WATCHDOG", after=count)
    server.process.send_signal(signal.SIGSTOP)
    stopped_at = time.monotonic()
    until(lambda: (Path(f"/proc/{server.process.pid}/stat").read_text().rpartition(")")[2].split()[0]) == "T")
    count = len(systemd.heard)
    until(lambda: time.monotonic() > stopped_at + 1.5)
    assert len(systemd.heard) <= count + 1  # one may have been on its way
    server.process.send_signal(signal.SIGCONT)
    systemd.until("WATCHDOG", after=len(systemd.heard))


def test_children_cannot_speak_in_the_parents_name(penstock_server: ServerFactory, systemd: Systemd) -> None:
    server = managed(penstock_server, systemd)
    for pid in server.all_pids[1:]:
        environment = Path(f"/proc/{pid}/environ").read_bytes()
        assert b"NOTIFY_SOCKET" not in environment
        assert b"WATCHDOG_USEC" not in environment


def test_server_goes_on_when_nobody_listens_any_more(penstock_server: ServerFactory, systemd: Systemd) -> None:
    systemd.close()
    server = managed(penstock_server, systemd, watchdog=0.3)
    assert server.get("/readyz")[0] == 200
    assert server.stop() == 0
    assert "Traceback" not in server.log


def test_unit_is_sound(tmp_path: Path) -> None:
    """As installed, but for the place where the program lies."""
    analyze = require("systemd-analyze", package="systemd")
    text = UNIT.read_text().replace("/opt/penstock/.venv/bin/penstock", str(PENSTOCK))
    assert str(PENSTOCK) in text
    unit = tmp_path / "penstock.service"
    unit.write_text(text)
    env = {**os.environ, "SYSTEMD_LOG_LEVEL": "notice"}
    verified = subprocess.run([analyze, "verify", unit], capture_output=True, text=True, check=False, env=env)
    assert (verified.returncode, verified.stderr) == (0, "")
    # 0 is the tightest, 100 no confinement at all.
    judged = subprocess.run(
        [analyze, "security", "--offline=true", "--threshold=25", unit], capture_output=True, text=True, check=False
    )
    assert judged.returncode == 0, judged.stdout


def test_unit_gives_the_parent_the_time_that_it_takes() -> None:
    """Longer than a drain, and than the silence after which a child is replaced."""
    settings = dict(re.findall(r"^(\w+)=(.*)$", UNIT.read_text(), re.MULTILINE))
    assert int(settings["TimeoutStopSec"]) > 10
    assert int(settings["WatchdogSec"]) > 10
    assert (settings["Type"], settings["KillMode"], settings["OOMPolicy"]) == ("notify", "mixed", "continue")
    assert settings["ExecReload"] == "/bin/kill -HUP $MAINPID"
