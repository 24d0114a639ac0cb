"""A parent's view of one child, on real processes."""

import asyncio
import signal
import subprocess

import pytest

from penstock.parent import keeper
from penstock.parent.keeper import Keeper
from tests.patience import PATIENCE

SLEEPER = ["/bin/sh", "-c", "sleep 60"]


@pytest.fixture
def kept() -> Keeper:
    """Keeps a process that says nothing."""
    return Keeper("worker-1", SLEEPER, (), watchdog=60, ready=lambda: None, died=lambda: None)


async def test_child_that_was_killed_and_does_not_go_is_not_well(kept: Keeper, monkeypatch: pytest.MonkeyPatch) -> None:
    """As one that waits for a dead disk: no signal reaches it."""
    monkeypatch.setattr(keeper, "DEATH", 0.2)
    task = asyncio.create_task(kept.keep())
    await asyncio.sleep(0)
    child = kept.child
    assert child is not None
    with monkeypatch.context() as patch:
        patch.setattr(subprocess.Popen, "send_signal", lambda _self, _number: None)
        child.signal(signal.SIGKILL)
    states = [kept.well]
    async with asyncio.timeout(PATIENCE):
        while states[-1]:
            await asyncio.sleep(0.05)
            states.append(kept.well)
    assert states[0]  # it is given time to die
    kept.retire()
    child.signal(signal.SIGKILL)
    await task
    assert kept.child is None
