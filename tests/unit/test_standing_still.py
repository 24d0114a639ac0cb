"""Workers and sources that stand still for a while, in the world of the simulation."""

import asyncio
from collections.abc import Callable, Coroutine

import pytest

from penstock.tasks.model import Observed, State
from tests.sim.encoder import Format
from tests.sim.world import EngineWorld


class Scene(EngineWorld):
    """One engine with one task."""

    def tell(self, story: Callable[[], Coroutine[None, None, None]]) -> None:
        """Live through a story that begins when media flows."""

        async def whole() -> None:
            self.start()
            await self.create()
            await asyncio.sleep(5.1)
            assert self.seen.state is State.ACTIVE
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


@pytest.mark.parametrize("moment", [0.0, 0.05, 0.11, 0.17, 0.23])
def test_a_worker_that_stood_still_does_not_take_old_bytes_for_new_ones(moment: float) -> None:
    """What moved right before, and was not measured yet, says nothing of now."""
    scene = Scene(1, formats=[Format()])

    async def story() -> None:
        await asyncio.sleep(moment)
        worker = scene._worker
        worker.loop.frozen = True
        await asyncio.sleep(0.1)
        for ingest in scene.ingests:
            ingest.vanish(0)
        await asyncio.sleep(9)
        worker.loop.frozen = False
        for _ in range(10):
            assert scene.seen.state is not State.ACTIVE
            await asyncio.sleep(0.1)

    scene.tell(story)


@pytest.mark.parametrize("keeps_gop", [True, False])
def test_an_output_stays_in_step_with_the_wall_through_many_losses(keeps_gop: bool) -> None:
    """Neither does each GOP that a server has kept add to its lead, nor each wait for a keyframe take from it."""
    scene = Scene(1, formats=[Format(gop=100)])
    [origin] = scene.origins
    origin.keeps_gop = keeps_gop

    async def story() -> None:
        [output] = scene.watch.outputs.values()
        begun = output.lead
        for _ in range(12):
            origin.drop()
            await asyncio.sleep(6.4)
            assert -2000 <= output.lead - begun <= 1300

    scene.tell(story)


@pytest.mark.parametrize("seed", range(4))
def test_what_a_process_missed_is_made_up_for(seed: int) -> None:
    """It stood still, and the source's connection had ended long before it woke: the output has caught up when the
    source comes back, however soon that is."""
    scene = Scene(seed, formats=[Format()])
    [origin] = scene.origins
    origin.keeps_gop = True

    async def story() -> None:
        [output] = scene.watch.outputs.values()
        begun = output.lead
        worker = scene._worker
        worker.loop.frozen = True
        origin.drop()
        await asyncio.sleep(9)
        worker.loop.frozen = False
        await asyncio.sleep(2)
        assert -2000 <= output.lead - begun <= 1300
        assert len(scene.watch.outputs) == 1

    scene.tell(story)
