"""Slates under the engine: what a destination gets while there is no source, and when one returns.

The stills are made of numbers here; what FFmpeg makes is seen in test_still.py, and decoded in e2e/test_slate.py.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import pytest
from msgspec.structs import replace as altered

from penstock.errors import MediaError
from penstock.media.child import Children
from penstock.media.packet import Kind, audio_kind
from penstock.media.still import Still, Stills
from penstock.tasks.model import State
from tests.packets import AVC_HEADER, AVC_HEADER_720P, Clip, number_of, picture
from tests.rtmp_peer import Arrival, Connection, Origin, Sink
from tests.rtmp_wire import AUDIO, VIDEO, Message
from tests.unit.stage import HOLD, KEY, Stage, in_order, largest_sound_step, plan, staged

pytestmark = pytest.mark.looptime(noop_cycles=12)

#: Numbers of the slate's pictures begin here.
SLATE = 1_000_000
SLATE_HEADER = AVC_HEADER.replace(b"\x4d\x40\x1e", b"\x4d\x40\x1f")
PRIMARY = Clip(seconds=300, gop=50).messages()


class Prepared(Stills):
    """Stills that are there as soon as they are asked for; remembers what was asked."""

    def __init__(self, error: str = "") -> None:
        super().__init__("", Children())
        self.asked: list[tuple[bytes, list[int], int]] = []
        self._error = error

    async def of_picture(self, header: bytes, keyframe: bytes, rate: int) -> Still:
        return await self.of_last(header, [keyframe], rate)

    async def of_last(self, header: bytes, frames: Sequence[bytes], rate: int) -> Still:
        self.asked.append((header, [number_of(payload) for payload in frames], rate))
        if self._error:
            raise MediaError(self._error)
        length = 2 * rate
        pictures = [picture(SLATE + at, key=at == 0) for at in range(length)]
        return Still(SLATE_HEADER, tuple(pictures), 1000 / rate)


def is_slate(message: Arrival) -> bool:
    return number_of(message.payload) >= SLATE


def shows_slate(sink: Sink) -> bool:
    """Whether the newest picture that came is the slate's."""
    return bool(sink.last.frames) and is_slate(sink.last.frames[-1])


def steps(connection: Connection) -> set[int]:
    """Between the DTS of one picture and the next."""
    return {later.timestamp - sooner.timestamp for sooner, later in pairwise(connection.frames)}


async def begun(stage: Stage, media: Sequence[Message] = PRIMARY, seconds: float = 8.3) -> tuple[Origin, Sink]:
    """A task that has run for a while."""
    origin, sink = await stage.origin(media), await stage.sink()
    stage.engine.run(KEY, 1, plan(origin, sink))
    await stage.until_active()
    await asyncio.sleep(seconds)
    return origin, sink


@pytest.mark.parametrize("mode", ["picture", "last"])
@pytest.mark.parametrize("b_frames", [0, 2])
@pytest.mark.parametrize("fault", ["end", "stall"])
async def test_source_slate_and_source_again_are_one_stream(mode: str, b_frames: int, fault: str) -> None:
    """Half a second after the loss at the latest; no step in the times of pictures or sound; the wall sets the pace."""
    async with staged(Prepared(), slate=mode) as stage:
        origin, sink = await begun(stage, Clip(seconds=300, gop=50, b_frames=b_frames).messages())
        connection = sink.last
        lead = connection.frames[-1].timestamp / 1000 - connection.frames[-1].at
        getattr(origin, fault)()
        await stage.until(lambda: "source.lost" in stage.names())
        lost = asyncio.get_running_loop().time()
        await stage.until(lambda: shows_slate(sink))
        assert asyncio.get_running_loop().time() - lost < 0.75
        await asyncio.sleep(20)
        assert stage.seen.on_air == "slate"
        assert stage.seen.state is State.ACTIVE
        assert " source: " in stage.seen.error
        slate = [message for message in connection.frames if is_slate(message)]
        assert {number_of(one.payload) - SLATE for one in slate} == set(range(50))
        late = slate[-1].timestamp / 1000 - slate[-1].at - lead
        assert abs(late) < 0.3
        origin.resume()
        await stage.until(lambda: not shows_slate(sink))
        await asyncio.sleep(3)
        assert stage.seen.on_air == "source"
        assert stage.seen.error == ""
        assert len(sink.connections) == 1
        assert in_order(connection)
        assert largest_sound_step(connection) <= 54
        back = next(later for one, later in pairwise(connection.frames) if is_slate(one) and not is_slate(later))
        assert back.payload[0] >> 4 == 1
        assert steps(connection) <= {39, 40, 41}
        switches = [(name, text.split(":")[0]) for _, name, text in stage.events if name.startswith("switch.")]
        cause = {"end": "closed", "stall": "stalled"}[fault]
        assert switches == [(f"switch.{cause}", "slate is on air"), ("switch.returned", "source is on air")]


async def test_slate_is_looped_for_as_long_as_it_takes() -> None:
    """Far longer than destinations are held without; each loop begins at the keyframe, one frame after the last."""
    async with staged(Prepared(), slate="picture") as stage:
        origin, sink = await begun(stage)
        origin.end()
        await asyncio.sleep(10 * HOLD)
        connection = sink.last
        slate = [message for message in connection.frames if is_slate(message)]
        assert len(slate) > 10 * HOLD * 25 - 50
        assert steps(connection) == {40}
        numbers = [number_of(message.payload) - SLATE for message in slate]
        assert numbers == [at % 50 for at in range(len(numbers))]
        sounds = [message.at for message in connection.sounds]
        assert max(later - sooner for sooner, later in pairwise(sounds)) < 0.3
        assert "sink.left" not in stage.names()
        assert stage.seen.state is State.ACTIVE


async def test_destination_that_comes_back_gets_the_slate() -> None:
    """From its next keyframe, with its header."""
    async with staged(Prepared(), slate="picture") as stage:
        origin, sink = await begun(stage)
        origin.end()
        await stage.until(lambda: shows_slate(sink))
        sink.drop()
        await stage.until(lambda: len(sink.connections) == 2 and len(sink.last.frames) > 60)
        assert number_of(sink.last.frames[0].payload) == SLATE
        assert next(m.payload for m in sink.last.media(VIDEO) if m.payload[1] == 0) == SLATE_HEADER


async def test_picture_is_made_once_while_the_source_flows() -> None:
    """For its header and frame rate; again when they have changed, and not when it returns as it was."""
    stills = Prepared()
    async with staged(stills, slate="picture") as stage:
        origin, sink = await begun(stage, Clip(seconds=300, frame=1000 / 30).messages())
        assert stills.asked == [(AVC_HEADER, [0], 30)]
        for media in (Clip(seconds=300, frame=1000 / 30).messages(), Clip(avc_header=AVC_HEADER_720P).messages()):
            origin.end()
            await stage.until(lambda: shows_slate(sink))
            origin.media = media
            origin.resume()
            await stage.until(lambda: not shows_slate(sink))
            await asyncio.sleep(5)
        assert [(header, rate) for header, _, rate in stills.asked] == [(AVC_HEADER, 30), (AVC_HEADER_720P, 25)]


async def test_picture_is_there_for_a_source_that_was_lost_at_once() -> None:
    """Before its slate was made."""
    async with staged(Prepared(), slate="picture") as stage:
        origin, sink = await begun(stage, seconds=0.5)
        origin.end()
        await stage.until(lambda: shows_slate(sink), timeout=2)


async def test_last_is_made_of_what_was_sent_since_the_newest_keyframe() -> None:
    """Each time that the source goes."""
    stills = Prepared()
    async with staged(stills, slate="last") as stage:
        origin, sink = await begun(stage)
        assert stills.asked == []
        shown = []
        for _ in range(2):
            origin.end()
            await stage.until(lambda: shows_slate(sink))
            shown.append([number_of(one.payload) for one in sink.last.frames if not is_slate(one)][-1])
            origin.resume()
            await stage.until(lambda: not shows_slate(sink))
            await asyncio.sleep(3.3)
        assert [numbers for _, numbers, _ in stills.asked] == [
            list(range(last - last % 50, last + 1)) for last in shown
        ]


@pytest.mark.parametrize("mode", ["picture", "last"])
async def test_task_that_ends_has_no_still_made(mode: str) -> None:
    """Its source goes, but nobody is left to see a slate."""
    stills = Prepared()
    async with staged(stills, slate=mode) as stage:
        await begun(stage, seconds=1)
        await stage.engine.stop(KEY)
        await asyncio.sleep(5)
        assert stills.asked == []


async def test_group_that_is_too_large_leaves_no_last_picture() -> None:
    """It is said, and the destination is held as if there were no slate."""
    async with staged(Prepared(), slate="last") as stage:
        origin, sink = await begun(stage, Clip(seconds=300, gop=400).messages(), seconds=13)
        origin.end()
        await sink.until(lambda: sink.last.unpublished, timeout=HOLD + 5)
        told = [text for _, name, text in stage.events if name == "slate.failed"]
        assert told == ["there is no slate: the last group of pictures was too large to be kept"]


async def test_backup_comes_before_the_slate() -> None:
    """Which is shown when both are gone, and left for whichever is first."""
    async with staged(Prepared(), slate="picture") as stage:
        origin, backup, sink = await stage.origin(PRIMARY), await stage.origin(PRIMARY), await stage.sink()
        stage.engine.run(KEY, 1, plan(origin, sink, backup=backup))
        await stage.until_active()
        await asyncio.sleep(6)
        origin.end()
        await stage.until(lambda: stage.seen.on_air == "backup")
        await asyncio.sleep(2)
        assert not any(map(is_slate, sink.last.frames))
        backup.end()
        await stage.until(lambda: shows_slate(sink))
        backup.resume()
        await stage.until(lambda: stage.seen.on_air == "backup")
        await asyncio.sleep(2)
        assert not shows_slate(sink)
        assert max(steps(sink.last)) <= 41
        assert len(sink.connections) == 1


async def test_before_any_source_was_there_nothing_is_shown() -> None:
    """There is nothing that it could look like."""
    async with staged(Prepared(), slate="picture") as stage:
        gone, sink = await stage.origin(), await stage.sink()
        await gone.__aexit__()
        stage.engine.run(KEY, 1, plan(gone, sink))
        await asyncio.sleep(2 * HOLD)
        assert sink.connections == []
        assert stage.seen.state is State.INACTIVE
        assert "slate.failed" not in stage.names()


def without_silence(messages: Sequence[Message]) -> list[Message]:
    """The sound in Speex, which has no header, and of which nobody has a silent frame."""
    return [
        replace(m, payload=b"\xb6" + m.payload[1:]) if m.type == AUDIO else m
        for m in messages
        if m.type != AUDIO or audio_kind(m.payload) is not Kind.HEADER
    ]


@pytest.mark.parametrize(
    ("media", "reason"),
    [
        (Clip(seconds=300, video=False).messages(), "no pictures have been sent"),
        (without_silence(PRIMARY), "there is no silence in the codec of the sound that was sent"),
    ],
    ids=["sound alone", "speex"],
)
async def test_source_that_can_have_none_is_held_as_without(media: list[Message], reason: str) -> None:
    """The reason is in the history; the destination is never connected anew for it."""
    async with staged(Prepared(), slate="picture") as stage:
        origin, sink = await begun(stage, media)
        origin.end()
        await sink.until(lambda: sink.last.unpublished, timeout=HOLD + 5)
        told = [text for _, name, text in stage.events if name == "slate.failed"]
        assert told[-1] == f"there is no slate: {reason}"
        assert len(sink.connections) == 1
        assert "sink.left" in stage.names()


async def test_slate_that_cannot_be_made_is_said_and_the_destination_held_as_without() -> None:
    """Tried once while the source flows, and once more when it is lost."""
    stills = Prepared("FFmpeg made no still: no such encoder")
    async with staged(stills, slate="picture") as stage:
        origin, sink = await begun(stage, seconds=20)
        assert len(stills.asked) == 1
        origin.end()
        await sink.until(lambda: sink.last.unpublished, timeout=HOLD + 5)
        assert len(stills.asked) == 2
        told = {text for _, name, text in stage.events if name == "slate.failed"}
        assert told == {"there is no slate: FFmpeg made no still: no such encoder"}


@pytest.mark.parametrize(("server", "task", "shown"), [("off", "picture", True), ("picture", "off", False)])
async def test_task_may_say_otherwise_than_the_server(server: str, task: str, shown: bool) -> None:
    async with staged(Prepared(), slate=server) as stage:
        origin, sink = await stage.origin(PRIMARY), await stage.sink()
        stage.engine.run(KEY, 1, altered(plan(origin, sink), slate=task))
        await stage.until_active()
        await asyncio.sleep(5)
        origin.end()
        await asyncio.sleep(5)
        assert shows_slate(sink) is shown
