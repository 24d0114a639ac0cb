"""Run sockets and lives: what the processes of one machine know of each other, over real sockets."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from penstock.bus import life, local
from penstock.bus.life import Incarnation
from penstock.bus.load import together
from penstock.bus.local import RunSocket, RunSockets, hint_all
from penstock.tasks.model import HubStatus, Load, Observed, SinkLoad, State
from tests.patience import PATIENCE
from tests.unit.making import observe

Statuses = dict[int, Observed]


@pytest.fixture(name="run")
def run_(tmp_path: Path) -> Path:
    """DATA/run, at a path that no socket address could hold."""
    run = tmp_path / ("a-long-way-down-" * 7) / "run"
    run.mkdir(parents=True)
    assert len(str(run)) > 108
    return run


@pytest.fixture(autouse=True)
def _hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """A second is 20 ms."""
    monkeypatch.setattr(local, "UPDATE_EVERY", 0.02)
    monkeypatch.setattr(local, "SCAN_EVERY", 0.01)


async def until(condition: Callable[[], object]) -> None:
    """Wait for a condition."""
    async with asyncio.timeout(PATIENCE):
        while not condition():
            await asyncio.sleep(0.005)


class Worker:
    """A process that listens, played by this one."""

    def __init__(self, run: Path) -> None:
        self.life = Incarnation(run, "w")
        self.statuses: Statuses = {}
        self.hints = 0
        self._socket = RunSocket(
            run,
            kind="worker",
            id=self.life.id,
            snapshot=lambda: list(self.statuses.values()),
            hinted=self._hinted,
            capacity=2,
            used=lambda: len(self.statuses),
        )
        self._listening = asyncio.Event()
        self._serving = asyncio.create_task(self._socket.serve(self._listening.set))

    def _hinted(self) -> None:
        self.hints += 1

    async def start(self) -> "Worker":
        await self._listening.wait()
        return self

    def show(self, *statuses: Observed) -> None:
        self.statuses = {status.key: status for status in statuses}

    async def stop(self) -> None:
        self._serving.cancel()
        await asyncio.wait([self._serving])


@asynccontextmanager
async def watching(run: Path) -> AsyncIterator[RunSockets]:
    sockets = RunSockets(run)
    task = asyncio.create_task(sockets.watch())
    try:
        await sockets.synced.wait()
        yield sockets
    finally:
        task.cancel()
        await asyncio.wait([task])


async def test_reader_knows_all_after_one_snapshot(run: Path) -> None:
    first, second = await Worker(run).start(), await Worker(run).start()
    first.show(observe(1, 1), observe(2, 1))
    second.show(observe(3, 1))
    async with watching(run) as sockets:
        assert [observe(1, 1), observe(2, 1), observe(3, 1), None] == [sockets.observed(key) for key in (1, 2, 3, 4)]
        assert {(hello.id, hello.pid, hello.capacity) for hello in sockets.hellos} == {
            (first.life.id, os.getpid(), 2),
            (second.life.id, os.getpid(), 2),
        }


async def test_reader_of_an_empty_machine_is_ready_at_once(run: Path) -> None:
    async with watching(run) as sockets:
        assert (sockets.observed(1), sockets.hellos) == (None, [])


async def test_changes_and_ends_arrive(run: Path) -> None:
    worker = await Worker(run).start()
    worker.show(observe(1, 1), observe(2, 1))
    async with watching(run) as sockets:
        worker.show(observe(1, 1, error="x"), observe(3, 1))
        await until(lambda: sockets.observed(3))
        assert [observe(1, 1, error="x"), None] == [sockets.observed(1), sockets.observed(2)]


async def test_status_that_came_and_went_between_two_updates_does_not_stay(run: Path) -> None:
    """A reader's snapshot and the updates for all start from the same statuses."""
    worker = await Worker(run).start()
    for key in range(1, 40):
        worker.show(observe(key, 1))
        async with watching(run) as sockets:
            worker.show()
            await until(lambda sockets=sockets, key=key: sockets.observed(key) is None)  # type: ignore[misc]


async def test_new_worker_is_found(run: Path) -> None:
    async with watching(run) as sockets:
        worker = await Worker(run).start()
        worker.show(observe(1, 1))
        await until(lambda: sockets.observed(1))


async def test_statuses_of_a_worker_go_with_it(run: Path) -> None:
    worker = await Worker(run).start()
    worker.show(observe(1, 1))
    async with watching(run) as sockets:
        await worker.stop()
        await until(lambda: sockets.observed(1) is None)


async def test_higher_epoch_is_believed(run: Path) -> None:
    old, new = await Worker(run).start(), await Worker(run).start()
    old.show(observe(1, 4, at=9_999_999_999_999))
    new.show(observe(1, 5))
    async with watching(run) as sockets:
        assert sockets.observed(1) == observe(1, 5)


async def test_hint_reaches_every_process(run: Path) -> None:
    first, second = await Worker(run).start(), await Worker(run).start()
    async with watching(run) as sockets:
        sockets.tasks_changed()
        await until(lambda: (first.hints, second.hints) == (1, 1))


async def test_hint_needs_no_lasting_connection(run: Path) -> None:
    workers = [await Worker(run).start() for _ in range(3)]
    workers[0].show(*(observe(key, 1) for key in range(2000)))
    (run / "w-dead.sock").touch()
    for number in range(1, 20):
        await hint_all(run)
        await until(lambda number=number: [worker.hints for worker in workers] == [number] * 3)  # type: ignore[misc]


async def test_reader_that_does_not_read_is_dropped_and_holds_nobody_up(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local, "UNREAD_LIMIT", 100_000)
    worker = await Worker(run).start()
    worker.show(*(observe(key, 1, at=0) for key in range(500)))
    lazy = local._connect(run / f"{worker.life.id}.sock")
    async with watching(run) as sockets:
        for at in range(1, 20):
            worker.show(*(observe(key, 1, at=at) for key in range(500)))
            await until(lambda at=at: (found := sockets.observed(499)) and found.at == at)  # type: ignore[misc]
    lazy.setblocking(True)
    lazy.settimeout(PATIENCE)
    with lazy, suppress(ConnectionResetError):
        while lazy.recv(1 << 20):
            pass


@pytest.mark.parametrize("words", [b"{}\n", b"\xff\n", b'{"hint": "nothing"}\n', b"x" * 100_000])
async def test_nonsense_ends_that_connection_alone(run: Path, words: bytes) -> None:
    worker = await Worker(run).start()
    loop = asyncio.get_running_loop()
    async with watching(run) as sockets:
        with local._connect(run / f"{worker.life.id}.sock") as rude:
            await loop.sock_sendall(rude, words)
            async with asyncio.timeout(PATIENCE):
                with suppress(ConnectionResetError):
                    while await loop.sock_recv(rude, 4096):
                        pass
        sockets.tasks_changed()
        await until(lambda: worker.hints == 1)


async def test_sync_waits_a_second_at_most_for_a_process_that_is_stopped(run: Path) -> None:
    worker = await Worker(run).start()
    mute = Incarnation(run, "w")
    with socket.socket(socket.AF_UNIX) as listener:
        with local._short(run / f"{mute.id}.sock") as address:
            listener.bind(address)
        listener.listen()
        worker.show(observe(1, 1))
        async with asyncio.timeout(3), watching(run) as sockets:
            assert sockets.observed(1) == observe(1, 1)


async def test_socket_of_a_dead_process_is_cleared_away(run: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener, local._short(run / "w-dead.sock") as address:
        listener.bind(address)
    (run / "w-dead.lock").touch()
    async with watching(run):
        assert list(run.iterdir()) == []


async def test_waiting_task_is_told_why_and_what_all_carry(run: Path) -> None:
    async with watching(run) as sockets:
        assert sockets.waiting() == "no worker"
        assert sockets.load() == Load(workers=0, used=0, capacity=0, states={})
        worker = await Worker(run).start()
        await until(lambda: sockets.waiting() == "")
        assert sockets.waiting(25) == ""  # it has all of the worker to itself
        worker.show(observe(1, 1), observe(2, 1))
        await until(lambda: sockets.waiting() == "no capacity (2/2)")
        assert sockets.waiting(25) == "no capacity (2/2, 25 needed of one worker)"
        sinks = {"sink": SinkLoad(states={"flowing": 2}, bitrate=0)}
        assert sockets.load() == Load(
            workers=1, used=2, capacity=2, states={State.ACTIVE: 2}, on_air={"source": 2}, sinks=sinks
        )


def test_sources_on_air_and_switches_are_added_up() -> None:
    seen = [observe(1, 1, on_air="backup", switches={"closed": 2, "returned": 1})]
    seen += [observe(2, 1, switches={"closed": 1}), observe(3, 1, on_air="")]
    load = together([(3, 200)], seen)
    assert load.on_air == {"backup": 1, "source": 1}
    assert load.switches == {"closed": 3, "returned": 1}


async def test_what_the_hub_measures_arrives_and_goes_with_it(run: Path) -> None:
    """At once for who comes later, then with each change."""
    measured = [HubStatus(received=1)]
    me, listening = Incarnation(run, "h"), asyncio.Event()
    hub = RunSocket(run, kind="hub", id=me.id, snapshot=tuple, hub=lambda: measured[-1])
    async with watching(run) as sockets:
        await Worker(run).start()
        await until(lambda: sockets.hellos)
        assert sockets.hub() is None
        serving = asyncio.create_task(hub.serve(listening.set))
        await until(lambda: sockets.hub() == HubStatus(received=1))
        measured.append(HubStatus(received=2, sent=1))
        await until(lambda: sockets.hub() == measured[-1])
        assert sockets.load().workers == 1
        serving.cancel()
        await until(lambda: sockets.hub() is None)


def test_process_lives_until_it_ends(run: Path) -> None:
    me = Incarnation(run, "w")
    assert life.alive(run, me.id)
    assert life.bury(run) == []
    me.end()
    assert not life.alive(run, me.id)
    assert list(run.iterdir()) == []


LIVE = """
import subprocess, sys, time
from pathlib import Path
from penstock.bus.life import Incarnation

me = Incarnation(Path(sys.argv[1]), "w")
subprocess.Popen(["sleep", "60"], close_fds=False, start_new_session=True)
print(me.id, flush=True)
time.sleep(60)
"""


def test_killed_process_is_dead_at_once_though_its_child_lives(run: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", LIVE, run], stdout=subprocess.PIPE, text=True)
    assert process.stdout
    incarnation = process.stdout.readline().strip()
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    try:
        assert life.alive(run, incarnation)
        process.send_signal(signal.SIGSTOP)
        assert life.alive(run, incarnation)
        process.kill()
        process.wait()
        assert not life.alive(run, incarnation)
        assert life.bury(run) == [incarnation]
        assert list(run.iterdir()) == []
    finally:
        for pid in (process.pid, *map(int, children)):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.communicate()


def test_what_cannot_be_found_out_counts_as_alive(run: Path) -> None:
    (run / "w-1.lock").symlink_to("w-1.lock")
    assert life.alive(run, "w-1")
