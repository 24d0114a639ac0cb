"""Scenarios: what happens in one world under one seed, and what must be true in it at every moment."""

import asyncio
import gc
import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from penstock.errors import TaskNotFound
from penstock.media.plan import SlateMode
from penstock.media.relay import Relay
from penstock.media.slate import SLATE
from penstock.media.supervisor import NodeState
from penstock.net import Policy
from penstock.tasks.model import Observed, State
from penstock.tasks.service import PullTasks
from tests.sim.encoder import TRICKLE, any_format
from tests.sim.faults import Faults
from tests.sim.world import SECRET, EngineWorld, Wish, World

#: How long it may take until everything wanted flows when all is well again: the longest back-off, and some.
RECOVERY = 75.0
#: How long a task may have nothing to show and nothing to say, in seconds: until a worker takes it, and until what that
#: waits for is said.
QUIET = 9.0
#: How long a change may take until its worker follows it, in seconds, when it can read the store.
APPLIED = 12.0
#: How long there may be no picture where there is a slate, in seconds: a stall is found after 3 s, but whoever joins
#: may have waited for a keyframe for 4 s by then.
BLANK = 8.0
#: How long it may be on air before it is said why, in seconds: a new source may take 10 s to send its first media.
UNSAID = 11.0
#: What the engine says may be so much older than the destination's own view, in seconds: a sample, a tick.
_SAMPLED = 0.6
#: The same for what the API says: the run socket's second, and the time for which a report counts as fresh.
_REPORTED = 5.0


#: Every fourth seed is one with media, see `_KINDS`.
_SLATES: tuple[SlateMode, ...] = ("off", "picture", "last")


@dataclass
class Outcome:
    """What one scenario came to."""

    seed: int
    kind: str
    seconds: float
    messages: int
    kills: int
    #: Of everything that every destination got, and when.
    digest: int
    violations: list[str]
    history: list[str]

    def __str__(self) -> str:
        return "\n".join([f"seed {self.seed} ({self.kind}):", *self.violations, "after:", *self.history[-30:]])


class Truth:
    """Looks, each second, whether what is said is what the destinations saw."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._tasks = PullTasks(world.store, clock=world.wall, hints=world, live=world, addresses=Policy())
        #: Since when each task has had nothing to show and nothing to say, by its epoch.
        self._mute: dict[tuple[str, int], float] = {}
        #: Where each task's media goes, and since when; by its id as acknowledged, and by its key as it is run.
        self._sinks: dict[str, tuple[str, float]] = {}
        self._names: dict[int, tuple[str, float]] = {}
        #: Since when each run has had a slate that could go out, by worker and key.
        self._still_since: dict[tuple[str, int], float] = {}
        #: Since when it has been on air without a reason.
        self._unsaid_since: dict[tuple[str, int], float] = {}
        #: When a worker last could not learn of a change: frozen, or cut from the store.
        self._unaware_at = -math.inf

    async def watch(self) -> None:
        while True:
            await asyncio.sleep(1 if self._world.has_agents else 5)
            self.look()
            if self._world.has_agents:
                for wish in list(self._world.wishes.values()):
                    await self._look_at(wish)

    def look(self) -> None:
        """Compare what each engine says with what its destinations saw."""
        world, now = self._world, self._world.clock.now
        world.watch.look()
        if any(one.loop.frozen or one.store.down or one.store.forgetful for one in world.workers.values()):
            self._unaware_at = now
        for worker in world.workers.values():
            if worker.loop.frozen or worker.leaving or worker.engine is None:
                continue
            for one in worker.engine.snapshot():
                for node in (*one.sources, *one.sinks):
                    if SECRET in node.url or SECRET in node.error:
                        world.watch.fail(f"a status shows a secret: {node}")
                relay = worker.engine._runs[one.key].work
                assert isinstance(relay, Relay)
                sink = relay._plan.sinks[0].url
                name = sink.rpartition("/")[2]
                if self._names.get(one.key, ("", 0))[0] != name:
                    self._names[one.key] = name, now
                if now - self._names[one.key][1] < 4:
                    continue
                if one.state is State.ACTIVE and not world.watch.delivered_within(name, 3 + _SAMPLED):
                    world.watch.fail(f"task {one.key} is ACTIVE, but {name} got nothing for 3 s")
                self._look_at_slate(worker.name, name, relay, one)
                if one.state is State.INACTIVE and world.watch.delivered_for(name) > 1 + _SAMPLED:
                    world.watch.fail(f"task {one.key} is INACTIVE, but {name} gets media: {one.sources} {one.sinks}")

    def _look_at_slate(self, worker: str, name: str, relay: Relay, seen: Observed) -> None:
        """Where there is a slate pictures never stop, and what is said to be on air is."""
        watch, now, run = self._world.watch, self._world.clock.now, (worker, seen.key)
        if relay._slate is None or relay._slate._still is None:
            self._still_since.pop(run, None)
            return
        since = max(self._still_since.setdefault(run, now), self._unaware_at)
        on_air_for = 0.0 if seen.on_air_since is None else (self._world.wall() - seen.on_air_since) / 1000
        for output in watch.publishing_to(name):
            reads_for, blank_for = now - output.publisher.reading_since, now - output.picture_at
            if min(now - since, reads_for, blank_for) > BLANK:
                watch.fail(f"{name} gets no pictures, although there is a slate")
            elif (
                blank_for < 1
                and min(on_air_for, reads_for, now - output.at) > 4
                and output.shows_slate != (seen.on_air == SLATE)
            ):
                watch.fail(f"{seen.on_air} is said to be on air, but {name} gets something else")
        if seen.on_air != SLATE or seen.error or any(node.state is NodeState.FLOWING for node in seen.sources):
            self._unsaid_since.pop(run, None)
        elif now - self._unsaid_since.setdefault(run, now) > UNSAID:
            watch.fail(f"the slate is on air for {name}, and the error does not say why")

    async def _look_at(self, wish: Wish) -> None:
        """Compare what the API says with what the task's destination saw."""
        world, now = self._world, self._world.clock.now
        if wish.task_id not in world.wishes:
            return
        try:
            view = await self._tasks.status(world.account, wish.task_id)
        except TaskNotFound:  # it is being deleted
            return
        run = view.run
        if SECRET in run.error:
            world.watch.fail(f"ErrorInfo shows a secret: {run.error}")
        sink, since = self._sinks.get(wish.task_id, ("", 0.0))
        if sink != wish.sink:
            self._sinks[wish.task_id] = wish.sink, now
            return
        if (
            run.active
            and now - max(since, self._unaware_at) > APPLIED
            and not world.watch.delivered_within(_name(wish), 3 + _REPORTED)
        ):
            world.watch.fail(f"RunStatus of {wish.task_id} is active, but its destination got nothing")
        claim = wish.task_id, view.task.epoch
        if run.active or run.error or not wish.due(world.wall()):
            self._mute.pop(claim, None)
        elif now - self._mute.setdefault(claim, now) > QUIET:
            world.watch.fail(f"{wish.task_id} is not active, and ErrorInfo does not say why: {view}")
            del self._mute[claim]

    def settled(self) -> str:
        """What is missing until destinations get exactly what was acknowledged; empty: nothing."""
        world = self._world
        wanted = {_name(wish): wish for wish in world.wishes.values() if wish.due(world.wall())}
        published = world.watch.publishing()
        if published != wanted.keys():
            rows = world.store.read_now(lambda tx: tx.tasks(None, None))
            found = [f"{task.id} {task.state} {task.owner} {task.epoch} {task.observed}" for task in rows]
            return "\n  ".join([f"published {sorted(published)}, wanted {sorted(wanted)}", *found])
        for name, wish in wanted.items():
            if not world.watch.delivered_for(name):
                return f"{name} gets no media"
            if world.watch.source_of(name) is not world.origins[wish.source].encoder:
                return f"{name} does not come from source {wish.source}"
        engines = [worker.engine for worker in world.workers.values() if worker.engine is not None]
        for engine in engines:
            for one in engine.snapshot():
                if one.state is not State.ACTIVE or one.error:
                    return f"task {one.key} is {one.state}: {one.error} {one.sources} {one.sinks}"
        if sum(len(engine.running()) for engine in engines) != len(wanted):
            return "more runs than tasks"
        return ""

    def secrets(self) -> None:
        """No text that was kept or logged may hold a secret."""
        world = self._world
        rows = world.store.read_now(lambda tx: [tx.events(task.key, limit=10_000) for task in tx.tasks(None, None)])
        histories = [line.text for worker in world.workers.values() for line in worker.history.waiting()]
        for text in [*world.logged, *histories, *(event.text for events in rows for event in events)]:
            if SECRET in text:
                world.watch.fail(f"a text shows a secret: {text}")


def _name(wish: Wish) -> str:
    return wish.sink.rpartition("/")[2]


@dataclass(frozen=True)
class Kind:
    """A kind of scenario: how to make its world, and what befalls it."""

    name: str
    make: Callable[[int, random.Random], World]
    workers: tuple[int, int]
    tasks: tuple[int, int]
    #: Seconds under faults, and between two of them.
    seconds: tuple[float, float]
    calm: tuple[float, float]
    faults: Sequence[str]


def _with_media(seed: int, rng: random.Random) -> World:
    formats = [any_format(rng) for _ in range(rng.choice([1, 1, 2]))]
    tick, slowness, slate = rng.choice([0.04, 0.1]), rng.choice([0, 0.02, 0.3]), _SLATES[seed // 4 % 3]
    return World(seed, formats=formats, tick=tick, slowness=slowness, slate=slate)


def _without_media(seed: int, rng: random.Random) -> World:
    slowness, capacity = rng.choice([0, 0.02, 0.5]), rng.choice([200, 5])
    return World(seed, formats=[TRICKLE] * 3, tick=0.5, slowness=slowness, capacity=capacity)


def _without_store(seed: int, rng: random.Random) -> World:
    return EngineWorld(seed, formats=[TRICKLE] * rng.choice([1, 2]), tick=1.0)


#: Timelines: media at message rate through whole workers.
MEDIA = Kind(
    "media",
    _with_media,
    workers=(1, 2),
    tasks=(1, 2),
    seconds=(37, 112),
    calm=(1.5, 8),
    faults=[*["source"] * 8, *["sink"] * 4, "kill", "freeze", "leave", "store", *["api"] * 3],
)
#: Claims and lifecycle: workers that die, and callers that change their minds.
CLAIMS = Kind(
    "claims",
    _without_media,
    workers=(2, 5),
    tasks=(3, 7),
    seconds=(5, 12),
    calm=(0.1, 0.7),
    faults=[*["kill"] * 6, "freeze", "leave", "store", *["api"] * 3],
)
#: Lifecycle, with everything that delays it.
LIFE = Kind(
    "lifecycle",
    _without_media,
    workers=(1, 3),
    tasks=(1, 4),
    seconds=(40, 160),
    calm=(1, 10),
    faults=["source", "source", "sink", "sink", "kill", "freeze", "leave", "store", "store", *["api"] * 4],
)
#: Supervisors: hours of retries.
SUPERVISOR = Kind(
    "supervisor",
    _without_store,
    workers=(1, 1),
    tasks=(1, 1),
    seconds=(300, 856),
    calm=(5, 60),
    faults=[*["source"] * 4, *["sink"] * 4, "api"],
)
_KINDS = (
    *(MEDIA, SUPERVISOR, SUPERVISOR, CLAIMS, MEDIA, SUPERVISOR, SUPERVISOR, SUPERVISOR),
    *(MEDIA, SUPERVISOR, SUPERVISOR, LIFE, MEDIA, SUPERVISOR, SUPERVISOR, CLAIMS),
    *(MEDIA, SUPERVISOR, SUPERVISOR, SUPERVISOR, MEDIA, SUPERVISOR, SUPERVISOR, SUPERVISOR),
)


def kind_of(seed: int) -> Kind:
    """Which kind of scenario a seed is."""
    return _KINDS[seed % len(_KINDS)]


def seconds_under_faults(seed: int) -> float:
    """How long a scenario lasts, before all is healed."""
    return random.Random(f"story {seed}").uniform(*kind_of(seed).seconds)


def play(seed: int, kind: Kind | None = None) -> Outcome:
    """Live through one scenario."""
    kind = kind or kind_of(seed)
    gc.disable()  # what a world leaves is found afterwards
    rng = random.Random(f"story {seed}")
    seconds = rng.uniform(*kind.seconds)
    world = kind.make(seed, rng)
    faults = Faults(world, rng, kinds=kind.faults, calm=rng.uniform(*kind.calm))
    try:
        world.run(_story(world, kind, rng, faults, seconds))
    except Exception as error:
        world.watch.fail(f"{type(error).__name__}: {error}")
        if not isinstance(error, AssertionError):
            raise
    finally:
        gc.enable()
    violations = [*world.watch.violations, *world.clockwork.defects]
    watch = world.watch
    return Outcome(seed, kind.name, world.clock.now, watch.messages, world.kills, watch.digest, violations, faults.done)


async def _story(world: World, kind: Kind, rng: random.Random, faults: Faults, seconds: float) -> None:
    truth = Truth(world)
    for _ in range(rng.randint(*kind.workers)):
        world.start()
    for _ in range(rng.randint(*kind.tasks)):
        await world.create()
    watching = asyncio.create_task(truth.watch())
    end = world.clock.now + seconds
    while world.clock.now < end:
        await asyncio.sleep(rng.expovariate(1 / faults.calm))
        await faults.one()
    faults.heal()
    world.look_again()
    deadline = world.clock.now + RECOVERY
    while missing := truth.settled():
        if world.clock.now > deadline:
            world.watch.fail(f"not recovered: {missing}")
            break
        await asyncio.sleep(0.25)
    watching.cancel()
    await asyncio.wait([watching])
    if not watching.cancelled() and watching.exception() is not None:
        raise AssertionError(repr(watching.exception()))
    truth.secrets()
