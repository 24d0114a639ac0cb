"""One running plan of holds: its streams are watched on the edge nodes and thrown away, until it ends."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, suppress
from urllib.parse import urlsplit

from penstock.errors import AddressRefused, MediaError
from penstock.media.hold.door import EdgeDoor
from penstock.media.hold.drain import Drain
from penstock.media.hold.flv import watch_flv
from penstock.media.hold.hls import watch_hls
from penstock.media.hold.proof import Watched
from penstock.media.hold.rtmp import watch_rtmp
from penstock.media.plan import Hold, Plan
from penstock.media.ramp import Places, Ramp
from penstock.media.supervisor import NodeState, Supervisor
from penstock.net import Policy

#: Seconds of warmth after which it is measured what the next viewer gets.
MEASURE_AFTER = 5.0
#: Seconds between two looks at what a viewer has received.
SAMPLE = 1.0
#: Streams that a process holds, at most: each keeps a socket open.
MOST = 8_000

OnEvent = Callable[[str, str], None]
#: Connects as a viewer would, and returns when a keyframe has come.
Watch = Callable[[Hold], Awaitable[Watched]]


def watch_with(policy: Policy, drain: Drain) -> Watch:
    """Return what watches streams on edges. Beyond an edge's own address `policy` is asked; `drain` takes the media."""

    async def watch(hold: Hold) -> Watched:
        door = EdgeDoor(policy, hold)
        if hold.protocol == "rtmp":
            return await watch_rtmp(door, drain)
        return await (watch_flv if hold.protocol == "flv" else watch_hls)(door, drain)

    return watch


class Viewer:
    """Watches one stream on one edge, for all tasks that want it warm there."""

    def __init__(self, hold: Hold, watch: Watch, ramp: Ramp, places: Places, most: int, rng: random.Random) -> None:
        """`most`: how many streams the process may hold."""
        self.hold = hold
        #: From the first connection that got one to its first keyframe, and the same for a viewer who came when the
        #: stream was warm; in ms.
        self.cold_ms: int | None = None
        self.warm_ms: int | None = None
        #: Connections that were warm and were lost.
        self.reconnects = 0
        #: Why it has not begun to connect; empty: it has.
        self.waiting = ""
        #: By task: whom to tell what happens.
        self.listeners: dict[int, OnEvent] = {}
        self._watch, self._ramp, self._places, self._most = watch, ramp, places, most
        self._origin = urlsplit(hold.url).hostname or ""
        self._loop = asyncio.get_running_loop()
        self._watched: Watched | None = None
        self._sampled_at = 0.0
        self.supervisor = Supervisor(hold.id, "hold", hold.url, self._run, rng=rng, on_event=self._tell)
        self.supervisor.want(True)

    @property
    def is_warm(self) -> bool:
        """Whether media comes now."""
        return self.supervisor.state is NodeState.FLOWING

    async def _run(self, supervisor: Supervisor) -> None:
        """One connection, from its turn to its end."""
        hold = self.hold
        async with AsyncExitStack() as places:
            self.waiting = f"waits for one of the {hold.concurrency} places on the edge" if hold.concurrency else ""
            await places.enter_async_context(self._places.one(hold.edge, hold.concurrency))
            self.waiting = f"waits for one of the {self._most} streams that this worker may hold"
            await places.enter_async_context(self._places.one("", self._most))
            watched, took = await self._begin()
            if self.cold_ms is None:
                self.cold_ms = took
            self._watched = watched
            supervisor.connected(watched)
            supervisor.progressed()
            measuring = None if self.warm_ms is not None else self._loop.create_task(self._measure())
            try:
                await watched.hold()
            except (MediaError, AddressRefused):
                self.reconnects += 1
                raise
            finally:
                self._watched = None
                watched.close("ended")
                if measuring is not None:
                    measuring.cancel()

    async def _begin(self) -> tuple[Watched, int]:
        """Watch the stream when it is our turn; return also how many ms its first keyframe has taken."""
        self.waiting = "waits for its turn"
        async with self._ramp.turn(self._origin):
            self.waiting = ""
            begun = self._loop.time()
            watched = await self._watch(self.hold)
            return watched, round((self._loop.time() - begun) * 1000)

    async def _measure(self) -> None:
        """Find out what a viewer who comes now gets."""
        await asyncio.sleep(MEASURE_AFTER)
        with suppress(MediaError, AddressRefused):
            # It takes no turn from those who warm: it comes as gently as the first one did, and costs no origin a pull.
            begun = self._loop.time()
            (await self._watch(self.hold)).close("ended")
            self.warm_ms = round((self._loop.time() - begun) * 1000)
            self._tell("hold.measured", f"first keyframe after {self.cold_ms} ms cold, {self.warm_ms} ms warm")

    def _tell(self, name: str, text: str) -> None:
        for tell in list(self.listeners.values()):
            tell(name, f"{self.hold.id}: {text}")

    def sample(self) -> None:
        """Find out whether media still comes; does nothing if that was found out within the last second."""
        now = self._loop.time()
        if now - self._sampled_at < SAMPLE:
            return
        self._sampled_at = now
        supervisor = self.supervisor
        if supervisor.measure():
            supervisor.progressed()
        elif self._watched is not None and supervisor.silent_for > self._watched.stall:
            supervisor.fail(f"no media for {self._watched.stall:g} s")


class Viewers:
    """All viewers of a process: one for each stream on each edge, however many tasks want it."""

    def __init__(self, watch: Watch, ramp: Ramp, *, rng: random.Random, most: int = MOST) -> None:
        """`most`: how many streams are held at once; the others wait, and say so."""
        self._watch = watch
        self._ramp = ramp
        self._rng = rng
        self._most = most
        self._places = Places()
        self._viewers: dict[tuple[object, ...], Viewer] = {}

    def join(self, hold: Hold, task: int, on_event: OnEvent) -> Viewer:
        """Return the viewer of this stream, which tells the task from now on what happens."""
        viewer = self._viewers.get(_stream(hold))
        if viewer is None:
            viewer = Viewer(hold, self._watch, self._ramp, self._places, self._most, self._rng)
            self._viewers[_stream(hold)] = viewer
        viewer.listeners[task] = on_event
        return viewer

    def leave(self, viewer: Viewer, task: int) -> Supervisor | None:
        """The task wants this no longer. When it was the last one, what is to be closed is returned."""
        viewer.listeners.pop(task, None)
        if viewer.listeners or self._viewers.get(_stream(viewer.hold)) is not viewer:
            return None
        del self._viewers[_stream(viewer.hold)]
        return viewer.supervisor


def _stream(hold: Hold) -> tuple[object, ...]:
    """What is the same viewer."""
    return hold.edge, hold.protocol, hold.tls, hold.host, hold.port, hold.vhost, hold.path, hold.query, hold.concurrency


class Warming:
    """Runs one plan of holds until it is closed. `task` is its key; `on_event(name, text)` takes what happens."""

    def __init__(self, plan: Plan, *, viewers: Viewers, task: int, on_event: OnEvent) -> None:
        self._viewers = viewers
        self._task = task
        self._on_event = on_event
        self._holds: dict[str, Hold] = {}
        #: By the id of the plan's hold.
        self.viewers: dict[str, Viewer] = {}
        self._join(plan)

    def apply(self, plan: Plan) -> list[Supervisor]:
        """Make the running holds equal `plan`. Those that are equal are not touched. Returns those to be closed."""
        wanted = {hold.id: hold for hold in plan.holds}
        gone = [self._take_out(id_) for id_, hold in list(self._holds.items()) if wanted.get(id_) != hold]
        self._join(plan)
        kept = list(self.viewers.values())
        leaving = [self._viewers.leave(viewer, self._task) for viewer in gone if viewer not in kept]
        return [supervisor for supervisor in leaving if supervisor is not None]

    def _join(self, plan: Plan) -> None:
        for hold in plan.holds:
            if hold.id not in self._holds:
                self._holds[hold.id] = hold
                self.viewers[hold.id] = self._viewers.join(hold, self._task, self._on_event)

    def _take_out(self, id_: str) -> Viewer:
        del self._holds[id_]
        return self.viewers.pop(id_)

    @property
    def nodes(self) -> Sequence[Supervisor]:
        """All that connects."""
        return [viewer.supervisor for viewer in self.viewers.values()]

    @property
    def failing(self) -> bool:
        """Whether an edge failed and has not recovered, or there is none."""
        return not self.viewers or any(viewer.supervisor.error for viewer in self.viewers.values())

    def is_delivering(self) -> bool:
        """Whether one stream at least is warm."""
        return any(viewer.is_warm for viewer in self.viewers.values())

    def sample(self) -> None:
        """Look at what comes; to be called a few times a second."""
        for viewer in self.viewers.values():
            viewer.sample()

    async def close(self) -> None:
        """End everything that no other task wants."""
        await asyncio.gather(*(supervisor.close() for supervisor in self.apply(Plan())))
