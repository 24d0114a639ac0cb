"""Workers that may be killed, on one real store, with engines that only remember: for the tests of the agent."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import pytest
from msgspec.structs import replace

from penstock.errors import StoreError, Unsupported
from penstock.media.plan import Plan
from penstock.store.sql import SqlStore
from penstock.tasks.families import preload, pull
from penstock.tasks.families.preload import PreloadSpec
from penstock.tasks.model import Area, Desired, Edge, Observed, Playback, State, Task
from penstock.tasks.ports import Tx
from penstock.worker.agent import Agent
from penstock.worker.history import History
from tests.unit.making import DAY, NOW, add_account, observe, open_new

T = TypeVar("T")

HOUR = DAY // 24


def clock() -> int:
    """Virtual Unix milliseconds: the loop began at NOW."""
    return NOW + int(asyncio.get_running_loop().time() * 1000)


class MemoryEngine:
    """Remembers what it was told to run; a stop takes a tenth of a second."""

    def __init__(self) -> None:
        self.runs: dict[int, int] = {}
        self.plans: dict[int, list[Plan]] = {}
        self.state_of: dict[int, State] = {}
        self.stopped: list[int] = []
        #: Those that a test lets come to their end.
        self.over: set[int] = set()

    def run(self, key: int, epoch: int, plan: Plan, playback: Playback | None = None) -> None:
        self.runs[key] = epoch
        self.plans.setdefault(key, []).append(plan)
        self.state_of.setdefault(key, State.STARTING)

    async def stop(self, key: int) -> None:
        if self.runs.pop(key, None) is not None:
            self.stopped.append(key)
            self.state_of.pop(key)
            self.over.discard(key)
            await asyncio.sleep(0.1)

    def running(self) -> Mapping[int, int]:
        return dict(self.runs)

    def states(self) -> Mapping[int, tuple[int, State]]:
        return {key: (epoch, self.state_of[key]) for key, epoch in self.runs.items()}

    def finished(self) -> set[int]:
        return self.over & self.runs.keys()

    def observed(self, key: int) -> Observed | None:
        return next((observed for observed in self.snapshot() if observed.key == key), None)

    def snapshot(self) -> Sequence[Observed]:
        return [
            observe(key, epoch, state=self.state_of[key], at=clock(), since=clock(), finished=key in self.finished())
            for key, epoch in self.runs.items()
        ]


class FrailStore:
    """A store that cannot answer while it is `down`."""

    def __init__(self, store: SqlStore) -> None:
        self._store = store
        self.down = False

    async def read(self, work: Callable[[Tx], T]) -> T:
        return await self._answer(self._store.read, work)

    async def write(self, work: Callable[[Tx], T]) -> T:
        return await self._answer(self._store.write, work)

    async def _answer(self, call: Callable[[Any], Any], work: Callable[[Tx], T]) -> T:
        if self.down:
            raise StoreError("The disk is full.")
        answer: T = await call(work)
        return answer

    async def probe(self) -> None:
        await self._store.probe()

    def close(self) -> None:
        self._store.close()


class World:
    """One store, and workers on it that may be killed."""

    def __init__(self, store: SqlStore) -> None:
        self.store = store
        self.account = add_account(store)
        self.workers: dict[str, Worker] = {}
        #: By how much (ms) the wall clock was set forward, or back.
        self.stepped = 0

    def clock(self) -> int:
        return clock() + self.stepped

    def alive(self, incarnation: str) -> bool:
        return incarnation in self.workers

    def start(self, name: str, *, capacity: int = 200) -> "Worker":
        self.workers[name] = worker = Worker(self, name, capacity)
        return worker

    def change(self, task: Task, **fields: Any) -> Task:
        """What the API does."""
        return self.store.write_now(lambda tx: tx.change_task(task.key, at=clock(), by="operator", **fields))

    def pause(self, task: Task) -> Task:
        return self.change(task, desired=Desired.PAUSE, state=State.PAUSED)


class Worker:
    """One agent with its engine."""

    def __init__(self, world: World, name: str, capacity: int) -> None:
        self.engine = MemoryEngine()
        self.history = History(world.clock)
        self.store = FrailStore(world.store)
        self._world, self._name = world, name
        self.agent = Agent(
            id=name,
            store=self.store,
            engine=self.engine,
            plan=make_plan,
            alive=world.alive,
            clock=world.clock,
            rng=random.Random(name),
            history=self.history,
            capacity=capacity,
        )
        self._living = asyncio.create_task(self.agent.run())

    async def kill(self) -> None:
        """Dead without a word."""
        del self._world.workers[self._name]
        self._living.cancel()
        await asyncio.wait([self._living])
        for stopping in self.agent._stopping.values():
            stopping.cancel()

    async def leave(self) -> None:
        """Dead in order."""
        self._living.cancel()
        await asyncio.wait([self._living])
        await self.agent.drain()
        del self._world.workers[self._name]


def make_plan(task: Task) -> Plan:
    if task.id == "odd":
        raise Unsupported("this task is odd")
    if task.id.startswith("cost-"):
        edges = [Edge(name=str(number), area=Area.GLOBAL, rtmp="h") for number in range(40 * int(task.id[5:]))]
        spec = PreloadSpec(play_url="rtmp://play.example/live/a", area=Area.GLOBAL)
        return preload.plan(replace(task, spec=preload.encode(spec)), edges)
    return pull.plan(task)


@pytest.fixture(name="store")
def store_(tmp_path: Path) -> Iterator[SqlStore]:
    store = open_new(tmp_path)
    yield store
    store.close()


@pytest.fixture(name="world")
async def world_(store: SqlStore) -> AsyncIterator[World]:
    world = World(store)
    yield world
    for worker in list(world.workers.values()):
        await worker.kill()
