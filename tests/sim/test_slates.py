"""A slate over many losses: on one connection, in step with the wall, for as long as nothing else is there."""

import asyncio
from dataclasses import replace

import pytest

from penstock.media.plan import SlateMode
from penstock.tasks.model import State
from tests.sim.test_backups import LIGHT, Stage, lost


def all_gone(stage: Stage, how: str) -> None:
    """Both sources go at the same moment, and do not come back by themselves."""
    for origin in stage.origins:
        if how == "stall":
            origin.stalled = True
        else:
            origin.mode = "refuse"
            lost(origin, how, stage)


def back(stage: Stage, number: int) -> None:
    """One of them is there again."""
    stage.origins[number].mode, stage.origins[number].stalled = "up", False


@pytest.mark.parametrize("how", ["close", "stall"])
@pytest.mark.parametrize("mode", ["picture", "last"])
def test_both_sources_may_be_dead_for_longer_than_a_destination_is_held(mode: SlateMode, how: str) -> None:
    """The slate follows within a second of the loss that is noticed, and is left for whoever comes first."""
    stage = Stage(10, replace(LIGHT, b_frames=2), slate=mode)

    async def story() -> None:
        [output] = stage.watch.outputs.values()
        all_gone(stage, how)
        await stage.until(lambda: output.shows_slate, timeout=10)
        for _ in range(100):
            await asyncio.sleep(1)
            assert (stage.seen.on_air, stage.seen.state) == ("slate", State.ACTIVE)
            assert all(f"{who}: " in stage.seen.error for who in ("source", "backup"))
            assert stage.clock.now - output.picture_at < 0.2
        assert abs(stage.lead) <= 1160
        back(stage, 1)
        await stage.until(lambda: stage.seen.on_air == "backup")
        back(stage, 0)
        await stage.until(lambda: stage.seen.on_air == "source")
        await asyncio.sleep(2)
        assert stage.watch.source_of(output.publisher.name) is stage.source.encoder
        assert list(stage.watch.outputs) == [output.publisher]
        assert stage.seen.switches["returned"] == 2

    stage.tell(story)


@pytest.mark.parametrize(("mode", "b_frames", "longest_step"), [("picture", 0, 84), ("last", 2, 320)])
def test_an_output_stays_in_step_through_any_number_of_slates(
    mode: SlateMode, b_frames: int, longest_step: int
) -> None:
    """Whatever the place in a GOP at which the sources go, and however long they stay away: pictures never stop.

    From a source with B-frames to a backup without, DTS makes a step of as much as the pictures were reordered.
    """
    stage = Stage(11, replace(LIGHT, b_frames=b_frames), replace(LIGHT, gop=12), slate=mode)

    async def story() -> None:
        [output] = stage.watch.outputs.values()
        for _ in range(20):
            all_gone(stage, stage.rng.choice(["close", "leave", "stall"]))
            await stage.until(lambda: output.shows_slate, timeout=5)
            back_at = stage.clock.now + stage.rng.uniform(0, 4)
            while stage.clock.now < back_at:
                await stage.next_picture()
            for number in stage.rng.sample([0, 1], stage.rng.randint(1, 2)):
                back(stage, number)
            await stage.until(lambda: not output.shows_slate, timeout=40)
            for _ in range(stage.rng.randint(12, 80)):
                await stage.next_picture()
        assert list(stage.watch.outputs) == [output.publisher]
        assert output.longest_step <= longest_step

    stage.tell(story, lucky=True)
    assert min(stage.leads) >= -1000
    assert max(stage.leads) <= 1000
