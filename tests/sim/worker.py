"""A worker process of a simulated installation."""

import asyncio
import random
from collections.abc import Callable, Coroutine
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from penstock.app import viewers
from penstock.media.pump import Pump
from penstock.media.still import Stills
from penstock.net import Policy
from penstock.tasks.families import pull
from penstock.tasks.model import Observed
from penstock.worker.agent import Agent
from penstock.worker.engine import Engine, EngineConfig
from penstock.worker.history import History
from tests.sim.network import Poller
from tests.sim.store import FrailStore

if TYPE_CHECKING:
    from tests.sim.world import World

T = TypeVar("T")

#: `sink.hold` in seconds.
_HOLD, _RETURN_AFTER = 30.0, 1.0


class WatchedEngine(Engine):
    """The engine, under the eyes of the world when it begins a run."""

    on_run: Callable[[int, int], None]

    def run(self, key: int, epoch: int, plan: Any, playback: Any = None) -> None:
        self.on_run(key, epoch)
        super().run(key, epoch, plan, playback)


class Worker:
    """One worker process, composed as in `penstock.app`."""

    def __init__(self, world: "World", name: str) -> None:
        self.name = name
        self._world = world
        self.loop = world.clockwork.process()
        rng = random.Random(f"{world.seed} {name}")
        self.store = FrailStore(world.store, rng, world.slowness)
        self.history = History(world.wall)
        self._rng = rng
        self.running = self._start(self._live())
        #: What its run socket said last.
        self.snapshot: dict[int, Observed] = {}
        self.agent: Agent | None = None
        self.engine: WatchedEngine | None = None
        self.leaving = False

    def _start(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        return self.loop.create_task(work)

    async def _live(self) -> None:
        world = self._world
        pump = Pump(tick=world.tick, poller=Poller(world.network))
        policy = Policy(dial=world.network.dialler(self.loop))
        self.engine = WatchedEngine(
            EngineConfig(sink_hold=_HOLD, source_return_after=_RETURN_AFTER, slate=world.slate),
            pump,
            world.transports(policy, pump),
            viewers(policy, rng=self._rng),
            stills=Stills("ffmpeg", world.studio(self.name)),
            clock=world.wall,
            rng=self._rng,
            on_event=self.history.add,
        )
        self.engine.on_run = partial(world.runs, self)
        await self.engine.start()
        if world.has_agents:
            await self._serve(self.engine)

    async def _serve(self, engine: Engine) -> None:
        """Run what the store says, until cancelled."""
        world = self._world
        self.agent = Agent(
            id=self.name,
            store=self.store,
            engine=engine,
            plan=pull.plan,
            alive=world.alive,
            clock=world.wall,
            rng=self._rng,
            history=self.history,
            capacity=world.capacity,
        )
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._report(engine))
                await self.agent.run()
        finally:
            await self.agent.drain()
            await engine.close()
            world.left(self)

    async def _report(self, engine: Engine) -> None:
        """The run socket: what is measured, each second."""
        while True:
            self.snapshot = {one.key: one for one in engine.snapshot()}
            await asyncio.sleep(1)

    def hint(self) -> None:
        """A line on the run socket; a process that is frozen finds it when it wakes."""
        if self.agent is not None and self._world.workers.get(self.name) is self:
            self.loop.call_soon(self.agent.hint)
