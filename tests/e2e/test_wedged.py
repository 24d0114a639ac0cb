"""A process that turns in a circle, and one that cannot live: found, replaced, and kept from eating the machine."""

import os
import re
import signal
import time
from pathlib import Path

import pytest

from tests.e2e.cloud import Cloud
from tests.e2e.conftest import PenstockServer, ServerFactory, until
from tests.e2e.running import is_running, leave
from tests.rtmp_peer import OriginThread, SinkThread

#: Imported by every Python that finds it on its path. A signal has the main thread, which is the event loop's, turn
#: for ever; while the file beside it is there, no worker gets beyond its first breath.
TRAP = """
import os, signal, sys

def spin(*_):
    while True:
        pass

signal.signal(signal.SIGUSR2, spin)
if "worker" in sys.orig_argv and os.path.exists(os.path.join(os.path.dirname(__file__), "doomed")):
    os._exit(3)
"""
WATCHDOG = 2


@pytest.fixture
def trap(tmp_path: Path) -> Path:
    """A folder for PYTHONPATH."""
    folder = tmp_path / "trap"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(TRAP)
    return folder


@pytest.fixture
def server(penstock_server: ServerFactory, trap: Path) -> PenstockServer:
    """A server whose processes can be wedged."""
    return penstock_server(env={"PYTHONPATH": str(trap), "PENSTOCK_SERVER_WATCHDOG": str(WATCHDOG)})


def cpu(pid: int) -> float:
    """Seconds of processor time that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_worker_that_turns_in_a_circle_is_replaced_and_its_media_is_back(
    server: PenstockServer, origin: OriginThread, sink: SinkThread
) -> None:
    cloud = Cloud(server.http, server.account()["secret_id"], server.account()["secret_key"])
    task_id = cloud.create(origin.url, sink.url)
    sink.until(lambda: bool(sink.connections) and len(sink.connections[0].frames) > 25)
    owner = server.task(task_id)["owner"]
    wedged = int((server.data / "run" / f"{owner}.lock").read_text())

    before = cpu(wedged)
    os.kill(wedged, signal.SIGUSR2)
    wedged_at = time.monotonic()
    until(lambda: cpu(wedged) > before + 0.3, what="it turns")

    sink.until(lambda: len(sink.connections) > 1 and bool(sink.connections[1].frames))
    # Beats come each second, silence is judged twice a second, and another worker has 3 s: with some to spare.
    assert sink.connections[1].frames[0].at - wedged_at < (WATCHDOG + 8) * leave()
    server.until_replaced(wedged)
    assert not is_running(wedged)
    assert "a process is wedged and is killed" in server.log
    until(lambda: not cloud.describe(task_id).ErrorInfo)


@pytest.mark.parametrize("part", ["api", "hub"])
def test_part_that_turns_in_a_circle_is_replaced(server: PenstockServer, part: str) -> None:
    wedged = server.pid_of(part)
    os.kill(wedged, signal.SIGUSR2)
    server.until_replaced(wedged)
    assert not is_running(wedged)
    assert server.get("/readyz")[0] == 200


def test_worker_that_cannot_live_is_tried_ever_less_often_until_it_can(server: PenstockServer, trap: Path) -> None:
    (trap / "doomed").touch()
    parent = server.process.pid
    server.kill("worker")
    died = re.compile(r'event="a process has died" name=worker-1 .*again_in_s=(\S+)')
    until(lambda: len(died.findall(server.log)) >= 5)
    assert [float(pause) for pause in died.findall(server.log)[:5]] == [0, 0.2, 0.4, 0.8, 1.6]
    assert server.get("/readyz")[0] == 200
    (trap / "doomed").unlink()
    until(lambda: len(server.pids["workers"]) == 2, what="the worker lives again")
    assert server.pids["parent"] == parent
