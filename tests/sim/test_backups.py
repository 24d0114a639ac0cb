"""A source and its backup over many hours: in step with the wall through any number of switches, and none too many."""

import asyncio
import random
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any

import pytest

from penstock.tasks.model import Observed, State
from tests.sim.encoder import Format
from tests.sim.peers import Origin
from tests.sim.stills import Studio
from tests.sim.watch import Output
from tests.sim.world import EngineWorld, Wish

#: What costs the simulation less than most: 12.5 pictures and 23 sounds a second.
LIGHT = Format(frame=80, gop=25, rate=24_000)
#: The lead of an output over any number of switches, in ms: -7 to +1 s, and a tick until it is seen.
LEAST_LEAD, MOST_LEAD = -7_000, 1_040


#: How many switches each pair of formats goes through.
SWITCHES = 250


class Lucky(random.Random):
    """Draws the shortest back-off, so that a thousand losses take no week."""

    def uniform(self, a: float, b: float) -> float:
        return min(a + 0.05, b)


class Stage(EngineWorld):
    """One task with a source and a backup whose servers keep no GOP, and its one destination."""

    def __init__(self, seed: int, source: Format = LIGHT, backup: Format = LIGHT, **more: Any) -> None:
        super().__init__(seed, formats=[source, backup], sinks=1, **more)
        for origin in self.origins:
            origin.keeps_gop, origin.every = False, 0.04
        #: Of each picture, see `lead`.
        self.leads: list[float] = []
        self._base = 0.0

    def studio(self, worker: str) -> Studio:
        """One that never fails."""
        return Studio(random.Random(worker), self.watch.fail, works=1, seconds=[0.3])

    async def create(self, **_: Any) -> None:
        """The first origin is the source, the other its backup."""
        self.wishes["1"] = wish = Wish("1", True, 0, self.new_sink_url(), 0, 1 << 62, backup=1)
        self._tell(wish, {})

    def tell(self, story: Callable[[], Coroutine[None, None, None]], *, lucky: bool = False) -> None:
        """Live through a story that begins when both flow."""

        async def whole() -> None:
            worker = self.start()
            if lucky:
                worker._rng = Lucky()
            await asyncio.sleep(0.1)
            await self.create()
            await asyncio.sleep(8)
            seen = self.seen
            assert (seen.state, seen.on_air) == (State.ACTIVE, "source")
            self._base = self.output.lead - (seen.lead_ms or 0)
            await story()

        self.run(whole())
        assert self.watch.violations == self.clockwork.defects == []

    @property
    def seen(self) -> Observed:
        """What the engine says of the task."""
        engine = self._worker.engine
        assert engine is not None
        [observed] = engine.snapshot()
        return observed

    @property
    def source(self) -> Origin:
        return self.origins[0]

    @property
    def backup(self) -> Origin:
        return self.origins[1]

    @property
    def output(self) -> Output:
        """The destination's newest connection."""
        return list(self.watch.outputs.values())[-1]

    @property
    def on_air(self) -> Origin:
        """The source that is shown."""
        return self.backup if self.seen.on_air == "backup" else self.source

    @property
    def lead(self) -> float:
        """By how much the output is ahead, over and above what it was before the story, in ms."""
        return self.output.lead - self._base

    async def next_picture(self) -> None:
        """Let one come, and note the lead."""
        await asyncio.sleep(0.04)
        self.leads.append(self.lead)

    async def until(self, condition: Callable[[], object], timeout: float = 60) -> float:
        """Wait until something is so; return for how long."""
        begun = self.clock.now
        while not condition():
            assert self.clock.now - begun < timeout
            await asyncio.sleep(0.05)
        return self.clock.now - begun


def lost(origin: Origin, how: str, stage: Stage) -> None:
    """Let a source be gone for a moment."""
    match how:
        case "close":
            origin.drop()
        case "leave":
            origin.leave()
        case "stall":
            origin.stalled = True
            stage.loop.call_later(0.7, setattr, origin, "stalled", False)


@pytest.mark.parametrize("gops", [(6, 6), (25, 25), (25, 50), (100, 12)], ids=str)
def test_an_output_stays_in_step_through_a_thousand_switches(gops: tuple[int, int]) -> None:
    """A quarter of them here: by ends, farewells and stalls, at any place of a GOP."""
    stage = Stage(3, *(replace(LIGHT, gop=gop) for gop in gops))

    async def story() -> None:
        while sum(stage.seen.switches.values()) < SWITCHES:
            lost(stage.on_air, stage.rng.choice(["close", "leave", "stall"]), stage)
            for _ in range(stage.rng.randint(12, 40)):
                await stage.next_picture()
        assert len(stage.watch.outputs) == 1

    stage.tell(story, lucky=True)
    assert min(stage.leads) >= LEAST_LEAD
    assert max(stage.leads) <= MOST_LEAD


def test_a_backup_is_seen_in_the_tick_that_sees_the_source_end() -> None:
    """Its pictures do not wait for the one after."""
    stage = Stage(10, backup=replace(LIGHT, gop=6))

    async def story() -> None:
        lost_at = stage.clock.now
        lost(stage.source, "close", stage)
        while stage.output.encoder is not stage.backup.encoder:
            await asyncio.sleep(0.001)
        assert stage.clock.now - lost_at <= 1.5 * stage.tick

    stage.tell(story)


def test_a_source_that_sends_in_bursts_returns_however_far_the_output_is_ahead() -> None:
    """Its keyframes come with what follows them, never alone."""
    stage = Stage(11, replace(LIGHT, gop=5), LIGHT)
    stage.source.every = 0.4

    async def story() -> None:
        for _ in range(6):
            await asyncio.sleep(stage.rng.uniform(0, 2))
            stage.source.mode = "refuse"
            lost(stage.source, "close", stage)
            await stage.until(lambda: stage.seen.on_air == "backup")
            stage.source.mode = "up"
            await stage.until(lambda: stage.seen.on_air == "source", timeout=330)
        assert len(stage.watch.outputs) == 1

    stage.tell(story, lucky=True)


def test_jitter_makes_no_switch_in_an_hour() -> None:
    """A source whose media comes up to 200 ms late."""
    stage = Stage(4, Format(frame=80, audio=""), Format(frame=1000, gop=1, audio=""))
    stage.origins[0].jitter = 0.2

    async def story() -> None:
        await asyncio.sleep(3600)
        assert stage.seen.switches == {}
        assert [node.attempts for node in stage.seen.sources] == [1, 1]

    stage.tell(story)


def test_both_may_be_dead_for_longer_than_a_destination_is_held() -> None:
    """It is left, and whoever comes back first brings it back."""
    stage = Stage(5)

    async def story() -> None:
        for origin in stage.origins:
            origin.mode = "refuse"
            origin.drop()
        await asyncio.sleep(20)
        assert len(stage.watch.publishing()) == 1
        assert (stage.seen.on_air, stage.seen.state) == ("", State.ACTIVE)
        await asyncio.sleep(20)
        assert len(stage.watch.publishing()) == 0
        assert (stage.seen.on_air, stage.seen.state) == ("", State.INACTIVE)
        assert all(f"{who}: " in stage.seen.error for who in ("source", "backup"))
        stage.backup.mode = "up"
        await stage.until(lambda: stage.seen.on_air == "backup" and stage.seen.state is State.ACTIVE)
        stage.source.mode = "up"
        await stage.until(lambda: stage.seen.on_air == "source")

    stage.tell(story)


def test_both_may_flap() -> None:
    """Whoever is there is shown, on one connection, and one that is never well for long is not returned to."""
    stage = Stage(6)

    async def story() -> None:
        for _ in range(60):
            origin = stage.rng.choice(stage.origins)
            lost(origin, stage.rng.choice(["close", "leave", "stall"]), stage)
            await asyncio.sleep(stage.rng.uniform(0.5, 4))
        assert stage.seen.switches.get("returned", 0) <= 6
        await stage.until(lambda: stage.seen.on_air == "source" and not stage.seen.error, timeout=100)

    stage.tell(story)


def test_a_clock_that_is_too_fast_leads_nowhere() -> None:
    """One in a hundred: its backup comes in all the same, and it returns."""
    stage = Stage(7, replace(LIGHT, pace=1.01))

    async def story() -> None:
        for _ in range(4):
            await asyncio.sleep(70)
            assert -1500 <= (stage.seen.lead_ms or 0) <= 1600
            stage.source.mode = "refuse"
            lost(stage.source, "close", stage)
            await stage.until(lambda: stage.seen.on_air == "backup", timeout=3)
            stage.source.mode = "up"
            await stage.until(lambda: stage.seen.on_air == "source")
        assert len(stage.watch.outputs) == 1

    stage.tell(story)


@pytest.mark.parametrize(
    ("backup", "connections"),
    [
        (replace(LIGHT, profile=1, b_frames=2, frame=1000 / 30, gop=60), 1),
        (replace(LIGHT, audio=""), 1),
        (replace(LIGHT, rate=44_100, channels=1), 3),
        (replace(LIGHT, video="hevc"), 3),
    ],
    ids=["size and B-frames", "no sound", "AAC", "codec"],
)
def test_a_backup_may_be_of_another_kind(backup: Format, connections: int) -> None:
    """Receivers follow what they can; else they are connected anew, once each way, as an event."""
    stage = Stage(8, LIGHT, backup)

    async def story() -> None:
        lost(stage.source, "leave", stage)
        await stage.until(lambda: stage.seen.on_air == "backup", timeout=3)
        await stage.until(lambda: stage.seen.on_air == "source", timeout=40)
        await asyncio.sleep(3)
        assert stage.seen.sinks[0].attempts == connections
        told = [line.name for line in stage._worker.history.waiting()]
        assert told.count("sink.reconnect") == connections - 1

    stage.tell(story)
