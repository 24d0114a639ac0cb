"""Two destinations of one task: whatever one of them does, the other gets every picture."""

import asyncio
from collections.abc import Callable

import pytest

from penstock.tasks.model import State
from tests.packets import number_of
from tests.patience import PATIENCE
from tests.rtmp_peer import Connection, Sink
from tests.unit.stage import BIG, KEY, in_order, plan, staged

pytestmark = pytest.mark.looptime(noop_cycles=12)

Fault = Callable[[Sink], None]


def refuse(sink: Sink) -> None:
    sink.refuse = "NetStream.Publish.Denied"
    sink.drop()


def say_nothing(sink: Sink) -> None:
    sink.mute = True
    sink.drop()


def stop_reading(sink: Sink) -> None:
    sink.pause()


def numbers(connection: Connection) -> list[int]:
    """Those of the pictures that came."""
    return [number_of(message.payload) for message in connection.frames]


def is_whole(connection: Connection) -> bool:
    """Whether every picture has come, in order, from the first that did."""
    found = numbers(connection)
    return in_order(connection) and found == list(range(found[0], found[0] + len(found)))


@pytest.mark.parametrize("broken", [0, 1], ids=["first", "second"])
@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (refuse, "refused by the server, not authorized"),
        (say_nothing, "connected, but no answer within 10 s"),
        (stop_reading, "takes nothing any more"),
    ],
)
async def test_destination_that_fails_takes_nothing_from_the_other(fault: Fault, words: str, broken: int) -> None:
    """Not a picture, and not the task's state; ErrorInfo names the one that failed."""
    async with staged() as stage:
        origin, sinks = await stage.origin(BIG), [await stage.sink(), await stage.sink()]
        stage.engine.run(KEY, 1, plan(origin, *sinks))
        await stage.until(lambda: all(sink.connections and sink.last.frames for sink in sinks))
        bad, good = sinks[broken], sinks[1 - broken]
        fault(bad)
        name = ("sink", "sink.backup")[broken]
        await stage.until(lambda: f" {name}: {words}" in stage.seen.error)
        await asyncio.sleep(5)
        assert stage.seen.state is State.ACTIVE
        assert len(good.connections) == len(origin.connections) == 1
        assert is_whole(good.last)
        assert len(good.last.frames) > 5 * 25
        assert stage.seen.sinks[1 - broken].error == ""


async def test_both_destinations_that_fail_are_both_named() -> None:
    """Nothing is delivered then."""
    async with staged() as stage:
        origin, sinks = await stage.origin(), [await stage.sink(), await stage.sink()]
        for sink in sinks:
            sink.refuse = "NetStream.Publish.Denied"
        stage.engine.run(KEY, 1, plan(origin, *sinks))
        await stage.until(lambda: stage.seen.state is State.INACTIVE)
        await stage.until(lambda: " sink: refused" in stage.seen.error and " sink.backup: refused" in stage.seen.error)


async def test_destination_that_never_was_there_does_not_make_the_task_inactive() -> None:
    """Not even while the other one is still connecting."""
    async with staged() as stage:
        origin, good, gone = await stage.origin(), await stage.sink(), await stage.sink()
        await gone.__aexit__()
        states = set()
        stage.engine.run(KEY, 1, plan(origin, good, gone))
        async with asyncio.timeout(PATIENCE):
            while stage.seen.state is not State.ACTIVE:
                states.add(stage.seen.state)
                await asyncio.sleep(0.01)
        assert states == {State.STARTING}
        assert " sink.backup: connection refused" in stage.seen.error
        assert "sink.backup.failed" in stage.names()
        assert "sink.failed" not in stage.names()


async def test_second_destination_comes_changes_and_goes_while_the_first_runs_on() -> None:
    """Each begins at a keyframe and is left in order; the first loses no picture and no connection."""
    async with staged() as stage:
        origin, first, second, third = (await stage.origin(), *[await stage.sink() for _ in range(3)])
        stage.engine.run(KEY, 1, plan(origin, first))
        await stage.until_active()
        for sinks in ((first, second), (first, third), (first,)):
            stage.engine.run(KEY, 1, plan(origin, *sinks))
            await asyncio.sleep(5)
        for sink in (second, third):
            [connection] = sink.connections
            assert connection.unpublished
            assert connection.frames[0].payload[0] >> 4 == 1
            assert len(connection.frames) > 75
            assert is_whole(connection)
        [connection] = first.connections
        assert is_whole(connection)
        assert len(connection.frames) > 15 * 25 - 5
        assert stage.seen.error == ""
        assert len(stage.seen.sinks) == 1
