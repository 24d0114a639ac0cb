"""Streams of several tracks: the first is spliced, the others go along with it, and whoever joins can decode them."""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import pairwise

from penstock.media.framing import rtmp_play
from penstock.media.meter import Meter
from penstock.media.packet import AUDIO, DATA, MAX_EXTRAS, VIDEO, Kind, kind_of, track_of
from penstock.media.stream import Stream
from penstock.media.timeline import MAX_EARLY_BYTES
from tests.packets import Clip, aac_header
from tests.rtmp_wire import Message
from tests.unit.output import Output, rises
from tests.unit.wires import Wires

#: What a second video track and a second audio track need, as FFmpeg writes it, and the colours of the first.
VIDEO_HEADER = b"\x96\x00avc1\x01second"
AUDIO_HEADER = b"\x95\x00mp4a\x01\x11\x90"
COLOURS = b"\x94avc1\x02\x00\x09colorInfo"
EXTRA_HEADERS = [VIDEO_HEADER, COLOURS, AUDIO_HEADER]


def with_second_tracks(messages: Iterable[Message], mark: bytes = b"") -> Iterator[Message]:
    """Follow each header, picture and sound with one of a second track."""
    for message in messages:
        yield message
        if message.type == DATA:
            continue
        if message.payload[1] == 0:
            extras = [VIDEO_HEADER, COLOURS] if message.type == VIDEO else [AUDIO_HEADER]
        elif message.type == VIDEO:
            first = 0x96 if message.payload[0] >> 4 == 1 else 0xA6
            extras = [bytes([first]) + b"\x01avc1\x01" + message.payload[2:] + mark]
        else:
            extras = [b"\x95\x01mp4a\x01" + message.payload[2:] + mark]
        for payload in extras:
            yield replace(message, payload=payload)


def of_track(out: Output, type_: int, track: int) -> list[tuple[int, bytes]]:
    """(time, payload) of one track's pictures or sounds."""
    media = (Kind.KEYFRAME, Kind.FRAME, Kind.SOUND, Kind.EXTRA)
    entries = [entry for entry in out.entries if entry[3] in media]
    return [(time, payload) for of, time, payload, _ in entries if track_of(of, payload) == (type_, track)]


def test_every_track_keeps_its_time_beside_the_first() -> None:
    """The first track passes as if it were alone; each message of the others has the time of the first's."""
    clip = Clip(start=5000)
    alone = Output().play(clip)
    out = Output().play(with_second_tracks(clip.messages()))

    assert [(time, payload) for time, payload in out.pictures + out.sounds] == alone.pictures + alone.sounds
    for type_, first in ((VIDEO, out.pictures), (AUDIO, out.sounds)):
        assert [time for time, _ in of_track(out, type_, 1)] == [time for time, _ in first]
    assert out.of(Kind.EXTRA_HEADER) == [(0, payload) for payload in EXTRA_HEADERS]


def test_tracks_are_spliced_where_the_first_is() -> None:
    """From one source to the next, and over a jump of its clocks: times rise, extra headers are not sent again."""
    out = Output()
    for start, mark in ((0, b"a"), (77_000, b"b")):
        out.play(with_second_tracks(Clip(start=start, b_frames=2).messages(), mark))
    jumped = [replace(m, timestamp=m.timestamp + 600_000) for m in Clip(start=200_000).messages() if m.payload[1] == 1]
    out.play(with_second_tracks(jumped, b"c"), switch=False)

    for type_ in (VIDEO, AUDIO):
        times = [time for time, _ in of_track(out, type_, 1)]
        assert rises(times)
        assert max(later - before for before, later in pairwise(times)) <= 140
        assert {payload[-1:] for _, payload in of_track(out, type_, 1)} == {b"a", b"b", b"c"}
    assert len(out.of(Kind.EXTRA_HEADER)) == len(EXTRA_HEADERS)


def test_a_changed_header_brings_the_others_of_its_kind_again() -> None:
    """A receiver forgets them with the old one."""
    out = Output().play(with_second_tracks(Clip().messages()))
    out.play(with_second_tracks(Clip(avc_header=Clip.avc_header + b"other").messages()))
    assert [payload for _, payload in out.of(Kind.EXTRA_HEADER)] == [*EXTRA_HEADERS, VIDEO_HEADER, COLOURS]


def test_a_keyframe_of_another_track_waits_with_the_first_tracks() -> None:
    """While the first waits for the source's sound to be announced."""
    messages = list(with_second_tracks(Clip().messages()))
    late = [m for m in messages if m.payload in (aac_header(), AUDIO_HEADER)]
    rest = [m for m in messages if m not in late]
    out = Output().play([*rest[:12], *late, *rest[12:]])
    assert of_track(out, VIDEO, 1)[0] == (0, next(m.payload for m in messages if m.payload[:2] == b"\x96\x01"))


def test_what_waits_for_a_first_keyframe_is_bounded_in_bytes() -> None:
    """The oldest sound is let go: 200 messages could be three gigabytes."""
    out = Output()
    header = Message(VIDEO, 0, Clip.avc_header)
    out.play([header, *(Message(AUDIO, at, b"\xaf\x01" + bytes(1 << 20)) for at in range(40))])
    assert out.timeline.dropped == 40 - MAX_EARLY_BYTES // (1 << 20) + 1


async def test_whoever_joins_gets_the_extra_headers_too() -> None:
    """Behind their own kind's, and none that a later header has overtaken."""
    with Wires() as wires:
        stream = Stream(wires.pump, keep_gop=True)
        late = [COLOURS[:-1] + b"O", b"\x96\x00avc1\x02third"]
        for message in [*with_second_tracks(Clip().messages()), *(Message(VIDEO, 1999, payload) for payload in late)]:
            stream.push(message.type, message.timestamp, message.payload, kind_of(message.type, message.payload))
        peer = wires.peer()
        peer.parser.chunk_size = 65536
        stream.add(peer.connection, rtmp_play, Meter())

        payloads = [m.payload for m in peer.messages()]

    assert payloads[1:7] == [Clip.avc_header, aac_header(), VIDEO_HEADER, late[0], AUDIO_HEADER, late[1]]
    assert payloads[7][0] == 0x17


async def test_headers_of_thousands_of_tracks_are_not_kept() -> None:
    """256 tracks, each of which could be configured in 16 ways."""
    with Wires() as wires:
        stream, out = Stream(wires.pump), Output()
        headers = [b"\x96%cavc1%c" % (packet, track) for packet in (0, 4) for track in range(1, 256)]
        for payload in headers:
            stream.push(VIDEO, 0, payload, kind_of(VIDEO, payload))
        out.play([*(Message(VIDEO, 0, payload) for payload in headers), *Clip().messages()])
        assert len(stream.extras) == len(out.of(Kind.EXTRA_HEADER)) == MAX_EXTRAS


async def test_a_new_beginning_forgets_extra_headers() -> None:
    """What the last source needed is nothing for those who join the next."""
    with Wires() as wires:
        stream = Stream(wires.pump)
        for message in with_second_tracks(Clip().messages()):
            stream.push(message.type, message.timestamp, message.payload, kind_of(message.type, message.payload))
        assert stream.extras
        stream.forget()
        assert not stream.extras
