"""`penstock task logs`: a task's history with its reasons, as it happens."""

import json
import os
import re
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from tests.e2e.cloud import Cloud
from tests.e2e.conftest import PenstockServer, ServerFactory, until
from tests.e2e.running import PENSTOCK, environment
from tests.patience import PATIENCE
from tests.rtmp_peer import OriginThread, SinkThread

LINE = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z)  (\S+) +(\S.*)  \[(\S+)\]")


class Follower:
    """`penstock task logs --follow` at somebody's terminal."""

    def __init__(self, server: PenstockServer, task_id: str) -> None:
        self.process = subprocess.Popen(
            [PENSTOCK, "task", "logs", task_id, "--follow", "--data", server.data],
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        #: Name, text and author of each line.
        self.events: list[tuple[str, str, str]] = []
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def _read(self) -> None:
        assert self.process.stdout
        for line in self.process.stdout:
            found = LINE.fullmatch(line.rstrip("\n"))
            assert found, line
            self.events.append((found[2], found[3], found[4]))

    def until(self, name: str, text: str = "", *, after: int = 0) -> int:
        """Wait for an event whose text matches; returns how many there are up to it."""

        def found() -> int:
            events = list(enumerate(self.events[after:], after + 1))
            return next((number for number, event in events if event[0] == name and re.search(text, event[1])), 0)

        return until(found, what=f"{name} ({text}) in {self.events[after:]}")

    def end(self) -> tuple[int, str]:
        """Exit code and standard error, when it has ended."""
        code = self.process.wait(PATIENCE)
        self._thread.join()
        assert self.process.stdout
        assert self.process.stderr
        words = self.process.stderr.read()
        self.process.stdout.close()
        self.process.stderr.close()
        return code, words


@contextmanager
def following(server: PenstockServer, task_id: str) -> Iterator[Follower]:
    follower = Follower(server, task_id)
    try:
        yield follower
    finally:
        follower.process.kill()


def test_life_of_a_task_is_told_as_it_happens_with_its_reasons(
    penstock_server: ServerFactory, origin: OriginThread, sink: SinkThread
) -> None:
    server = penstock_server(workers=1)
    cloud = Cloud(server.http, server.account()["secret_id"], server.account()["secret_key"])
    task_id = cloud.create(origin.url, f"{sink.url}?key=hush")
    with following(server, task_id) as follower:
        assert follower.until("task.created", "created, to run from") == 1
        count = follower.until("task.claimed", r"taken by w-\w+, epoch 1")
        owner = follower.events[count - 1][2]
        follower.until("source.flowing", "media flows on connection 1")
        follower.until("sink.flowing", "media flows on connection 1")
        count = follower.until("task.active", "media reaches the destination")

        origin.call(origin.peer.end)
        count = follower.until(
            "source.lost", r"the publisher has left, after \d+\.\d s of media; retry 1 in", after=count
        )
        assert follower.events[count - 1][2] == owner
        origin.call(origin.peer.resume)
        count = follower.until("source.flowing", after=count)

        server.kill("worker")
        count = follower.until("task.released", f"its worker {owner} has died", after=count)
        count = follower.until("task.claimed", "epoch 2", after=count)
        count = follower.until("sink.flowing", after=count)

        cloud.modify(task_id, Status="pause")
        count = follower.until("task.paused", after=count)
        assert follower.events[count - 1][2] == "test"
        count = follower.until("task.released", "given up by w-", after=count)
        follower.process.send_signal(signal.SIGINT)
        assert follower.end() == (0, "")

    assert not any("hush" in text for _, text, _ in follower.events)
    printed = server.command("task", "logs", task_id, "--json").stdout.splitlines()
    objects = [json.loads(line) for line in printed]
    assert [(one["name"], one["text"], one["by"]) for one in objects] == follower.events
    moment = objects[2]["at"]
    since = server.command("task", "logs", task_id, "--since", moment, "--json").stdout.splitlines()
    assert [json.loads(line)["at"] for line in since] == [one["at"] for one in objects if one["at"] >= moment]
    assert len(server.command("task", "logs", task_id, "--since", "1h").stdout.splitlines()) == len(objects)
    bad = server.command("task", "logs", task_id, "--since", "yesterday", check=False)
    assert (bad.returncode, "--since" in bad.stderr) == (2, True)


def test_following_ends_with_the_task(penstock_server: ServerFactory) -> None:
    server = penstock_server(workers=1)
    cloud = Cloud(server.http, server.account()["secret_id"], server.account()["secret_key"])
    task_id = cloud.create("rtmp://127.0.0.1:9/live/a", "rtmp://127.0.0.1:9/live/b")
    with following(server, task_id) as follower:
        follower.until("source.failed", "connection refused; retry 1 in")
        cloud.delete(task_id)
        assert follower.end() == (0, "")
    gone = server.command("task", "logs", task_id, check=False)
    assert (gone.returncode, gone.stderr) == (1, "penstock: The task does not exist.\n")


def test_reader_that_leaves_is_no_failure_of_ours(penstock_server: ServerFactory) -> None:
    """As `penstock task logs … | head -1`."""
    server = penstock_server(workers=1)
    cloud = Cloud(server.http, server.account()["secret_id"], server.account()["secret_key"])
    task_id = cloud.create("rtmp://127.0.0.1:9/live/a", "rtmp://127.0.0.1:9/live/b")
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [PENSTOCK, "task", "logs", task_id, "--data", server.data],
        env=environment(),
        stdout=write,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    os.close(write)
    assert (done.returncode, done.stderr) == (1, "")
