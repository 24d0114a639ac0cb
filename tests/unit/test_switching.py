"""A source and its backup under the engine: what a destination gets when one is lost, and when it returns."""

import asyncio
import re
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import pytest

from tests.packets import Clip, number_of
from tests.rtmp_peer import Arrival, Connection, Origin, Sink
from tests.rtmp_wire import Message
from tests.unit.stage import KEY, Stage, in_order, is_silence, plan, staged

pytestmark = pytest.mark.looptime(noop_cycles=12)

RETURN_AFTER = 10.0
#: Numbers of the backup's pictures begin here.
OTHER = 1_000_000
GOP = 50
PRIMARY = Clip(seconds=120, gop=GOP).messages()
BACKUP = Clip(seconds=120, gop=GOP, first_number=OTHER).messages()


class Show:
    """A task with a source and a backup, and its one destination."""

    def __init__(self, stage: Stage, source: Origin, backup: Origin, sink: Sink) -> None:
        self.stage = stage
        self.source = source
        self.backup = backup
        self.sink = sink

    @property
    def frames(self) -> list[Arrival]:
        return self.sink.last.frames

    def is_shown(self, who: str) -> bool:
        """Whether this source's pictures arrive."""
        return bool(self.frames) and (number_of(self.frames[-1].payload) >= OTHER) == (who == "backup")

    async def until_shown(self, who: str, timeout: float = 60) -> None:
        await self.stage.until(lambda: self.is_shown(who), timeout)

    def switches(self) -> list[tuple[str, float, float]]:
        """The cause of each switch, its gap and the lead after it, in seconds, as the history has them."""
        found = []
        for _, name, text in self.stage.events:
            if name.startswith("switch."):
                match = re.search(r"gap ([\d.]+) s, lead ([-+][\d.]+) s", text)
                assert match
                found.append((name.removeprefix("switch."), float(match[1]), float(match[2])))
        return found

    def is_one_stream(self) -> bool:
        """Whether all came on one connection, no time going back, and no picture later than a frame after the other."""
        connection = self.sink.last
        steps = [later.timestamp - sooner.timestamp for sooner, later in pairwise(connection.frames)]
        return len(self.sink.connections) == 1 and in_order(connection) and min(steps) >= 1 and max(steps) <= 41


async def show(stage: Stage, source: Sequence[Message] = PRIMARY, backup: Sequence[Message] = BACKUP) -> Show:
    """Both sources flow, the first has been on air for a while."""
    one = Show(stage, await stage.origin(source), await stage.origin(backup, start=77_000), await stage.sink())
    stage.engine.run(KEY, 1, plan(one.source, one.sink, backup=one.backup))
    await one.stage.until_active()
    await asyncio.sleep(6.3)
    assert one.is_shown("source")
    return one


def longest_pause(connection: Connection) -> float:
    """Of the pictures' arrival, in seconds."""
    return max(later.at - sooner.at for sooner, later in pairwise(connection.frames))


@pytest.mark.parametrize(("close", "cause"), [(True, "closed"), (False, "closed")], ids=["closed", "kept open"])
async def test_a_backup_takes_over_at_once_when_the_source_ends(close: bool, cause: str) -> None:
    """From the newest keyframe, which is here already; without a hole in the times, and within 150 ms."""
    async with staged() as stage:
        one = await show(stage)
        one.source.end(close=close)
        await one.until_shown("backup", timeout=0.3)
        await asyncio.sleep(3)
        assert one.is_one_stream()
        assert longest_pause(one.sink.last) <= 0.15
        assert not any(is_silence(message) for message in one.sink.last.sounds[5:])
        [(told, gap, lead)] = one.switches()
        assert told == cause
        assert gap <= 0.15
        assert -0.2 <= lead <= 1
        seen = stage.seen
        assert (seen.on_air, seen.switches) == ("backup", {"closed": 1})
        assert seen.on_air_since is not None
        assert seen.lead_ms is not None
        assert 2500 <= seen.at - seen.on_air_since <= 3500
        assert abs(seen.lead_ms - lead * 1000) <= 100
        assert "source: " in seen.error
        assert "backup" not in seen.error


async def test_a_source_that_falls_silent_is_replaced_after_its_limit() -> None:
    """Half a second for one that has been steady, and not more than 100 ms on top."""
    async with staged() as stage:
        one = await show(stage)
        one.source.stall()
        await one.until_shown("backup", timeout=1)
        assert 0.5 <= longest_pause(one.sink.last) <= 0.6
        assert one.is_one_stream()
        assert [cause for cause, *_ in one.switches()] == ["stalled"]


async def test_the_source_returns_at_its_keyframe_when_it_has_been_healthy() -> None:
    """Nobody sees more than another picture."""
    async with staged() as stage:
        one = await show(stage)
        one.source.end()
        await one.until_shown("backup")
        before = len(one.frames)
        await asyncio.sleep(2)
        one.source.resume()
        await stage.until(lambda: stage.has_flowed(2))
        since = asyncio.get_running_loop().time()
        await asyncio.sleep(RETURN_AFTER - 0.5)
        assert one.is_shown("backup")
        assert re.search(r"source: healthy again \(rtmp.*\), on air in [01] s$", stage.seen.error)
        await one.until_shown("source", timeout=GOP * 0.04 + 1)
        assert asyncio.get_running_loop().time() - since >= RETURN_AFTER
        await asyncio.sleep(2)
        assert one.is_one_stream()
        frames = one.frames[before:]
        first = next(at for at, frame in enumerate(frames) if number_of(frame.payload) < OTHER)
        assert number_of(frames[first].payload) % GOP == 0
        assert max(later.at - sooner.at for sooner, later in pairwise(frames)) <= 0.1
        assert [cause for cause, *_ in one.switches()] == ["closed", "returned"]
        assert stage.seen.on_air == "source"
        assert stage.seen.error == ""


async def test_a_source_that_cannot_be_had_is_replaced_when_the_task_begins() -> None:
    """Its refusal is not awaited twice."""
    async with staged() as stage:
        source, backup, sink = await stage.origin(PRIMARY), await stage.origin(BACKUP), await stage.sink()
        source.refuse = "NetStream.Play.StreamNotFound"
        stage.engine.run(KEY, 1, plan(source, sink, backup=backup))
        one = Show(stage, source, backup, sink)
        await stage.until(lambda: sink.connections and sink.last.frames, 3)
        assert one.is_shown("backup")
        assert one.switches() == []
        assert "source: " in stage.seen.error


async def test_a_backup_that_is_gone_is_told_of_and_changes_nothing() -> None:
    """The source goes on; the backup is there again for the next time."""
    async with staged() as stage:
        one = await show(stage)
        one.backup.end()
        await stage.until(lambda: "backup.lost" in stage.names())
        await asyncio.sleep(2)
        assert "backup: " in stage.seen.error
        assert one.is_shown("source")
        one.backup.resume()
        await stage.until(lambda: stage.names().count("backup.flowing") == 2)
        await asyncio.sleep(4)
        assert stage.seen.error == ""
        one.source.end()
        await one.until_shown("backup", timeout=0.3)
        assert one.is_one_stream()


async def test_both_may_be_gone_and_either_comes_back() -> None:
    """Silence meanwhile, on the same connection."""
    async with staged() as stage:
        one = await show(stage)
        one.source.end()
        one.backup.end()
        await asyncio.sleep(5)
        assert stage.seen.on_air == ""
        assert "source: " in stage.seen.error
        assert "backup: " in stage.seen.error
        assert is_silence(one.sink.last.sounds[-1])
        one.backup.resume()
        await stage.until(lambda: stage.seen.on_air == "backup")
        await one.until_shown("backup")
        assert len(one.sink.connections) == 1
        assert in_order(one.sink.last)
        lead = [m.timestamp / 1000 - m.at for m in one.sink.last.sounds]
        assert max(lead) - min(lead) < 1.6


async def test_a_backup_that_is_taken_away_hands_over() -> None:
    """And another that is given is kept warm from then on."""
    async with staged() as stage:
        one = await show(stage)
        one.source.end()
        await one.until_shown("backup")
        one.source.resume()
        await stage.until(lambda: stage.has_flowed(2))
        await asyncio.sleep(2.5)
        stage.engine.run(KEY, 1, plan(one.source, one.sink))
        await one.until_shown("source", timeout=GOP * 0.04 + 0.5)
        await asyncio.sleep(1)
        assert len(one.sink.connections) == 1
        assert in_order(one.sink.last)
        assert [cause for cause, *_ in one.switches()] == ["closed", "changed"]
        assert [node.id for node in stage.seen.sources] == ["source"]
        stage.engine.run(KEY, 1, plan(one.source, one.sink, backup=one.backup))
        await asyncio.sleep(4)
        one.source.end()
        await one.until_shown("backup", timeout=0.3)


async def test_another_source_in_the_place_of_the_first_is_on_air_as_soon_as_it_can() -> None:
    """The backup fills the gap, and the new one need not prove itself."""
    async with staged() as stage:
        one = await show(stage)
        other = await stage.origin([replace(m) for m in PRIMARY])
        stage.engine.run(KEY, 1, plan(other, one.sink, backup=one.backup))
        await one.until_shown("backup", timeout=1)
        await one.until_shown("source", timeout=GOP * 0.04 + 1)
        assert [cause for cause, *_ in one.switches()] == ["changed", "returned"]
        assert one.is_one_stream()


async def test_a_backup_of_another_aac_configuration_makes_the_destination_connect_anew_once() -> None:
    """Receivers would play it at the wrong pitch."""
    async with staged() as stage:
        one = await show(stage, backup=Clip(seconds=60, gop=25, rate=44_100, channels=1, first_number=OTHER).messages())
        one.source.end()
        await stage.until(lambda: len(one.sink.connections) == 2)
        await one.until_shown("backup")
        assert [text for _, name, text in stage.events if name == "sink.reconnect"] == [
            "the destination is connected anew: the AAC configuration changes from 48000 Hz 2 ch to 44100 Hz 1 ch"
        ]
        assert len(one.sink.connections) == 2
