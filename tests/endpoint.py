"""A real endpoint on a real socket: the ASGI server, the service and an SQLite store; only the worker is absent."""

import asyncio
import ipaddress
import itertools
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
import pytest

from penstock.api.aliyun.live import live as preload
from penstock.api.aliyun.nonces import Nonces
from penstock.api.aliyun.wire import Aliyun
from penstock.api.door import Door
from penstock.api.limits import Rates
from penstock.api.metrics import Metrics
from penstock.api.server import create_app, serve
from penstock.api.tencent.live import live
from penstock.api.tencent.wire import Tencent
from penstock.net import Policy
from penstock.store.sql import open_store
from penstock.tasks.accounts import NewAccount, create_account
from penstock.tasks.model import Area, Edge, Load, NodeStatus, Observed, Playback, State, Task
from penstock.tasks.preloads import PreloadTasks
from penstock.tasks.service import PullTasks


class Reports:
    """What workers report: only what a test puts here."""

    def __init__(self) -> None:
        self.by_key: dict[int, Observed] = {}

    def observed(self, key: int) -> Observed | None:
        return self.by_key.get(key)

    def waiting(self, cost: int = 1) -> str:
        return ""

    def load(self) -> Load:
        states = Counter(observed.state for observed in self.by_key.values())
        return Load(workers=1, used=len(self.by_key), capacity=200, states=states)


class Hints:
    """Counts how often workers would have been told."""

    count = 0

    def tasks_changed(self) -> None:
        self.count += 1


class Edges:
    """Edge nodes that a test has put here."""

    def __init__(self) -> None:
        self.all = [
            Edge(name="north", area=Area.DOMESTIC, rtmp="127.0.0.1", http="127.0.0.1:8080", https="127.0.0.1"),
            Edge(name="south", area=Area.OVERSEAS, rtmp="127.0.0.1:1936"),
        ]

    def of_area(self, area: Area) -> Sequence[Edge]:
        return [edge for edge in self.all if area in (Area.GLOBAL, edge.area)]


class Endpoint:
    """The server in a thread of its own, with a clock that can be set."""

    def __init__(self, data: Path, *, rate_limit: float = 0, nested: bool = True, hls: bool = True) -> None:
        """As the settings ``api.rate_limit`` (none unless a test is about it), ``api.lists`` and ``preload.hls``."""
        self.store = open_store("", data, None, migrate=True)
        self.reports = Reports()
        self.hints = Hints()
        self.ahead_ms = 0
        self.ready = True
        self._names = itertools.count()
        self._sock = socket.create_server(("127.0.0.1", 0))
        self.address: tuple[str, int] = self._sock.getsockname()
        #: As clients write it.
        self.host = "{}:{}".format(*self.address)
        policy = Policy([ipaddress.ip_network("127.0.0.0/8")])
        tasks = PullTasks(self.store, clock=self.now, hints=self.hints, live=self.reports, addresses=policy)
        self.rates = Rates(rate_limit, now=time.monotonic)
        self.door = Door(self.store, self.rates)
        self.edges = Edges()
        preloads = PreloadTasks(
            self.store, clock=self.now, hints=self.hints, live=self.reports, edges=self.edges, hls=hls
        )
        self.nonces = Nonces(data / "nonces", self.now())
        self.aliyun = Aliyun([preload(preloads)], door=self.door, clock=self.now, nonces=self.nonces, nested=nested)
        self.tencent = Tencent([live(tasks)], door=self.door, clock=self.now)
        self.app = create_app([self.aliyun, self.tencent], obstacle=self._obstacle, metrics=Metrics(self.reports.load))
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    async def _obstacle(self) -> str:
        return "" if self.ready else "a test says so"

    def now(self) -> int:
        return time.time_ns() // 1_000_000 + self.ahead_ms

    def account(self, task_limit: int = 20) -> NewAccount:
        """A new account: each test sees its own tasks alone."""
        name = f"account-{next(self._names)}"
        return asyncio.run(create_account(self.store, name, task_limit=task_limit))

    def run(
        self, task_id: str, *, error: str = "", state: State = State.ACTIVE, playback: Playback | None = None
    ) -> Task:
        """Let a worker take the task and report that it delivered 95.9 s of media, of files up to `playback`."""
        task = next(task for task in self.claimed() if task.id == task_id)
        source, sink = (
            NodeStatus(id=name, url="rtmp://***", state="flowing", since=self.now(), media_ms=95_900)
            for name in ("source", "sink")
        )
        self.reports.by_key[task.key] = Observed(
            key=task.key,
            epoch=task.epoch,
            state=state,
            at=self.now(),
            started_at=self.now(),
            since=self.now(),
            sources=(source,),
            sinks=(sink,),
            on_air="source" if state is State.ACTIVE else "",
            playback=playback,
            error=error,
        )
        return task

    def keep_fresh(self, task: Task) -> None:
        """Let the report of this task count as new, however long a client takes to ask for it."""
        report = self.reports.by_key[task.key]
        self.reports.by_key[task.key] = msgspec.structs.replace(report, at=report.at + 600_000)

    def claimed(self) -> list[Task]:
        asyncio.run(self.store.write(lambda tx: tx.claim("w-1", dead=(), now=self.now(), limit=1000)))
        return list(asyncio.run(self.store.read(lambda tx: tx.owned("w-1"))))

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._serving.cancel)
        self._thread.join()
        self.store.close()
        self.nonces.close()

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            self._serving = self._loop.create_task(serve(self.app, self._sock))
            with pytest.raises(asyncio.CancelledError):
                runner.run(self._wait())

    async def _wait(self) -> None:
        await self._serving


# What the tests of each vendor's API share: one endpoint for a module, an account of its own for each test.


@pytest.fixture(autouse=True)
def seen(proving: None) -> None:
    """A test that docs/coverage.md names has to show what it is named for."""


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endpoint]:
    endpoint = Endpoint(tmp_path_factory.mktemp("data"))
    yield endpoint
    endpoint.close()


@pytest.fixture
def account(endpoint: Endpoint) -> NewAccount:
    return endpoint.account()
