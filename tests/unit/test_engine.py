"""Relays under the engine: the plain run, stopping, and other plans while it runs."""

import asyncio
from dataclasses import replace

import msgspec
import pytest

from penstock.tasks.model import State
from tests import packets
from tests.packets import Clip, aac_header, number_of
from tests.rtmp_wire import AUDIO, DATA, VIDEO
from tests.unit.stage import KEY, MEDIA, in_order, largest_sound_step, plan, staged

pytestmark = pytest.mark.looptime(noop_cycles=12)


# -- the plain run


async def test_media_flows_from_the_source_to_the_destination() -> None:
    """Metadata and headers first, then everything from the first keyframe on, in real time."""
    async with staged() as stage:
        origin, sink = await stage.origin(Clip(seconds=20, b_frames=2).messages()), await stage.sink()
        stage.engine.run(KEY, 1, plan(origin, sink))
        assert stage.seen.state is State.STARTING
        await stage.until_active()
        await asyncio.sleep(10)
        connection = sink.last
        assert (connection.app, connection.name, connection.verb) == ("live", "test", "publish")
        assert [message.type for message in connection.messages[:4]] == [DATA, VIDEO, AUDIO, VIDEO]
        assert [message.payload for message in connection.messages[1:3]] == [packets.AVC_HEADER, aac_header()]
        numbers = [number_of(message.payload) for message in connection.frames]
        assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
        assert numbers[0] % 25 == 0
        assert len(numbers) > 200
        assert in_order(connection)
        late = [message.at - message.timestamp / 1000 for message in connection.frames]
        assert max(late) - min(late) < 0.1


async def test_what_is_observed_is_what_the_destination_got() -> None:
    """Counters, rates, codecs; and no error."""
    async with staged() as stage:
        origin, sink = await stage.origin(), await stage.sink()
        stage.engine.run(KEY, 3, plan(origin, sink))
        await stage.until_active()
        await asyncio.sleep(10)
        seen = stage.seen
        assert (seen.key, seen.epoch, seen.state, seen.on_air, seen.error) == (KEY, 3, State.ACTIVE, "source", "")
        assert stage.engine.running() == {KEY: 3}
        assert stage.engine.snapshot() == [seen]
        source, out = seen.sources[0], seen.sinks[0]
        for node in (source, out):
            assert (node.state, node.attempts, node.error, node.dropped) == ("flowing", 1, "", 0)
            assert (node.video_codec, node.audio_codec) == ("h264", "aac")
            assert node.progress_at is not None
            assert seen.at - node.progress_at <= 550
            assert 9_000 <= node.media_ms <= 11_500
        frames, sounds = sink.last.frames, sink.last.sounds
        assert 0 <= out.video - len(frames) <= 2
        assert 0 <= out.audio - len(sounds) <= 4
        keys = [message for message in frames if message.payload[0] >> 4 == 1]
        assert 0 <= out.keyframes - len(keys) <= 1
        size = sum(len(message.payload) for message in frames + sounds)
        assert size < out.bytes < size * 2
        assert 0.5 < out.bitrate / (size * 8 / 10) < 2.5
        assert out.url.endswith("/live/***")


async def test_a_player_acknowledges_what_it_takes() -> None:
    """Servers that count would stop sending."""
    async with staged() as stage:
        big = [
            replace(m, payload=m.payload.ljust(40_000)) if m.type == VIDEO and m.payload[1] else m for m in MEDIA[:3000]
        ]
        origin, sink = await stage.origin(big), await stage.sink()
        stage.engine.run(KEY, 1, plan(origin, sink))
        await origin.until(lambda: origin.connections and any(m.type == 3 for m in origin.connections[0].controls))


async def test_stopping_says_goodbye_and_others_go_on() -> None:
    """The destination is told that the stream is over; the task is forgotten."""
    async with staged() as stage:
        origin, sink, other = await stage.origin(), await stage.sink(), await stage.sink()
        stage.engine.run(KEY, 1, plan(origin, sink))
        stage.engine.run(8, 1, plan(origin, other))
        await stage.until_active()
        await other.until(lambda: other.connections and other.last.frames)
        await stage.engine.stop(KEY)
        assert sink.last.unpublished
        await sink.until(lambda: sink.last.closed)
        assert [command[0] for command in sink.last.commands[-2:]] == ["FCUnpublish", "deleteStream"]
        assert dict(stage.engine.running()) == {8: 1}
        assert stage.engine.observed(KEY) is None
        count = len(other.last.frames)
        await other.until(lambda: len(other.last.frames) > count + 50)
        await stage.engine.stop(KEY)


async def test_closing_the_engine_ends_every_task_in_order() -> None:
    """All destinations are told."""
    async with staged() as stage:
        origin, sinks = await stage.origin(), [await stage.sink() for _ in range(3)]
        for key, sink in enumerate(sinks):
            stage.engine.run(key, 1, plan(origin, sink))
        for sink in sinks:
            await sink.until(lambda sink=sink: sink.connections and sink.last.frames)  # type: ignore[misc]
        await stage.engine.close()
        for sink in sinks:
            await sink.until(lambda sink=sink: sink.last.closed)  # type: ignore[misc]
            assert sink.last.unpublished


async def test_a_defect_in_one_task_does_not_stop_the_measuring_of_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """Their states stay true."""
    async with staged() as stage:
        origin, sink = await stage.origin(), await stage.sink()
        stage.engine.run(1, 1, plan(origin, sink))
        monkeypatch.setattr(stage.engine._runs[1].work, "sample", lambda: 1 / 0)
        stage.engine.run(KEY, 1, plan(origin, sink))
        await stage.until_active()


# -- another plan


async def test_a_ticket_goes_to_the_hub_and_is_shown_to_nobody() -> None:
    """Neither as part of the address nor when the destination refuses."""
    async with staged() as stage:
        origin, sink = await stage.origin(), await stage.sink()
        wanted = plan(origin, sink)
        (ours,) = wanted.sinks
        wanted = msgspec.structs.replace(wanted, sinks=(msgspec.structs.replace(ours, ticket="penstockTicket=1.2.3"),))
        sink.refuse = "NetStream.Publish.Denied"
        stage.engine.run(KEY, 1, wanted)
        await stage.until(lambda: "refused" in stage.seen.error)
        assert sink.last.name == "test?penstockTicket=1.2.3"
        assert "Ticket" not in str((stage.seen, stage.events))
        sink.refuse = ""
        await stage.until_active()
        assert stage.seen.sinks[0].url == f"rtmp://127.0.0.1:{sink.port}/live/***"


async def test_an_equal_plan_changes_nothing() -> None:
    """But the epoch."""
    async with staged() as stage:
        origin, sink = await stage.origin(), await stage.sink()
        stage.engine.run(KEY, 1, plan(origin, sink))
        await stage.until_active()
        stage.engine.run(KEY, 2, plan(origin, sink))
        await asyncio.sleep(3)
        assert (len(origin.connections), len(sink.connections)) == (1, 1)
        assert stage.seen.epoch == 2


async def test_another_source_keeps_the_destination() -> None:
    """The old source is left."""
    async with staged() as stage:
        origin, other, sink = await stage.origin(), await stage.origin(), await stage.sink()
        stage.engine.run(KEY, 1, plan(origin, sink))
        await stage.until_active()
        await asyncio.sleep(2)
        stage.engine.run(KEY, 1, plan(other, sink))
        await origin.until(lambda: origin.connections[0].closed)
        await asyncio.sleep(3)
        assert len(other.connections) == len(sink.connections) == 1
        assert in_order(sink.last)
        assert largest_sound_step(sink.last) <= 54
        assert stage.seen.sources[0].state == "flowing"


async def test_another_destination_keeps_the_source() -> None:
    """The old destination is told goodbye, one that stays is not touched, one that is new joins."""
    async with staged() as stage:
        origin, kept, left, new = await stage.origin(), await stage.sink(), await stage.sink(), await stage.sink()
        stage.engine.run(KEY, 1, plan(origin, kept, left))
        await stage.until_active()
        await left.until(lambda: left.connections and left.last.frames)
        stage.engine.run(KEY, 1, plan(origin, kept, new))
        await left.until(lambda: left.last.unpublished and left.last.closed)
        await new.until(lambda: new.connections and len(new.last.frames) > 30)
        assert len(origin.connections) == len(kept.connections) == 1
        assert not kept.last.closed
        assert [node.id for node in stage.seen.sinks] == ["sink", "sink.backup"]
        stage.engine.run(KEY, 1, plan(origin, kept))
        await new.until(lambda: new.last.unpublished)
        assert len(stage.seen.sinks) == 1


async def test_restart_begins_both_sides_anew() -> None:
    """Equal URLs, another generation: the destination is left in order first, and the clock begins at 0."""
    async with staged() as stage:
        origin, sink = await stage.origin(), await stage.sink()
        stage.engine.run(KEY, 1, plan(origin, sink))
        await stage.until_active()
        await asyncio.sleep(10)
        stage.engine.run(KEY, 1, plan(origin, sink, generation=1))
        assert stage.seen.state is State.STARTING
        await stage.until(lambda: len(sink.connections) == 2 and sink.last.frames)
        assert sink.connections[0].unpublished
        assert origin.connections[0].closed
        assert len(origin.connections) == 2
        assert sink.last.frames[0].timestamp < 1000
        await stage.until_active()
        assert stage.seen.sinks[0].media_ms < 5000


async def test_what_is_asked_while_a_restart_closes_is_done() -> None:
    """Another destination at once, or the end of the task."""
    async with staged() as stage:
        origin, sink, other = await stage.origin(), await stage.sink(), await stage.sink()
        stage.engine.run(KEY, 1, plan(origin, sink))
        await stage.until_active()
        stage.engine.run(KEY, 1, plan(origin, sink, generation=1))
        stage.engine.run(KEY, 2, plan(origin, other, generation=1))
        await other.until(lambda: other.connections and other.last.frames)
        assert (len(sink.connections), dict(stage.engine.running())) == (1, {KEY: 2})
        stage.engine.run(KEY, 2, plan(origin, other, generation=2))
        await stage.engine.stop(KEY)
        await asyncio.sleep(5)
        assert (len(other.connections), stage.engine.observed(KEY)) == (1, None)


async def test_an_address_that_the_policy_forbids_is_not_connected_to() -> None:
    """The reason names the setting."""
    async with staged() as stage:
        sink = await stage.sink()
        stage.engine.run(KEY, 1, plan("rtmp://169.254.169.254/live/x", sink))
        await stage.until(lambda: stage.seen.error)
        assert (
            "source: address 169.254.169.254 is not public; the setting network.allow can permit it" in stage.seen.error
        )


async def test_a_sink_is_connected_anew_before_its_clock_has_run_too_long() -> None:
    """Once, as an event, with times that begin near 0; no picture is lost but those up to the next keyframe."""
    async with staged(sink_span=10.0) as stage:
        origin, sink = await stage.origin(), await stage.sink()
        stage.engine.run(KEY, 1, plan(origin, sink))
        await stage.until(lambda: len(sink.connections) == 2 and len(sink.last.frames) > 50)

        first, second = sink.connections
        assert stage.names("sink").count("sink.reconnect") == 1
        assert first.unpublished
        assert 9_900 <= first.frames[-1].timestamp <= 11_000
        assert second.frames[0].timestamp <= 2000
        assert number_of(second.frames[0].payload) - number_of(first.frames[-1].payload) <= 26
        assert in_order(first)
        assert in_order(second)
