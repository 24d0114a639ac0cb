"""Relays under the engine: real sockets on loopback to peers with a codec of their own, in virtual time."""

import asyncio
import ipaddress
import random
import re
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from penstock.app import transports
from penstock.media.packet import SILENT_AAC
from penstock.media.plan import Plan, Sink, Source
from penstock.media.pump import Pump
from penstock.net import Policy
from penstock.tasks.model import Observed, State
from penstock.worker.engine import ACTIVE, Engine, EngineConfig
from tests import packets, rtmp_peer
from tests.packets import Clip, aac_header, number_of
from tests.rtmp_peer import Arrival, Connection, Origin
from tests.rtmp_wire import AUDIO, DATA, VIDEO, Message

pytestmark = pytest.mark.looptime(noop_cycles=12)

KEY = 7
HOLD = 30.0
NOW = 1_790_000_000_000
MEDIA = Clip(seconds=120).messages()


class Stage:
    """An engine that may reach loopback, and peers for it."""

    def __init__(self, resources: AsyncExitStack, **config: float) -> None:
        self._resources = resources
        self._loop = asyncio.get_running_loop()
        self._begun = self._loop.time()
        self.events: list[tuple[int, str, str]] = []
        pump = Pump(tick=0.04)
        self.engine = Engine(
            EngineConfig(sink_hold=HOLD, **config),
            pump,
            transports(Policy([ipaddress.ip_network("127.0.0.0/8")]), pump),
            clock=lambda: NOW + round((self._loop.time() - self._begun) * 1000),
            rng=random.Random(1),
            on_event=lambda *event: self.events.append(event),
        )

    async def origin(self, media: Path | Sequence[Message] = MEDIA, start: int = 0) -> Origin:
        """A source."""
        return await self._resources.enter_async_context(Origin(media, start=start))

    async def sink(self) -> rtmp_peer.Sink:
        """A destination."""
        return await self._resources.enter_async_context(rtmp_peer.Sink())

    @property
    def seen(self) -> Observed:
        """What the engine says of the task."""
        observed = self.engine.observed(KEY)
        assert observed is not None
        return observed

    async def until(self, condition: Callable[[], object], timeout: float = 60) -> None:
        """Wait until something is true."""
        async with asyncio.timeout(timeout):
            while not condition():
                await asyncio.sleep(0.05)

    async def until_active(self) -> None:
        """Wait until the task delivers."""
        await self.until(lambda: self.seen.state is State.ACTIVE)

    def has_flowed(self, times: int) -> bool:
        """Whether the source's media has begun so many times."""
        return self.names().count("source.flowing") == times

    def names(self, side: str = "") -> list[str]:
        """The names of the events."""
        return [name for _, name, _ in self.events if name.startswith(side)]


@asynccontextmanager
async def staged(**config: float) -> AsyncIterator[Stage]:
    """An engine that runs. No fixture: those run outside the virtual time."""
    async with AsyncExitStack() as resources:
        stage = Stage(resources, **config)
        await stage.engine.start()
        yield stage
        await stage.engine.close()


def plan(source: Origin | str, *sinks: rtmp_peer.Sink | str, generation: int = 0) -> Plan:
    """From a source to sinks."""
    urls = [sink if isinstance(sink, str) else sink.url for sink in sinks]
    return Plan(
        sources=(Source(id="source", url=source if isinstance(source, str) else source.url),),
        sinks=tuple(Sink(id=f"sink{at}", url=url) for at, url in enumerate(urls)),
        generation=generation,
    )


def rises(messages: Iterable[Arrival]) -> bool:
    """Whether each time is greater than the one before."""
    return all(sooner.timestamp < later.timestamp for sooner, later in pairwise(messages))


def in_order(connection: Connection) -> bool:
    """Whether DTS rises strictly per kind."""
    return rises(connection.frames) and rises(connection.sounds)


def largest_sound_step(connection: Connection) -> int:
    """In ms."""
    return max(later.timestamp - sooner.timestamp for sooner, later in pairwise(connection.sounds))


def is_silence(message: Arrival) -> bool:
    """Whether a sound is a silent frame."""
    return message.payload[2:] in SILENT_AAC.values()


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
            assert seen.at - node.progress_at <= 300
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
        monkeypatch.setattr(stage.engine._runs[1].relay, "sample", lambda: 1 / 0)
        stage.engine.run(KEY, 1, plan(origin, sink))
        await stage.until_active()


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
        assert "source: connected, but no media within 10 s" in stage.seen.error
        await stage.until(lambda: stage.seen.state is State.INACTIVE, timeout=1)


async def test_a_server_that_accepts_and_says_nothing_is_told_apart() -> None:
    """From one that refuses."""
    async with staged() as stage:
        origin, sink = await stage.origin(), await stage.sink()
        origin.mute = True
        stage.engine.run(KEY, 1, plan(origin, sink))
        await stage.until(lambda: stage.seen.error)
        assert "source: connected, but no answer within 10 s" in stage.seen.error
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
        assert re.fullmatch(
            r"2026-\d\d-\d\dT[\d:]+Z source: refused by the server: NetStream.Play.StreamNotFound, no play of \*\*\* "
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
        assert stage.names() == ["source.failed"]


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
            r"2026-\d\d-\d\dT[\d:]+Z sink: refused by the server: NetStream.Publish.BadName, no publish of \*\*\*\S* "
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
        big = [replace(m, payload=m.payload.ljust(100_000)) if m.type == VIDEO and m.payload[1] else m for m in MEDIA]
        origin, sink = await stage.origin(big[:4000]), await stage.sink()
        stage.engine.run(KEY, 1, plan(origin, sink))
        await stage.until_active()
        sink.pause()
        await stage.until(lambda: stage.seen.state is State.INACTIVE)


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


# -- another plan


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
        assert [node.id for node in stage.seen.sinks] == ["sink0", "sink1"]
        stage.engine.run(KEY, 1, plan(origin, kept))
        await new.until(lambda: new.last.unpublished)
        assert len(stage.seen.sinks) == 1


async def test_restart_begins_both_sides_anew() -> None:
    """Equal URLs, another generation."""
    async with staged() as stage:
        origin, sink = await stage.origin(), await stage.sink()
        stage.engine.run(KEY, 1, plan(origin, sink))
        await stage.until_active()
        stage.engine.run(KEY, 1, plan(origin, sink, generation=1))
        await stage.until(lambda: len(sink.connections) == 2 and sink.last.frames)
        assert sink.connections[0].unpublished
        assert origin.connections[0].closed
        assert len(origin.connections) == 2


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
