"""Relays under the engine whose sources and destinations fail, stall, refuse and change."""

import asyncio
import re
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import pytest

from penstock.media.relay import ACTIVE
from penstock.tasks.model import State
from tests import packets
from tests.packets import Clip, aac_header, number_of
from tests.rtmp_wire import AUDIO, DATA, VIDEO, Message
from tests.unit.stage import BIG, HOLD, KEY, MEDIA, in_order, is_silence, largest_sound_step, plan, staged

pytestmark = pytest.mark.looptime(noop_cycles=12)


# -- the source fails


async def test_a_source_that_comes_back_goes_on_over_the_same_connection() -> None:
    """Silence meanwhile; the picture goes on where the silence ended, and no time goes back."""
    async with staged() as stage:
        origin, sink = await stage.origin(), await stage.sink()
        stage.engine.run(KEY, 1, plan(origin, sink))
        await stage.until_active()
        await asyncio.sleep(5)
        origin.end()
        await stage.until(lambda: "source.lost" in stage.names())
        await asyncio.sleep(8)
        assert "source: " in stage.seen.error
        origin.resume()
        await stage.until(lambda: stage.has_flowed(2))
        await asyncio.sleep(5)
        assert len(sink.connections) == 1
        connection = sink.last
        assert in_order(connection)
        assert largest_sound_step(connection) <= 54
        silent = [message for message in connection.sounds if is_silence(message)]
        hole = max(later.timestamp - sooner.timestamp for sooner, later in pairwise(connection.frames))
        assert 8_000 <= hole <= 45_000
        assert abs(len(silent) * 21.33 - hole) < 1_500
        # Media time keeps up with the wall while nobody sends pictures.
        lead = [m.timestamp / 1000 - m.at for m in connection.sounds]
        assert max(lead) - min(lead) < 1.2
        assert stage.seen.error == ""


@pytest.mark.parametrize("close", [True, False], ids=["closed", "kept open"])
async def test_a_publisher_that_leaves_is_noticed_at_once(close: bool) -> None:
    """Servers say so, whether they close the player's connection or not."""
    async with staged() as stage:
        origin, sink = await stage.origin(), await stage.sink()
        stage.engine.run(KEY, 1, plan(origin, sink))
        await stage.until_active()
        origin.end(close=close)
        await asyncio.sleep(0.2)
        assert any(name == "source.lost" and "the publisher has left" in text for _, name, text in stage.events)


async def test_a_source_that_is_reset_is_noticed_at_once() -> None:
    """With the reason that the system gives."""
    async with staged() as stage:
        origin, sink = await stage.origin(), await stage.sink()
        stage.engine.run(KEY, 1, plan(origin, sink))
        await stage.until_active()
        origin.drop()
        await stage.until(lambda: stage.has_flowed(2), timeout=3)
        assert "connection reset by peer" in next(text for _, name, text in stage.events if name == "source.lost")
        assert len(sink.connections) == 1


async def test_a_new_source_that_stays_connected_and_silent_is_found() -> None:
    """After 3 s without media, while its rhythm is not known; then it is connected anew."""
    await silent_source_is_found(known=0, limit=3)


async def test_a_steady_source_that_falls_silent_is_found_sooner() -> None:
    """Once its rhythm is known, half a second is enough."""
    await silent_source_is_found(known=6, limit=0.5)


async def silent_source_is_found(known: float, limit: float) -> None:
    """Let a source flow for `known` seconds, then fall silent: it is given up after `limit`, and connected anew."""
    async with staged() as stage:
        origin, sink = await stage.origin(), await stage.sink()
        stage.engine.run(KEY, 1, plan(origin, sink))
        await stage.until_active()
        await asyncio.sleep(known)
        stalled = asyncio.get_running_loop().time()
        origin.stall()
        await stage.until(lambda: "source.lost" in stage.names())
        assert limit <= asyncio.get_running_loop().time() - stalled <= limit + 0.5
        assert f"no media for {limit:g} s" in stage.seen.error
        origin.resume()
        await stage.until(lambda: stage.has_flowed(2))
        await asyncio.sleep(2)
        assert len(sink.connections) == 1
        assert in_order(sink.last)


async def test_a_source_that_never_sends_anything_is_found() -> None:
    """It has 10 s for its first media."""
    async with staged() as stage:
        origin, sink = await stage.origin(), await stage.sink()
        origin.stall()
        stage.engine.run(KEY, 1, plan(origin, sink))
        await stage.until(lambda: stage.seen.error)
        assert "source: connected, no media yet (rtmp://" in stage.seen.error
        await stage.until(lambda: "source: connected, but no media within 10 s" in stage.seen.error)
        await stage.until(lambda: stage.seen.state is State.INACTIVE, timeout=1)


async def test_a_server_that_accepts_and_says_nothing_is_told_apart() -> None:
    """From one that refuses."""
    async with staged() as stage:
        origin, sink = await stage.origin(), await stage.sink()
        origin.mute = True
        stage.engine.run(KEY, 1, plan(origin, sink))
        await stage.until(lambda: stage.seen.error)
        assert "source: still connecting (rtmp://" in stage.seen.error
        await stage.until(lambda: "source: connected, but no answer within 10 s" in stage.seen.error)
        assert sink.connections == []


async def test_without_a_source_the_destination_is_held_and_then_let_go() -> None:
    """For the time of `sink.hold`; then it is told, and the task is inactive for the source's reason."""
    async with staged() as stage:
        origin, sink = await stage.origin(), await stage.sink()
        stage.engine.run(KEY, 1, plan(origin, sink))
        await stage.until_active()
        lost = asyncio.get_running_loop().time()
        origin.end()
        await asyncio.sleep(HOLD - 2)
        assert not sink.last.unpublished
        assert stage.seen.state is State.ACTIVE
        await sink.until(lambda: sink.last.unpublished)
        assert HOLD <= asyncio.get_running_loop().time() - lost <= HOLD + 1
        await asyncio.sleep(ACTIVE + 1)
        seen = stage.seen
        assert seen.state is State.INACTIVE
        assert seen.sinks[0].state == "idle"
        left = [text for _, name, text in stage.events if name == "sink.left"]
        assert left == [f"no source for {HOLD:g} s: the destination is left until there is one"]
        assert re.fullmatch(
            r"2026-\d\d-\d\dT[\d:]+Z source: refused by the server, no such stream: "
            r"NetStream.Play.StreamNotFound, no play of \*\*\* "
            r"\(rtmp://127.0.0.1:\d+/live/\*\*\*\), retry \d+ (in \d+ s|under way)",
            seen.error,
        )

        origin.resume()
        await stage.until_active()
        assert len(sink.connections) == 2
        assert seen.error
        assert stage.seen.error == ""
        await asyncio.sleep(2)
        assert in_order(sink.last)


async def test_a_source_whose_keyframe_comes_after_the_hold_still_reaches_the_destination() -> None:
    """The destination was let go while the source was connected already."""
    async with staged() as stage:
        origin, sink = await stage.origin(), await stage.sink()
        stage.engine.run(KEY, 1, plan(origin, sink))
        await stage.until_active()
        origin.end()
        # Sound and pictures, but no keyframe for 35 s.
        origin.media = [
            replace(m, payload=b"\x27" + m.payload[1:])
            if m.type == VIDEO and m.payload[1] and m.timestamp < 35_000
            else m
            for m in MEDIA
        ]
        origin.resume()
        await sink.until(lambda: sink.last.unpublished, timeout=40)
        await stage.until(lambda: len(sink.connections) == 2 and sink.last.frames, timeout=60)
        assert sink.last.frames[0].payload[0] >> 4 == 1


async def test_a_source_that_was_never_there_leaves_the_destination_alone() -> None:
    """Nobody publishes nothing."""
    async with staged() as stage:
        sink = await stage.sink()
        gone = await stage.origin()
        await gone.__aexit__()
        stage.engine.run(KEY, 1, plan(gone, sink))
        await stage.until(lambda: stage.seen.error)
        assert "source: connection refused" in stage.seen.error
        await asyncio.sleep(60)
        assert sink.connections == []
        assert stage.seen.state is State.INACTIVE
        assert set(stage.names()) == {"source.failed"}


async def test_a_clock_that_passes_32_bits_is_no_event() -> None:
    """49.7 days of a source's time."""
    async with staged() as stage:
        origin, sink = await stage.origin(start=2**32 - 5000), await stage.sink()
        stage.engine.run(KEY, 1, plan(origin, sink))
        await stage.until_active()
        await asyncio.sleep(10)
        assert in_order(sink.last)
        assert {later.timestamp - sooner.timestamp for sooner, later in pairwise(sink.last.frames)} == {40}
        assert 9_000 < stage.seen.sinks[0].media_ms < 12_000


# -- the destination fails


async def test_a_destination_that_refuses_is_told_without_the_stream_key() -> None:
    """When, which side, what, where, what next."""
    async with staged() as stage:
        origin, sink = await stage.origin(), await stage.sink()
        sink.path = "live/secretkey"
        sink.refuse = "NetStream.Publish.BadName"
        stage.engine.run(KEY, 1, plan(origin, f"{sink.url}?txSecret=abcdef"))
        await stage.until(lambda: stage.seen.error)
        assert re.fullmatch(
            r"2026-\d\d-\d\dT[\d:]+Z sink: refused by the server, the stream name is in use or not allowed: "
            r"NetStream.Publish.BadName, no publish of \*\*\*\S* "
            r"\(rtmp://127.0.0.1:\d+/live/\*\*\*\?txSecret=\*\*\*\), retry \d+ (in \d+ s|under way)",
            stage.seen.error,
        )
        told = stage.seen.error + "".join(text for _, _, text in stage.events) + str(stage.seen)
        assert "secretkey" not in told
        assert "abcdef" not in told
        await stage.until(lambda: stage.seen.state is State.INACTIVE, timeout=1)
        sink.refuse = ""
        await stage.until_active()
        assert stage.seen.error == ""


async def test_a_destination_that_drops_us_is_connected_anew_and_the_source_is_not() -> None:
    """It begins with headers and a keyframe again."""
    async with staged() as stage:
        origin, sink = await stage.origin(), await stage.sink()
        stage.engine.run(KEY, 1, plan(origin, sink))
        await stage.until_active()
        await asyncio.sleep(3)
        sink.drop()
        await stage.until(lambda: len(sink.connections) == 2 and len(sink.last.frames) > 30)
        assert len(origin.connections) == 1
        assert [message.type for message in sink.last.messages[:4]] == [DATA, VIDEO, AUDIO, VIDEO]
        assert sink.last.frames[0].payload[0] >> 4 == 1
        assert "sink.lost" in stage.names()


async def test_a_slow_destination_loses_pictures_and_another_gets_them_all() -> None:
    """Up to a keyframe, and counted; the slow one comes back by itself."""
    async with staged() as stage:
        big = [
            replace(m, payload=m.payload.ljust(30_000)) if m.type == VIDEO and m.payload[1] else m
            for m in MEDIA[:8_000]
        ]
        origin, slow, quick = await stage.origin(big), await stage.sink(), await stage.sink()
        stage.engine.run(KEY, 1, plan(origin, slow, quick))
        await stage.until_active()
        await stage.until(lambda: slow.connections and slow.last.frames)
        slow.pause()
        await stage.until(lambda: stage.seen.sinks[0].dropped > 200, timeout=100)
        assert stage.seen.state is State.ACTIVE
        slow.resume()
        dropped = stage.seen.sinks[0].dropped
        await stage.until(lambda: stage.seen.sinks[0].video > len(quick.last.frames) // 2, timeout=100)
        await asyncio.sleep(3)
        numbers = [number_of(message.payload) for message in quick.last.frames]
        assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
        numbers = [number_of(message.payload) for message in slow.last.frames]
        gaps = [later for sooner, later in pairwise(numbers) if later != sooner + 1]
        assert gaps
        assert all(number % 25 == 0 for number in gaps)
        assert stage.seen.sinks[0].dropped >= dropped > 200
        assert stage.seen.sinks[1].dropped == 0


async def test_a_destination_that_takes_no_bytes_is_not_called_active() -> None:
    """Its socket is full: within seconds the task says so."""
    async with staged() as stage:
        origin, sink = await stage.origin(BIG), await stage.sink()
        stage.engine.run(KEY, 1, plan(origin, sink))
        await stage.until_active()
        sink.pause()
        await stage.until(lambda: stage.seen.state is State.INACTIVE)
        await stage.until(lambda: "sink: takes nothing any more (rtmp://" in stage.seen.error)


async def test_a_destination_that_accepts_and_says_nothing_is_told_apart() -> None:
    """From one that refuses, and from one that takes bytes."""
    async with staged() as stage:
        origin, sink = await stage.origin(), await stage.sink()
        sink.mute = True
        stage.engine.run(KEY, 1, plan(origin, sink))
        await stage.until(lambda: stage.seen.error)
        assert "sink: still connecting (rtmp://" in stage.seen.error
        await stage.until(lambda: "sink: connected, but no answer within 10 s" in stage.seen.error)
        assert (stage.seen.state, stage.seen.sinks[0].bytes) == (State.INACTIVE, 0)
        sink.mute = False
        await stage.until_active()
        assert stage.seen.error == ""


async def test_a_destination_that_does_not_take_our_goodbye_is_let_go_before_another_run_may_begin() -> None:
    """What is queued for it does not follow when it reads on: by then somebody else may publish there."""
    async with staged() as stage:
        origin, sink = await stage.origin(BIG), await stage.sink()
        stage.engine.run(KEY, 1, plan(origin, sink))
        await stage.until_active()
        sink.pause()
        await stage.until(lambda: stage.seen.state is State.INACTIVE)
        await stage.engine.stop(KEY)
        sink.resume()
        await sink.until(lambda: sink.last.closed)
        assert not sink.last.unpublished


async def test_a_destination_is_measured_although_the_one_before_it_says_goodbye_late() -> None:
    """Both are the same node of the plan."""
    async with staged() as stage:
        origin, slow, other = await stage.origin(BIG), await stage.sink(), await stage.sink()
        stage.engine.run(KEY, 1, plan(origin, slow))
        await stage.until_active()
        slow.pause()
        await stage.until(lambda: stage.seen.state is State.INACTIVE)
        stage.engine.run(KEY, 1, plan(origin, other))
        await stage.until(lambda: slow.last.closed or (other.connections and len(other.last.frames) > 100))
        await asyncio.sleep(3.5)
        assert (stage.seen.state, stage.seen.sinks[0].state) == (State.ACTIVE, "flowing")


# -- what cannot follow on the same connection


def as_hevc(messages: Sequence[Message]) -> list[Message]:
    """The pictures in another codec."""
    changed = []
    for m in messages:
        if m.type == VIDEO:
            payload = packets.HEVC_HEADER if m.payload[1] == 0 else bytes([m.payload[0] & 0xF0 | 12]) + m.payload[1:]
            m = replace(m, payload=payload)  # noqa: PLW2901
        changed.append(m)
    return changed


@pytest.mark.parametrize(
    ("media", "headers"),
    [
        (as_hevc(Clip(seconds=30).messages()), [packets.HEVC_HEADER, aac_header()]),
        (Clip(seconds=30, rate=44100).messages(), [packets.AVC_HEADER, aac_header(44100)]),
        (as_hevc(Clip(seconds=30, channels=1).messages()), [packets.HEVC_HEADER, aac_header(channels=1)]),
    ],
    ids=["codec", "sample rate", "both"],
)
async def test_a_source_with_another_codec_is_one_reconnect_of_the_destination(
    media: list[Message], headers: list[bytes]
) -> None:
    """The old connection never sees the new header, the new one never the old."""
    async with staged() as stage:
        origin, sink = await stage.origin(), await stage.sink()
        stage.engine.run(KEY, 1, plan(origin, sink))
        await stage.until_active()
        origin.end()
        origin.media = media
        await asyncio.sleep(1)
        origin.resume()
        await stage.until(lambda: len(sink.connections) == 2 and len(sink.last.frames) > 50)
        await asyncio.sleep(5)
        first, second = sink.connections
        assert first.unpublished
        assert [m.payload for m in first.messages if m.type != DATA and m.payload[1] == 0] == [
            packets.AVC_HEADER,
            aac_header(),
        ]
        assert [m.payload for m in second.messages if m.type != DATA and m.payload[1] == 0] == headers
        assert second.frames[0].payload[0] >> 4 == 1
        assert stage.names("sink").count("sink.reconnect") == 1
        assert "sink.failed" not in stage.names()
        assert in_order(second)
