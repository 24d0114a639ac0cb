"""`penstock serve` as processes: what dies is replaced, what is asked to end ends, and nothing is left behind."""

import json
import os
import resource
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from tests.e2e.conftest import PenstockServer, ServerFactory
from tests.e2e.running import PENSTOCK, ask, environment, is_running, penstock, until, until_gone
from tests.patience import PATIENCE

#: A handshake's first byte and random part, to which an RTMP server answers with its own.
RTMP_HELLO = b"\x03" + bytes(1536)
HTTP_HELLO = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


def answers(server: PenstockServer) -> bool:
    return (
        ask(server.http, HTTP_HELLO).startswith(b"HTTP/1.1 200")
        and ask(server.media, HTTP_HELLO).startswith(b"HTTP/1.1 ")
        and ask(server.rtmp, RTMP_HELLO).startswith(b"\x03")
    )


@contextmanager
def asking_all_the_time(address: str, words: bytes) -> Iterator[list[str]]:
    """Connect, ask and wait for an answer again and again; what failed is in the list.

    A connection that the dying process had taken already may break; none is refused, and the next is answered.
    """
    failures: list[str] = []
    over = threading.Event()

    def run() -> None:
        while not over.is_set():
            try:
                ask(address, words)
            except ConnectionResetError:
                continue
            except OSError as error:
                failures.append(repr(error))
            over.wait(0.01)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield failures
    finally:
        over.set()
        thread.join()


def test_ready_file_says_where_and_who(penstock_server: ServerFactory) -> None:
    server = penstock_server()
    ready = server.ready
    assert list(ready) == ["http", "https", "media", "rtmp", "srt", "pids"]
    assert (ready["https"], ready["srt"]) == (None, None)
    assert ready["http"].startswith("http://127.0.0.1:")
    assert ready["media"].startswith("http://127.0.0.1:")
    assert ready["rtmp"].startswith("rtmp://127.0.0.1:")
    pids = ready["pids"]
    assert list(pids) == ["parent", "api", "hub", "workers", "room"]
    assert (pids["parent"], pids["room"], len(pids["workers"])) == (server.process.pid, None, 2)
    named = {pids["parent"], pids["api"], pids["hub"], *pids["workers"]}
    assert named == set(server.all_pids)
    assert answers(server)
    assert (server.get("/healthz")[0], server.get("/readyz")[0]) == (200, 200)


def test_data_is_for_its_owner_alone(penstock_server: ServerFactory) -> None:
    server = penstock_server(workers=1, start=False)
    server.data.chmod(0o700)
    server.start()
    assert {path.stat().st_mode & 0o777 for path in (server.data, server.data / "run")} == {0o700}


@pytest.mark.parametrize(("part", "number"), [("api", 0), ("hub", 0), ("worker", 0), ("worker", 1)])
def test_killed_part_is_replaced_and_no_connection_is_refused(
    penstock_server: ServerFactory, part: str, number: int
) -> None:
    server = penstock_server()
    before = server.ready
    with (
        asking_all_the_time(server.http, HTTP_HELLO) as http,
        asking_all_the_time(server.rtmp, RTMP_HELLO) as rtmp,
    ):
        dead = server.kill(part, number)
        server.until_replaced(dead)
    after = server.ready
    assert (http, rtmp) == ([], [])
    assert [before[key] for key in ("http", "media", "rtmp")] == [after[key] for key in ("http", "media", "rtmp")]
    changed = {key for key in before["pids"] if before["pids"][key] != after["pids"][key]}
    assert changed == {"workers" if part == "worker" else part}
    assert answers(server)
    assert "SIGKILL" in server.log


def test_killed_workers_run_files_are_cleared_away(penstock_server: ServerFactory) -> None:
    server = penstock_server(workers=1)
    [before] = (server.data / "run").glob("w-*.lock")
    server.until_replaced(server.kill("worker"))
    [after] = (server.data / "run").glob("w-*.lock")
    assert before != after
    assert sorted(path.suffix for path in (server.data / "run").iterdir()) == [".lock", ".lock", ".sock", ".sock"]


@pytest.mark.parametrize("part", ["api", "hub", "worker"])
def test_part_that_is_wedged_is_found_and_replaced(penstock_server: ServerFactory, part: str) -> None:
    server = penstock_server(workers=1, env={"PENSTOCK_SERVER_WATCHDOG": "2"})
    wedged = server.pid_of(part)
    os.kill(wedged, signal.SIGSTOP)
    server.until_replaced(wedged)
    assert not is_running(wedged)
    assert answers(server)


def test_parent_that_was_stopped_itself_kills_nobody(penstock_server: ServerFactory) -> None:
    server = penstock_server(workers=1, env={"PENSTOCK_SERVER_WATCHDOG": "3"})
    before = server.pids
    server.process.send_signal(signal.SIGSTOP)
    time.sleep(5)  # longer than its children may be silent
    server.process.send_signal(signal.SIGCONT)
    time.sleep(1.2)  # long enough to judge them
    assert server.pids == before
    assert all(map(is_running, server.all_pids))


@pytest.mark.parametrize("stopped", [None, "api", "worker"])
def test_no_child_outlives_its_parent(penstock_server: ServerFactory, stopped: str | None) -> None:
    server = penstock_server()
    pids = server.all_pids
    assert len(pids) == 5
    if stopped:
        os.kill(server.pid_of(stopped), signal.SIGSTOP)
    server.process.kill()
    server.process.wait()
    until_gone(pids)


def test_killed_server_starts_again_on_the_same_ports(penstock_server: ServerFactory) -> None:
    server = penstock_server(workers=1)
    before = server.ready
    server.process.kill()
    server.process.wait()
    server.start()
    after = server.ready
    assert [before[key] for key in ("http", "media", "rtmp")] == [after[key] for key in ("http", "media", "rtmp")]
    assert before["pids"] != after["pids"]
    assert answers(server)


def test_second_server_is_refused_with_the_pid_of_the_first(penstock_server: ServerFactory) -> None:
    server = penstock_server(workers=1)
    listeners = ["--http", "127.0.0.1:0", "--media", "127.0.0.1:0", "--rtmp", "127.0.0.1:0"]
    second = penstock("serve", "--data", server.data, *listeners, check=False)
    assert second.returncode == 1
    assert second.stderr == f"penstock: a server with pid {server.process.pid} already runs on {server.data}\n"
    assert answers(server)


def test_port_that_is_taken_is_named(penstock_server: ServerFactory, tmp_path: Path) -> None:
    server = penstock_server(workers=1)
    taken = server.http.removeprefix("http://")
    second = penstock("serve", "--data", tmp_path / "other", "--http", taken, check=False)
    assert second.returncode == 1
    assert second.stderr == f"penstock: server.http: cannot listen on {taken}: Address already in use\n"


def test_sighup_replaces_the_api_alone(penstock_server: ServerFactory) -> None:
    server = penstock_server(workers=1)
    before = server.pids
    with asking_all_the_time(server.http, HTTP_HELLO) as failures:
        server.process.send_signal(signal.SIGHUP)
        server.until_replaced(before["api"])
    assert failures == []
    assert server.pids == {**before, "api": server.pids["api"]}
    assert "SIGKILL" not in server.log
    assert answers(server)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_server_that_is_asked_to_end_ends_in_order(penstock_server: ServerFactory, number: signal.Signals) -> None:
    server = penstock_server()
    pids = server.all_pids
    server.process.send_signal(number)
    assert server.ended() == 0
    assert not server.ready_file.exists()
    assert not any(map(is_running, pids))
    assert list((server.data / "run").iterdir()) == []
    assert "Traceback" not in server.log


def test_interrupt_at_the_terminal_is_an_orderly_end(penstock_server: ServerFactory) -> None:
    """Ctrl-C goes to the whole group; the children leave the decision to the parent."""
    server = penstock_server(workers=1)
    os.killpg(server.process.pid, signal.SIGINT)
    assert server.ended() == 0
    assert "has died" not in server.log


def moment(server: PenstockServer, event: str) -> datetime:
    """When this was logged."""
    [line] = [line for line in server.log.splitlines() if f" event={event}" in line]
    return datetime.fromisoformat(line.split(" ")[0].removeprefix("timestamp="))


def test_child_that_does_not_end_is_killed(penstock_server: ServerFactory) -> None:
    server = penstock_server(workers=1)
    os.kill(server.pid_of("api"), signal.SIGSTOP)
    assert server.stop() == 0
    asked, killed = (moment(server, event) for event in ("stopping", '"a process does not end and is killed"'))
    assert killed - asked < timedelta(seconds=11)


def test_asked_twice_the_server_ends_at_once(penstock_server: ServerFactory) -> None:
    server = penstock_server(workers=1)
    os.kill(server.pid_of("worker"), signal.SIGSTOP)
    server.process.send_signal(signal.SIGTERM)
    until(lambda: "stopping" in server.log)
    server.process.send_signal(signal.SIGTERM)
    assert server.process.wait(8) == 0  # sooner than what stands still is killed


def test_server_that_is_asked_to_end_while_it_starts_ends(penstock_server: ServerFactory) -> None:
    server = penstock_server(workers=1, start=False)
    server.launch()
    until(lambda: len(server.all_pids) == 4, what="the children have been started")
    assert server.stop() == 0
    assert not server.ready_file.exists()


def test_unknown_variable_is_doubted_and_the_server_runs(penstock_server: ServerFactory) -> None:
    server = penstock_server(workers=1, env={"PENSTOCK_FOO": "1"})
    assert answers(server)
    assert server.log.count("unknown variable PENSTOCK_FOO") == 1


def test_setting_that_cannot_be_used_is_refused_in_one_line(tmp_path: Path) -> None:
    done = penstock("serve", "--data", tmp_path / "data", check=False, PENSTOCK_SINK_HOLD="long")
    assert (done.returncode, done.stderr) == (
        2,
        "penstock: sink.hold (from PENSTOCK_SINK_HOLD): 'long' is not a number of seconds\n",
    )


def test_srt_is_accepted_already(penstock_server: ServerFactory) -> None:
    server = penstock_server(workers=1, arguments=["--srt", "127.0.0.1:0"])
    assert server.ready["srt"] is None
    assert "nothing in this version follows server.srt yet" in server.log


def test_every_process_may_open_as_many_files_as_the_machine_allows(penstock_server: ServerFactory) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, 256), hard))  # what a server that is started now inherits
    try:
        server = penstock_server(workers=1)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    limits = {resource.prlimit(pid, resource.RLIMIT_NOFILE) for pid in server.all_pids}
    assert limits == {(hard, hard)}


def test_fresh_data_is_made_by_the_server(tmp_path: Path) -> None:
    data, ready = tmp_path / "deep" / "data", tmp_path / "ready.json"
    listeners = ["--http", "127.0.0.1:0", "--media", "127.0.0.1:0", "--rtmp", "127.0.0.1:0", "--workers", "1"]
    process = subprocess.Popen(
        [PENSTOCK, "serve", "--data", data, *listeners, "--ready-file", ready], env=environment()
    )
    try:
        until(ready.exists)
        created = penstock("account", "create", "first", "--data", data, "--json")
        assert json.loads(created.stdout)["name"] == "first"
        assert data.stat().st_mode & 0o777 == 0o700
    finally:
        process.terminate()
        assert process.wait(PATIENCE) == 0


def test_missing_key_of_an_old_database_ends_the_start(penstock_server: ServerFactory) -> None:
    server = penstock_server(workers=1, start=False)
    (server.data / "secret.key").unlink()
    server.launch()
    assert server.ended() == 1
    assert "secret.key" in server.log
    assert "Traceback" not in server.log
    assert not (server.data / "secret.key").exists()
