"""The fast lane is a shortcut, nothing else: receivers get the same messages with and without it."""

import random
from dataclasses import replace
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.media.flv import FlvChunks
from penstock.media.framing import rtmp_publish
from penstock.media.lane import MIN_CHUNK_SIZE, Lane
from penstock.media.meter import Meter
from penstock.media.packet import AUDIO, DATA, VIDEO, kind_of
from penstock.media.pump import Flushable
from penstock.media.rtmp.chunk import OUT_CHUNK_SIZE, SET_CHUNK_SIZE, ChunkReader
from penstock.media.rtmp.chunk import Message as Read
from penstock.media.stream import Stream
from penstock.media.timeline import Timeline
from tests.packets import Clip
from tests.rtmp_wire import Message, Parser, Writer, cut, flv_file


class Wire:
    """The receiving end of a connection that takes everything at once."""

    queued = 0

    def __init__(self) -> None:
        self.parser = Parser(OUT_CHUNK_SIZE)

    def send(self, data: bytes) -> None:
        """Parse what is sent, strictly."""
        self.parser.feed(data)

    @property
    def media(self) -> list[tuple[int, int, bytes]]:
        """All that a receiver cares for."""
        return [(m.type, m.timestamp, m.payload) for m in self.parser.messages if m.type != SET_CHUNK_SIZE]


class Relay:
    """A source's bytes on their way to receivers, ticked by hand, with or without the lane; by RTMP, or as FLV."""

    def __init__(self, *, fast: bool, flv: bool = False) -> None:
        self._dirty: list[Flushable] = []
        self.stream = Stream(self)  # type: ignore[arg-type]
        self.timeline = Timeline(self.stream.push)
        self.source, self.sink = Meter(), Meter()
        self.fast, self.flv = fast, flv
        self.taken = 0
        self.connect()

    def dirty(self, stream: Flushable) -> None:
        """As the pump's."""
        self._dirty.append(stream)

    def connect(self) -> None:
        """A new connection of the source."""
        self.reader = FlvChunks() if self.flv else ChunkReader()
        self.timeline.switch()
        lane = Lane(self.reader, self.timeline, self.stream, self.source, open_=lambda: True, progressed=lambda: None)
        self.shortcut = lane.run if self.fast else None

    def join(self) -> Wire:
        """One more receiver."""
        wire = Wire()
        self.stream.add(wire, rtmp_publish(1), self.sink)  # type: ignore[arg-type]
        return wire

    def tick(self, data: bytes) -> None:
        """Take in what has arrived, send on what came of it."""
        self.reader.read(data, self._take, self.shortcut)
        for stream in self._dirty:
            stream.flush()
        self._dirty.clear()

    def _take(self, message: Read) -> None:
        type_, timestamp, payload = message
        self.taken += 1
        if type_ in (AUDIO, VIDEO, DATA):
            kind = kind_of(type_, payload)
            self.source.count(type_, timestamp, payload, kind)
            self.timeline.push(type_, timestamp, payload, kind)


def a_source(rng: random.Random) -> list[Message]:
    """A source with all that may happen to one: sizes, clocks that jump, wrap or part, holes, control in between."""
    clip = Clip(
        seconds=rng.uniform(1, 4),
        frame=rng.choice([40, 1000 / 30, 20]),
        gop=rng.choice([5, 25]),
        b_frames=rng.randrange(3),
        rate=rng.choice([48000, 44100]),
        start=rng.choice([0, 7000, 0xFFFFFF - 900, 2**32 - 900]),
    )
    same = rng.random() < 0.5
    trouble = rng.choice([0, 0, 0.01, 0.1])
    messages = []
    shift = {DATA: 0, VIDEO: 0, AUDIO: 0}
    for message in clip.messages():
        csid = {DATA: 5, VIDEO: 6, AUDIO: 6 if same else 4}[message.type]
        payload = message.payload
        if len(payload) > 5 and payload[1] == 1:
            payload += rng.randbytes(rng.choice([0, 10, 3000, 9000]))
        if rng.random() < trouble:
            step = rng.choice([-5000, -30, 1, 15, 60, 2500, 3_600_000])
            for kind in rng.choice([[VIDEO, AUDIO], [VIDEO], [AUDIO]]):
                shift[kind] += step
        if rng.random() < trouble:
            messages.append(Message(rng.choice([3, 4, 20]), 0, b"\2\0\1x", csid=2))
        if rng.random() >= trouble / 2:
            time = (message.timestamp + shift[message.type]) % 2**32
            messages.append(replace(message, timestamp=time, payload=payload, csid=csid))
    return messages


def pieces(data: bytes, rng: random.Random) -> list[bytes]:
    """The bytes as they might arrive, tick by tick."""
    cut = []
    while data:
        size = rng.choice([1, 100, 5000, 20_000, 100_000])
        cut.append(data[:size])
        data = data[size:]
    return cut


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 2**32))
def test_receivers_get_the_same_with_and_without_it(seed: int) -> None:
    """Time for time and byte for byte, a receiver from the beginning and one that joins later; so are the counts."""
    rng = random.Random(seed)
    chunk_size = rng.choice([128, MIN_CHUNK_SIZE, 5000, OUT_CHUNK_SIZE])
    absolute = rng.random() < 0.5
    played = [a_source(rng) for _ in range(rng.randint(1, 2))]
    results = []
    ticks = [pieces(written(source, chunk_size, absolute, rng), rng) for source in played]
    late = rng.randrange(sum(map(len, ticks)))
    for fast in (False, True):
        relay, number = Relay(fast=fast), 0
        wires = [relay.join()]
        for connection in ticks:
            relay.connect()
            for data in connection:
                if number == late:
                    wires.append(relay.join())
                relay.tick(data)
                number += 1
        counts = [(m.video, m.audio, m.keyframes) for m in (relay.source, relay.sink)]
        results.append(([wire.media for wire in wires], counts, relay.timeline.end))

    assert results[0] == results[1]


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32))
def test_receivers_get_the_same_of_flv(seed: int) -> None:
    """As a child or a server sends it."""
    rng = random.Random(seed)
    source = [message for message in a_source(rng) if message.type in (AUDIO, VIDEO, DATA)]
    ticks = pieces(flv_file(source), rng)
    results = []
    for fast in (False, True):
        relay = Relay(fast=fast, flv=True)
        wire = relay.join()
        for data in ticks:
            relay.tick(data)
        results.append((wire.media, relay.source.video, relay.sink.audio, relay.timeline.end))
    assert results[0] == results[1]


def written(source: list[Message], chunk_size: int, absolute: bool, rng: random.Random) -> bytes:
    """A source's bytes: headers of type 0 alone, as our hub's, or short ones; now and then chunks are interleaved."""
    writer = Writer()
    announced = writer.write(Message(SET_CHUNK_SIZE, 0, chunk_size.to_bytes(4, "big"), csid=2))
    writer.chunk_size = chunk_size
    chunks = [writer.chunks(message, 0 if absolute else min(writer.allowed(message)[-1], 1)) for message in source]
    for at, (message, following) in enumerate(pairwise(source)):
        if len(chunks[at]) > 1 and message.csid != following.csid and rng.random() < 0.1:
            chunks[at][1:1], chunks[at + 1] = chunks[at + 1], []
    return announced + b"".join(chunk for message in chunks for chunk in message)


def test_steady_flow_takes_it() -> None:
    """Of a plain source nearly every message goes the short way: else it would not be worth having."""
    relay = Relay(fast=True)
    wire = relay.join()
    source = Clip(seconds=4, b_frames=2).messages()

    for message in (replace(message, csid={DATA: 5, VIDEO: 6, AUDIO: 4}[message.type]) for message in source):
        relay.tick(written([message], MIN_CHUNK_SIZE, True, random.Random(1)))

    assert relay.taken < 0.05 * len(source)
    assert len(wire.media) >= len(source) - 5


def test_steady_flow_of_flv_takes_it() -> None:
    """The same of a child's."""
    relay = Relay(fast=True, flv=True)
    wire = relay.join()
    source = Clip(seconds=4, b_frames=2).messages()

    for data in cut(flv_file(source), 100):
        relay.tick(data)

    assert relay.taken < 0.05 * len(source)
    assert len(wire.media) >= len(source) - 5
