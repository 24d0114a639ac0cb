"""Real clips relayed by the engine in virtual time, then decoded: what a viewer of the destination gets."""

import asyncio
from functools import partial
from itertools import pairwise
from pathlib import Path

import pytest

from penstock.media.packet import VIDEO, composition_time
from tests import media
from tests.avmeter import measure
from tests.rtmp_peer import Connection, Sink
from tests.rtmp_wire import DATA, Message, flv_file
from tests.unit.stage import KEY, Stage, in_order, plan, staged

pytestmark = pytest.mark.looptime(noop_cycles=12)


def recorded(connection: Connection, path: Path) -> Path:
    """What a destination got on a connection, as an FLV file."""
    head = b"\x02\x00\x0d@setDataFrame"
    messages = connection.messages
    path.write_bytes(
        flv_file(
            Message(m.type, m.timestamp, m.payload.removeprefix(head) if m.type == DATA else m.payload)
            for m in messages
        )
    )
    return path


async def relayed(stage: Stage, sink: Sink, *clips: str, seconds: float = 5) -> None:
    """Relay one clip after the other, each as a source that ends and comes back as the next."""
    origin = await stage.origin(media.clip(clips[0]))
    stage.engine.run(KEY, 1, plan(origin, sink))
    for number in range(1, len(clips) + 1):
        await stage.until(partial(stage.has_flowed, number))
        await asyncio.sleep(seconds)
        if number < len(clips):
            origin.end()
            origin.media = media.clip(clips[number])
            origin.resume()
    await stage.engine.stop(KEY)
    await sink.until(lambda: sink.last.closed)


@pytest.mark.parametrize(
    "clips",
    [
        ("av", "av"),
        ("av", "plain", "av"),
        ("av", "small", "plain", "small", "av"),
        ("plain", "silent", "av"),
        ("silent", "av"),
        ("small", "dark", "small"),
    ],
    ids=" ".join,
)
async def test_sources_that_follow_each_other_are_one_stream_to_a_viewer(
    clips: tuple[str, ...], tmp_path: Path
) -> None:
    """Size, frame rate and B-frames change, sound comes and goes: nothing to complain of, sound with its picture."""
    async with staged() as stage:
        sink = await stage.sink()
        await relayed(stage, sink, *clips)
        assert len(sink.connections) == 1
        assert in_order(sink.last)
        shown = [m.timestamp + composition_time(m.payload) for m in sink.last.frames]
        assert len(shown) == len(set(shown))
        reading = measure(recorded(sink.last, tmp_path / "viewed.flv"))
    assert reading.errors == []
    assert len(reading.pictures) >= len(sink.last.frames) - 4
    assert all(sooner < later for sooner, later in pairwise(reading.pictures))
    assert len(reading.offsets) >= 5
    assert all(abs(offset) <= 1.5 for offset in reading.offsets)
    assert reading.sound_gap < 55
    pauses = 0.5 * (len(clips) - 1) + (5.5 if "dark" in clips else 0)
    assert reading.picture_gap <= 1000 * (pauses + 1)
    assert sum(m.type == VIDEO for m in sink.last.messages) > 100


async def test_every_picture_of_a_source_arrives(tmp_path: Path) -> None:
    """The counter burned into them has no hole from the first keyframe to the end."""
    async with staged() as stage:
        sink = await stage.sink()
        await relayed(stage, sink, "av", seconds=12)
        numbers = media.counters(recorded(sink.last, tmp_path / "viewed.flv"))
    first = numbers[0]
    assert first is not None
    assert first % 25 == 0
    assert numbers == list(range(first, first + len(numbers)))
    assert len(numbers) > 280
