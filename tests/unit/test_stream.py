"""A stream and its receivers on real sockets: who joins where, who loses what, and what is counted."""

from collections.abc import AsyncIterator, Iterable

import pytest

from penstock.media import framing
from penstock.media.framing import rtmp_play, rtmp_publish
from penstock.media.meter import Meter
from penstock.media.packet import Kind, kind_of
from penstock.media.pump import QUEUE_LIMIT
from penstock.media.stream import GOP_SPAN, Receiver, Stream
from tests import packets
from tests.packets import AVC_HEADER, Clip, aac_header, number_of
from tests.rtmp_wire import AUDIO, DATA, VIDEO, Message, amf, flv_tags
from tests.unit.wires import Peer, Wires

CHUNK_SIZE = Message(1, 0, (65536).to_bytes(4, "big"), csid=2)


@pytest.fixture
async def wires() -> AsyncIterator[Wires]:
    """A pump that is served by hand."""
    with Wires() as wires:
        yield wires


def push(stream: Stream, messages: Iterable[Message]) -> None:
    """Let a stream take messages in, as in one tick."""
    for message in messages:
        stream.push(message.type, message.timestamp, message.payload, kind_of(message.type, message.payload))


def join(stream: Stream, peer: Peer, framed: framing.Framing = rtmp_play) -> Receiver:
    """Let a peer take the stream; it is told the chunk size, as in the command phase."""
    peer.parser.chunk_size = 65536
    return stream.add(peer.connection, framed, Meter())


def media(messages: Iterable[Message]) -> list[tuple[int, int, bytes]]:
    """Audio, video and data."""
    return [(m.type, m.timestamp, m.payload) for m in messages if m.type in (AUDIO, VIDEO, DATA)]


def pictures(messages: Iterable[Message]) -> list[int]:
    """The numbers of the pictures."""
    return [number_of(m.payload) for m in messages if m.type == VIDEO and m.payload[1] == 1]


# -- joining


async def test_a_receiver_joins_at_a_keyframe_and_gets_the_headers_first(wires: Wires) -> None:
    """All with the keyframe's time: metadata, video header, audio header, then everything."""
    stream, peer = Stream(wires.pump), wires.peer()
    clip = Clip(seconds=3)
    messages = clip.messages()
    push(stream, messages[:20])
    join(stream, peer)
    push(stream, messages[20:])
    stream.flush()
    key = next(at for at, m in enumerate(messages) if m.timestamp == 1000 and m.type == VIDEO)
    expected = [
        (DATA, 1000, messages[0].payload),
        (VIDEO, 1000, AVC_HEADER),
        (AUDIO, 1000, aac_header()),
        *media(messages[key:]),
    ]
    assert media(peer.messages()) == expected


async def test_a_receiver_does_not_join_at_a_keyframe_from_before_a_new_header(wires: Wires) -> None:
    """In the same tick: it would be given the new header for it."""
    stream, peer = Stream(wires.pump), wires.peer()
    join(stream, peer)
    later = Clip(avc_header=packets.AVC_HEADER_720P, start=40).messages()
    push(stream, [*Clip().messages()[:4], *later])
    stream.flush()
    got = media(peer.messages())
    assert got[1] == (VIDEO, 40, packets.AVC_HEADER_720P)
    assert [payload for _, _, payload in got[3:5]] == [m.payload for m in later[3:5]]


async def test_a_stream_without_pictures_is_joined_at_any_sound(wires: Wires) -> None:
    """There is no keyframe to wait for."""
    stream, peer = Stream(wires.pump), wires.peer()
    push(stream, Clip(video=False).messages()[:10])
    receiver = join(stream, peer)
    assert not receiver.joined
    push(stream, [Message(AUDIO, 500, packets.sound(7))])
    stream.flush()
    assert media(peer.messages())[1:] == [(AUDIO, 500, aac_header()), (AUDIO, 500, packets.sound(7))]


async def test_a_late_joiner_begins_with_the_newest_group_of_pictures(wires: Wires) -> None:
    """If the stream keeps it: at once, and without a picture twice or missing."""
    stream, peer = Stream(wires.pump, keep_gop=True), wires.peer()
    messages = Clip(seconds=3).messages()
    push(stream, messages[:-10])
    join(stream, peer)
    push(stream, messages[-10:])
    stream.flush()
    received = peer.messages()
    assert media(received)[1][:2] == (VIDEO, 2000)
    assert pictures(received) == list(range(50, 75))


async def test_no_group_is_kept_where_none_is_wanted(wires: Wires) -> None:
    """A relay's memory holds no media."""
    stream = Stream(wires.pump)
    push(stream, Clip().messages())
    assert not stream._gop


async def test_a_group_that_grows_too_long_is_not_kept(wires: Wires) -> None:
    """10 s; who joins then waits for the next keyframe."""
    stream, peer = Stream(wires.pump, keep_gop=True), wires.peer()
    push(stream, Clip(seconds=GOP_SPAN / 1000 + 1, gop=10_000).messages())
    assert not stream._gop
    assert not join(stream, peer).joined


async def test_a_group_that_grows_too_big_is_not_kept(wires: Wires) -> None:
    """16 MB."""
    stream = Stream(wires.pump, keep_gop=True)
    push(stream, [Message(VIDEO, 0, packets.picture(key=True))])
    for at in range(1, 20):
        push(stream, [Message(VIDEO, 40 * at, packets.picture(at, size=1 << 20))])
        assert stream._gop_bytes <= 16 << 20
    assert not stream._gop


async def test_a_changed_header_ends_the_group_that_is_kept(wires: Wires) -> None:
    """Its pictures belong to the old header."""
    stream, peer = Stream(wires.pump, keep_gop=True), wires.peer()
    push(stream, Clip().messages())
    push(stream, [Message(VIDEO, 2000, packets.AVC_HEADER_720P)])
    join(stream, peer)
    push(stream, Clip(start=2000, first_number=50).messages()[3:])
    stream.flush()
    received = peer.messages()
    assert media(received)[1] == (VIDEO, 2000, packets.AVC_HEADER_720P)
    assert pictures(received) == list(range(50, 100))


async def test_a_removed_receiver_gets_nothing_more_and_stays_connected(wires: Wires) -> None:
    """Its connection is the owner's affair."""
    stream, peer = Stream(wires.pump), wires.peer()
    receiver = join(stream, peer)
    push(stream, Clip().messages())
    stream.flush()
    assert peer.messages()
    stream.remove(receiver)
    stream.remove(receiver)
    push(stream, Clip(start=2000).messages())
    stream.flush()
    assert peer.messages() == []
    assert not peer.connection.closed.done()


# -- slow receivers


def tick_of(at: int, size: int = 100_000) -> list[Message]:
    """200 ms with a keyframe each second: 5 pictures of `size` bytes and 9 sounds."""
    first = at * 5
    frames = [
        Message(VIDEO, (first + n) * 40, packets.picture(first + n, key=(first + n) % 25 == 0, size=size))
        for n in range(5)
    ]
    return [*frames, *(Message(AUDIO, at * 200 + n * 22, packets.sound(at * 9 + n)) for n in range(9))]


async def test_a_slow_receiver_loses_whole_messages_up_to_a_keyframe_and_others_lose_nothing(wires: Wires) -> None:
    """What it gets is valid, begins at keyframes, and every message is either received or counted as dropped."""
    stream, slow, quick = Stream(wires.pump), wires.peer(), wires.peer()
    receivers = {peer: join(stream, peer) for peer in (slow, quick)}
    push(stream, Clip().messages()[:3])
    quick_messages, slow_messages = [], []
    total = 0
    for at in range(60):
        messages = tick_of(at)
        total += len(messages)
        push(stream, messages)
        stream.flush()
        quick_messages += quick.messages()
        # The slow one wakes up now and then.
        if at in (25, 40):
            slow_messages += slow.messages()
        assert receivers[slow].connection.queued <= QUEUE_LIMIT + 600_000
    slow_messages += slow.messages()

    assert pictures(quick_messages) == list(range(300))
    assert receivers[quick].meter.dropped == 0

    meter = receivers[slow].meter
    numbers = pictures(slow_messages)
    sounds = [m for m in slow_messages if m.type == AUDIO and m.payload[1] == 1]
    assert meter.dropped > 300
    assert (meter.video, meter.audio) == (len(numbers), len(sounds))
    assert meter.video + meter.audio + meter.dropped == total
    gaps = [number for before, number in zip([-1, *numbers], numbers, strict=False) if number != before + 1]
    assert len(gaps) == 2
    assert all(number % 25 == 0 for number in gaps)
    assert meter.keyframes == sum(number % 25 == 0 for number in numbers)
    # The decoder is told everything anew.
    assert [m.payload for m in slow_messages].count(AVC_HEADER) == 3


async def test_a_receiver_that_was_slow_comes_back_only_with_room_for_a_while(wires: Wires) -> None:
    """Half its queue must be free, or it would fall out again at once."""
    stream, slow = Stream(wires.pump), wires.peer()
    receiver = join(stream, slow)
    at = 0
    while receiver.joined or at == 0:
        push(stream, tick_of(at))
        stream.flush()
        at += 1
    while receiver.connection.queued > QUEUE_LIMIT // 2 + 250_000:
        slow._receive()
        wires.pump.serve()
    for _ in range(5):
        push(stream, tick_of(at))
        stream.flush()
        at += 1
    assert not receiver.joined
    slow.received()
    for _ in range(5):
        push(stream, tick_of(at))
        stream.flush()
        at += 1
    assert receiver.joined


async def test_what_a_receiver_missed_before_it_joined_is_no_loss(wires: Wires) -> None:
    """It waited for its first keyframe."""
    stream, peer = Stream(wires.pump), wires.peer()
    receiver = join(stream, peer)
    messages = Clip().messages()
    push(stream, [*messages[:3], *messages[4:60]])
    stream.flush()
    push(stream, [Message(VIDEO, 2000, packets.picture(key=True))])
    stream.flush()
    assert (receiver.meter.dropped, receiver.meter.video, receiver.meter.keyframes) == (0, 1, 1)


async def test_messages_that_are_no_media_are_not_counted_as_pictures(wires: Wires) -> None:
    """An end of sequence is passed on and is no frame."""
    stream, peer = Stream(wires.pump), wires.peer()
    receiver = join(stream, peer)
    push(stream, [*Clip(seconds=1).messages(), Message(VIDEO, 1000, b"\x17\x02\0\0\0")])
    stream.flush()
    assert receiver.meter.video == len(pictures(peer.messages()[:-1])) == 25


# -- framings


async def test_equal_receivers_share_what_is_written(wires: Wires) -> None:
    """A message is framed once for all players of a kind."""
    calls = 0

    def counted(type_: int, timestamp: int, payload: bytes) -> bytes:
        nonlocal calls
        calls += 1
        return rtmp_play(type_, timestamp, payload)

    stream, peers = Stream(wires.pump), [wires.peer() for _ in range(5)]
    for peer in peers:
        join(stream, peer, counted)
    push(stream, Clip().messages())
    stream.flush()
    calls = 0
    later = Clip(start=2000).messages()[3:]
    push(stream, later)
    stream.flush()
    assert calls == len(later)
    assert rtmp_publish(3) is rtmp_publish(3)
    assert rtmp_publish(3) is not rtmp_publish(4)


async def test_a_publisher_puts_metadata_into_set_data_frame(wires: Wires) -> None:
    """On the message stream that the server gave."""
    stream, peer = Stream(wires.pump), wires.peer()
    join(stream, peer, rtmp_publish(7))
    push(stream, Clip(seconds=1).messages())
    stream.flush()
    messages = peer.messages()
    assert messages[0].payload == amf("@setDataFrame") + Clip().messages()[0].payload
    assert {message.stream_id for message in messages} == {7}


async def test_flv_is_a_file_that_begins_at_the_keyframe(wires: Wires) -> None:
    """Valid tags with times of 32 bits."""
    stream, peer = Stream(wires.pump), wires.peer(reading=False)
    peer.connection.send(framing.flv_header(audio=True, video=True))
    join(stream, peer, framing.flv)
    messages = Clip(start=2**32 - 1000).messages()
    push(stream, messages)
    stream.flush()
    tags = list(flv_tags(peer.received()))
    assert media(tags)[3:] == media(messages)[3:]


async def test_http_chunks_are_whole_tags(wires: Wires) -> None:
    """And no bytes are the end."""
    stream, peer = Stream(wires.pump), wires.peer(reading=False)
    join(stream, peer, framing.flv_chunked)
    push(stream, Clip().messages())
    stream.flush()
    peer.connection.send(framing.http_chunk(b""))
    data = peer.received()
    body = framing.flv_header(audio=True, video=True)
    while True:
        size, _, data = data.partition(b"\r\n")
        piece, data = data[: int(size, 16)], data[int(size, 16) :]
        assert data[:2] == b"\r\n"
        data = data[2:]
        if not piece:
            break
        body += piece
    assert data == b""
    assert media(flv_tags(body))[3:] == media(Clip().messages())[3:]


def test_kinds_of_the_test_clip() -> None:
    """What these tests push is what they believe it is."""
    kinds = [kind_of(m.type, m.payload) for m in Clip(seconds=1).messages()]
    assert kinds[:4] == [Kind.METADATA, Kind.HEADER, Kind.HEADER, Kind.KEYFRAME]
    assert kinds.count(Kind.FRAME) == 24
