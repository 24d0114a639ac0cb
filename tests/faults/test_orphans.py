"""No process outlives the one that started it by more than two seconds, children of workers included."""

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.cloud import Cloud
from tests.e2e.conftest import PenstockServer, ServerFactory
from tests.e2e.running import is_running, until, until_gone

#: In the place of FFmpeg: it listens to nobody, reads nothing, writes nothing, and never ends by itself.
STUBBORN = f"""#!{sys.executable} -IS
import signal, time
for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGPIPE):
    signal.signal(number, signal.SIG_IGN)
while True:
    time.sleep(3600)
"""
#: It has a child, besides, that is tied to nobody's life: so is each child of ours in its first moments.
UNTIED = "import os; os.fork() == 0 and os.setsid()\nwhile True:"


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """What takes FFmpeg's place."""
    program = tmp_path / "ffmpeg"
    program.write_text(STUBBORN)
    program.chmod(0o755)
    return program


@pytest.fixture
def server(penstock_server: ServerFactory, program: Path) -> PenstockServer:
    """A server whose worker runs three such children."""
    server = penstock_server(workers=1, env={"PENSTOCK_MEDIA_FFMPEG": str(program)})
    keys = server.account()
    cloud = Cloud(server.http, keys["secret_id"], keys["secret_key"])
    for name in "abc":
        cloud.create(f"http://127.0.0.1:1/{name}.m3u8", f"rtmp://127.0.0.1:1/live/{name}")
    until(lambda: len(children(server)) == 3, what="the children have been started")
    return server


def children(server: PenstockServer) -> list[int]:
    """What its worker has started, and what these have."""
    parts = [server.process.pid, server.pid_of("api"), server.pid_of("hub"), *server.pids["workers"]]
    return [pid for pid in server.all_pids if pid not in parts and b"/ffmpeg" in command(pid)]


def command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def kill_parent(server: PenstockServer) -> None:
    server.process.kill()
    server.process.wait()


def kill_worker(server: PenstockServer) -> None:
    server.kill("worker")


def kill_parent_of_stopped_worker(server: PenstockServer) -> None:
    os.kill(server.pid_of("worker"), signal.SIGSTOP)
    kill_parent(server)


def kill_worker_of_stopped_children(server: PenstockServer) -> None:
    for pid in children(server):
        os.kill(pid, signal.SIGSTOP)
    kill_worker(server)


@pytest.mark.parametrize(
    "harm", [kill_parent, kill_worker, kill_parent_of_stopped_worker, kill_worker_of_stopped_children]
)
def test_no_child_outlives_its_parent(server: PenstockServer, harm: Callable[[PenstockServer], None]) -> None:
    everything, started = server.all_pids, children(server)
    harm(server)
    doomed = everything if server.process.poll() is not None else started
    until_gone(doomed)
    if doomed is started:
        until(lambda: len(children(server)) == 3, what="the next worker has started its own")


def test_orderly_end_leaves_no_child(server: PenstockServer) -> None:
    everything = server.all_pids
    assert server.stop() == 0
    assert not any(map(is_running, everything))


def test_what_a_killed_worker_leaves_is_ended(server: PenstockServer, program: Path) -> None:
    """The kernel ends only what has been tied to the worker's life."""
    program.write_text(STUBBORN.replace("while True:", UNTIED))
    kill_worker(server)
    until(lambda: len(children(server)) == 6, what="the next worker's children have children")
    left = children(server)
    kill_worker(server)
    until_gone(left)
    until(lambda: not set(left) & set(server.all_pids), what="they are reaped")


def test_what_a_script_had_started_before_it_became_the_server_lives_on(penstock_server: ServerFactory) -> None:
    """As in a container whose entry point starts something beside Penstock."""
    server = penstock_server(workers=1, prefix=["sh", "-c", 'sleep 3600 & exec "$0" "$@"'])
    [neighbour] = [pid for pid in server.all_pids if command(pid).startswith(b"sleep")]
    server.until_replaced(server.kill("worker"))
    assert is_running(neighbour)
    os.kill(neighbour, signal.SIGKILL)
