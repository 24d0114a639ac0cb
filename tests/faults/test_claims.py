"""Workers that are killed at random moments: nobody runs what another runs, as the destination sees it."""

import os
import random
import re
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest

from tests.e2e.cloud import Cloud
from tests.e2e.conftest import PenstockServer, ServerFactory, until
from tests.e2e.postgres import serve_on
from tests.e2e.running import kill
from tests.media import clip
from tests.postgresql import PostgresServer
from tests.rtmp_peer import Connection, OriginThread, PeerThread, Sink
from tests.rtmp_wire import AUDIO, VIDEO, Message

TASKS, WORKERS = 6, 3
#: Seconds between two kills, at most: less than a worker needs to start.
PAUSE = 1.5


class Witness(Sink):
    """Takes publishes, keeps none of the media, and sees when two publish one stream."""

    def __init__(self) -> None:
        super().__init__()
        #: The newest publisher of each stream.
        self.newest: dict[str, Connection] = {}
        self.publishers: dict[str, int] = {}
        #: When media of each stream came last; the loop's time.
        self.seen: dict[str, float] = {}
        #: Streams of which an older publisher went on beside a newer one.
        self.doubles: list[str] = []

    def _granted(self, connection: Connection) -> None:
        super()._granted(connection)
        self.newest[connection.name] = connection
        self.publishers[connection.name] = self.publishers.get(connection.name, 0) + 1

    def _message(self, connection: Connection, message: Message) -> None:
        if message.type not in (VIDEO, AUDIO):
            super()._message(connection, message)
            return
        self.seen[connection.name] = time.monotonic()
        if self.newest[connection.name] is not connection:
            self.doubles.append(connection.name)

    def all_flow(self, names: list[str], since: float) -> bool:
        """Whether media of all these came after `since`, from their newest publishers."""
        return all(self.seen.get(name, 0.0) > since and not self.newest[name].closed for name in names)


@pytest.fixture(params=["sqlite", "postgresql"])
def server(request: pytest.FixtureRequest, penstock_server: ServerFactory) -> Iterator[PenstockServer]:
    if request.param == "sqlite":
        yield penstock_server(workers=WORKERS)
        return
    postgres: PostgresServer = request.getfixturevalue("postgres_server")
    with postgres.database() as name:
        yield serve_on(penstock_server, postgres, name, workers=WORKERS)


@pytest.mark.parametrize("kills", [8, pytest.param(50, marks=[pytest.mark.soak, pytest.mark.timeout(400)])])
def test_killed_workers_tasks_never_run_twice(
    server: PenstockServer, kills: int, request: pytest.FixtureRequest
) -> None:
    seed = request.config.getoption("seed") or random.randrange(10**6)
    print(f"the moments of this run: --seed {seed}")
    rng = random.Random(seed)
    keys = server.account("first")
    cloud = Cloud(server.http, keys["secret_id"], keys["secret_key"])
    with OriginThread(clip("av")) as origin, PeerThread(Witness) as sink:
        names = [f"stream-{number}" for number in range(TASKS)]
        where = sink.url.rpartition("/")[0]
        tasks = {name: cloud.create(origin.url, f"{where}/{name}") for name in names}
        until(lambda: sink.peer.all_flow(names, 0.0), what="all flow")
        for _ in range(kills):
            time.sleep(rng.uniform(0, PAUSE))
            workers = until(lambda: server.pids["workers"], what="a worker serves")
            with suppress(ProcessLookupError):
                kill(rng.choice(workers))
        after = time.monotonic()
        until(lambda: sink.peer.all_flow(names, after), what="all flow again")
        publishers = dict(sink.peer.publishers)
        assert sink.peer.doubles == []
    for name, task_id in tasks.items():
        assert publishers[name] <= judge(server.task(task_id, "first"))
    assert sum(publishers.values()) > TASKS  # the kills did hit


def judge(task: dict[str, Any]) -> int:
    """See by its history that no task was given to anybody while another had it; returns its epoch."""
    held = 0
    for event in task["events"]:
        if event["name"] == "task.claimed":
            assert re.fullmatch(rf"taken by w-\w+, epoch {held + 1}", event["text"]), task["events"]
            held += 1
    moves = [event["name"] for event in task["events"] if event["name"] in ("task.claimed", "task.released")]
    assert moves == ["task.claimed", "task.released"] * (held - 1) + ["task.claimed"], task["events"]
    assert held == task["epoch"]
    return held


def test_task_that_nobody_can_take_says_why(penstock_server: ServerFactory) -> None:
    """By the API and by the command line; and it runs as soon as there is a worker again."""
    server = penstock_server(workers=1)
    keys = server.account()
    cloud = Cloud(server.http, keys["secret_id"], keys["secret_key"])
    with OriginThread(clip("av")) as origin, PeerThread(Witness) as sink:
        server.process.send_signal(signal.SIGSTOP)  # a parent that stands still replaces nobody
        os.kill(server.pid_of("worker"), signal.SIGKILL)
        task_id = cloud.create(origin.url, sink.url)
        until(lambda: cloud.describe(task_id).ErrorInfo.endswith(" task: no worker"), what="the API says why")
        assert server.task(task_id)["error"].endswith(" task: no worker")
        server.process.send_signal(signal.SIGCONT)
        until(lambda: sink.peer.all_flow(["test"], 0.0), what="it runs")
        until(lambda: not cloud.describe(task_id).ErrorInfo, what="the API says that it runs")
