"""What is counted of a source or sink: media time, messages, codecs, the bitrate."""

from collections.abc import Iterable

import pytest

from penstock.media.meter import Meter
from penstock.media.packet import AUDIO, VIDEO, kind_of
from tests.packets import AVC_HEADER, Clip, aac_header
from tests.rtmp_wire import Message

HOUR = 3_600_000


def count(meter: Meter, messages: Iterable[Message]) -> list[bool]:
    """Count messages; whether each moved media time."""
    return [meter.count(m.type, m.timestamp, m.payload, kind_of(m.type, m.payload)) for m in messages]


def test_messages_are_counted_by_kind() -> None:
    """Headers and metadata are no media, but tell the codecs."""
    meter = Meter()
    assert count(meter, Clip(seconds=3).messages()[:3]) == [False, False, False]
    assert meter.codecs == {VIDEO: "h264", AUDIO: "aac"}
    count(meter, Clip(seconds=3).messages()[3:])
    assert (meter.video, meter.audio, meter.keyframes) == (75, 140, 3)


@pytest.mark.parametrize("start", [0, 2**32 - 1500, 2**31 - 1500, 123_456])
def test_media_time_is_how_far_the_clock_has_advanced(start: int) -> None:
    """From wherever it began, past every border."""
    meter = Meter()
    count(meter, Clip(seconds=3, start=start).messages())
    assert 2_940 <= meter.media_ms <= 3_000


def test_media_time_goes_on_over_connections() -> None:
    """Each has a clock of its own."""
    meter = Meter()
    for start in (0, 5 * HOUR, 1000):
        meter.begin()
        count(meter, Clip(seconds=2, start=start).messages())
    assert 3 * 1_940 <= meter.media_ms <= 3 * 2_000


def test_a_jump_is_no_media_time() -> None:
    """Neither an hour forward nor an hour back."""
    meter = Meter()
    for start in (HOUR, 2 * HOUR, 0):
        count(meter, Clip(seconds=2, start=start).messages())
    assert 3 * 1_900 <= meter.media_ms <= 3 * 2_000


def test_sound_and_pictures_may_be_hours_apart() -> None:
    """One of the source's clocks has jumped; media time is no less and no more for it."""
    meter = Meter()
    clip = Clip(seconds=10).messages()
    count(meter, (Message(m.type, m.timestamp + (HOUR if m.type == AUDIO else 0), m.payload) for m in clip))
    assert 9_900 <= meter.media_ms <= 10_000
    meter.passed(25, 47, 1, 11_000, HOUR + 11_000)
    count(meter, [Message(VIDEO, 11_040, clip[3].payload)])
    meter.passed(25, 47, 1, 12_000, HOUR + 12_000)
    assert 11_900 <= meter.media_ms <= 12_000


def test_one_kind_alone_is_media_too() -> None:
    """The pictures stop, the sound goes on."""
    meter = Meter()
    count(meter, [m for m in Clip(seconds=10).messages() if m.type == AUDIO or m.timestamp < 2_000])
    assert 9_900 <= meter.media_ms <= 10_000


def test_time_that_stands_still_is_no_progress() -> None:
    """A source that repeats itself, or sends only headers."""
    meter = Meter()
    picture = Clip().messages()[3]
    assert count(meter, [picture] * 3) == [True, False, False]
    assert count(meter, [Message(VIDEO, 9000, AVC_HEADER), Message(AUDIO, 9000, aac_header())]) == [False, False]


def test_the_bitrate_is_that_of_the_last_two_seconds() -> None:
    """Bits per second; nothing before the second sample."""
    meter = Meter()
    assert meter.bitrate == 0
    for tick in range(41):
        meter.sample(tick / 4)
        meter.bytes += 25_000 if tick < 20 else 50_000
    assert meter.bitrate == 8 * 4 * 50_000
    for tick in range(41, 60):
        meter.sample(tick / 4)
    assert meter.bitrate == 0
