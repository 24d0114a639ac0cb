"""The RTMP chunk stream against another writer and reader, and against peers that mean harm."""

import random
import tracemalloc
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.media.packet import VIDEO
from penstock.media.rtmp import chunk
from penstock.media.rtmp.chunk import ChunkError, ChunkReader
from tests import rtmp_wire
from tests.rtmp_wire import Message, Parser, Writer

Result = list[tuple[int, int, bytes]]

CHUNK_SIZES = (1, 2, 60, 127, 128, 129, 1000, 4096, 65536, 0xFFFFFF)
#: Chunk stream ids of one, two and three bytes.
CSIDS = (2, 3, 63, 64, 319, 320, 65599)
#: Around the extended timestamp's threshold, and the wrap.
TIMES = (0, 0xFFFFFE, 0xFFFFFF, 0x1000000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
#: Not the types that the reader obeys by itself.
TYPES = (3, 4, 6, 8, 9, 15, 17, 18, 20)
SIZES = (0, 1, 4, 127, 128, 129, 300, 700)
SEEDS = st.integers(0, 2**64)


def chunk_stream(rng: random.Random) -> tuple[bytes, list[Message]]:
    """A byte stream, and the messages in it in the order in which they end.

    Each message has any header that can carry it, extended times are repeated or not, chunk streams interleaved.
    """
    writer = Writer(repeat=rng.random() < 0.5)
    csids = rng.sample(CSIDS, rng.randint(1, 4)) + rng.sample(range(3, 65600), rng.randint(0, 2))
    clocks = {csid: rng.choice(TIMES) for csid in csids}
    pieces: list[bytes] = []
    ended: list[Message] = []
    for _ in range(rng.randint(1, 4)):
        # The size may change only when no message is open: the writer cuts a whole message at once.
        size = rng.choice(CHUNK_SIZES) if rng.random() < 0.7 else rng.randint(1, 300)
        pieces += writer.chunks(Message(1, 0, size.to_bytes(4, "big"), csid=2))
        writer.chunk_size = size
        open_: dict[int, tuple[Message, list[bytes]]] = {}
        for csid in rng.choices(csids, k=rng.randint(1, 8)):
            while csid in open_ or (open_ and rng.random() < 0.2):
                chosen = rng.choice(list(open_))
                message, left = open_[chosen]
                pieces.append(left.pop(0))
                if not left:
                    ended.append(open_.pop(chosen)[0])
            clocks[csid] = (clocks[csid] + rng.choice((0, 20, 20, 20, 0xFFFFFE, 0xFFFFFF, 0x1000010))) % 2**32
            # Never a first byte that could begin an extended time by chance.
            size = rng.choice(SIZES) if rng.random() < 0.7 else rng.randint(0, 700)
            payload = bytes(rng.randrange(2, 16) * 17 for _ in range(size))
            message = Message(rng.choice(TYPES), clocks[csid], payload, csid, rng.choice((0, 1, 0x01020304)))
            fmt = rng.choice(writer.allowed(message))
            open_[csid] = message, writer.chunks(message, fmt, wide_csid=rng.random() < 0.2)
        while open_:
            chosen = rng.choice(list(open_))
            pieces.append(open_[chosen][1].pop(0))
            if not open_[chosen][1]:
                ended.append(open_.pop(chosen)[0])
    return b"".join(pieces), ended


def bare(messages: list[Message]) -> Result:
    """What the reader says of messages."""
    return [(message.type, message.timestamp, message.payload) for message in messages]


def read_in_pieces(reader: ChunkReader, data: bytes, rng: random.Random) -> Result:
    """Feed a byte stream cut anywhere."""
    found: Result = []
    at = 0
    while at < len(data):
        size = rng.choice([1, 1, 2, 5, 50, 500, 5000])
        found += reader.feed(memoryview(data)[at : at + size])
        at += size
    return found


@settings(max_examples=1000)
@given(SEEDS)
def test_whatever_another_writer_sends_is_read(seed: int) -> None:
    """All header types, chunk sizes, interleaved chunk streams, extended times repeated or not, wraps, any cuts."""
    rng = random.Random(seed)
    data, messages = chunk_stream(rng)
    reader = ChunkReader()
    assert read_in_pieces(reader, data, rng) == bare(messages)
    assert reader.received == len(data)


@settings(max_examples=500)
@given(SEEDS)
def test_another_reader_understands_what_we_write(seed: int) -> None:
    """Strictly: the extended time is repeated in every type 3 chunk, nothing is left over."""
    rng = random.Random(seed)
    size = rng.choice(CHUNK_SIZES)
    parser = Parser(size)
    messages = []
    for _ in range(rng.randint(1, 8)):
        payload = rng.randbytes(rng.choice(SIZES))
        messages.append(Message(rng.choice(TYPES), rng.choice(TIMES), payload, rng.randint(2, 63), rng.randrange(9)))
    for m in messages:
        parser.feed(chunk.message(m.csid, m.type, m.stream_id, m.timestamp, m.payload, size))
    assert parser.messages == messages
    assert parser.rest == 0


@pytest.mark.parametrize("time", [0, 0xFFFFFF - 1, 0xFFFFFF, 2**31, 2**32 - 1, 2**32, 5 * 2**32 + 7])
def test_our_own_time_is_written_modulo_32_bits(time: int) -> None:
    """The Timeline's clock only grows; 49.7 days are no border for the writer."""
    data = chunk.message(6, VIDEO, 1, time, bytes(300), 128)
    assert Parser().feed(data) == [Message(VIDEO, time % 2**32, bytes(300), 6, 1)]


def test_protocol_messages_are_written_as_the_specification_says() -> None:
    """Controls on chunk stream 2, message stream 0, time 0."""
    parser = Parser()
    parser.feed(chunk.control(chunk.ACKNOWLEDGEMENT, 0xFFFFFFFF) + chunk.user_control(chunk.SET_BUFFER_LENGTH, 1, 900))
    assert parser.messages == [
        Message(3, 0, b"\xff\xff\xff\xff", 2),
        Message(4, 0, bytes.fromhex("0003 00000001 00000384"), 2),
    ]


@settings(max_examples=100)
@given(
    st.lists(st.tuples(st.sampled_from([8, 9, 18]), st.integers(0, 5000), st.binary(max_size=50)), max_size=6),
    st.sampled_from(TIMES),
)
def test_an_aggregate_is_taken_apart(tags: list[tuple[int, int, bytes]], time: int) -> None:
    """The first tag has the message's time, the others keep their distance from it, also past the wrap."""
    first = 0xFFFFFFF0
    inner = [Message(type_, (first + at) % 2**32, payload) for type_, at, payload in tags]
    data = Writer().write(Message(22, time, rtmp_wire.aggregate(inner)))
    base = tags[0][1] if tags else 0
    assert ChunkReader().feed(data) == [(type_, (time + at - base) % 2**32, payload) for type_, at, payload in tags]


def test_an_abort_drops_an_unfinished_message_only() -> None:
    """What was begun on the aborted chunk stream never appears; what follows there does."""
    writer = Writer()
    begun = writer.chunks(Message(VIDEO, 0, bytes(300), csid=6))
    data = begun[0] + writer.write(Message(2, 0, (6).to_bytes(4, "big"), csid=2), Message(VIDEO, 40, bytes(10), csid=6))
    assert ChunkReader().feed(data) == [(VIDEO, 40, bytes(10))]


def test_the_window_that_a_peer_announces_is_known_to_the_reader() -> None:
    """Whoever reads on from here has to acknowledge accordingly."""
    reader = ChunkReader()
    reader.feed(chunk.control(chunk.WINDOW_SIZE, 2_500_000))
    assert reader.window == 2_500_000


@pytest.mark.parametrize(
    "data",
    [
        bytes([0xC3]),
        bytes([0x83]) + bytes(3),
        chunk.control(chunk.SET_CHUNK_SIZE, 0),
        Writer().chunks(Message(9, 0, bytes(300)))[0] + Writer().chunks(Message(9, 0, bytes(299)))[0],
        Writer().write(Message(22, 0, rtmp_wire.aggregate([Message(9, 0, bytes(50))])[:40])),
    ],
    ids=["type 3 first", "type 2 first", "chunk size 0", "message inside a message", "cut aggregate"],
)
def test_what_is_no_chunk_stream_is_a_chunk_error(data: bytes) -> None:
    """The peer is told apart from one that is slow."""
    with pytest.raises(ChunkError):
        ChunkReader().feed(data)


def test_a_librtmp_that_begins_with_a_type_1_header_is_read() -> None:
    """Its time counts from 0."""
    data = b"\x44" + b"\x00\x00\x28" + b"\x00\x00\x02" + bytes([VIDEO]) + b"ab"
    assert ChunkReader().feed(data) == [(VIDEO, 40, b"ab")]


# -- peers that mean harm


def test_unfinished_messages_take_no_more_than_their_bound() -> None:
    """A peer that begins big messages on many chunk streams is refused before 32 MB have gathered."""
    begun = [rtmp_wire.basic_header(0, 3 + at) + b"\0\0\0\xff\xff\xff\x09\0\0\0\0" for at in range(50)]
    continued = [rtmp_wire.basic_header(3, 3 + at) for at in range(50)]
    reader = ChunkReader()
    reader.feed(chunk.control(chunk.SET_CHUNK_SIZE, 1 << 20))
    tracemalloc.start()
    with pytest.raises(ChunkError, match="unfinished"):
        feed_all(reader, (header + bytes(1 << 20) for header in begun + continued))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2 * chunk.MAX_PENDING


def test_chunk_streams_are_limited() -> None:
    """65,597 of them could be opened with a header each."""
    header = b"\0\0\0\0\0\1\x09\0\0\0\0x"
    pieces = (rtmp_wire.basic_header(0, 3 + at) + header for at in range(chunk.MAX_CHUNK_STREAMS + 1))
    with pytest.raises(ChunkError, match="chunk streams"):
        feed_all(ChunkReader(), pieces)


def feed_all(reader: ChunkReader, pieces: Iterator[bytes]) -> None:
    """Feed one piece after the other."""
    for piece in pieces:
        reader.feed(piece)


def test_a_chunk_as_large_as_a_message_is_not_copied_again_for_every_packet() -> None:
    """What waits for the next bytes is never more than a header."""
    reader = ChunkReader()
    reader.feed(chunk.control(chunk.SET_CHUNK_SIZE, chunk.MAX_MESSAGE))
    data = chunk.message(6, VIDEO, 1, 0, bytes(100_000), chunk.MAX_MESSAGE)
    for at in range(0, len(data), 1000):
        messages = reader.feed(data[at : at + 1000])
        assert len(reader._tail) < 18
    assert messages == [(VIDEO, 0, bytes(100_000))]
