"""The Timeline where what comes next cannot follow on the same connection: receivers connect anew."""

from dataclasses import replace

import pytest

from penstock.media.packet import DEFAULT_AUDIO_HEADER, VIDEO, Kind
from tests import packets
from tests.packets import Clip, aac_header
from tests.rtmp_wire import Message
from tests.unit.output import CLIP, Output, with_pcm


def hevc(clip: Clip) -> list[Message]:
    """A clip as HEVC in FLV's older layout."""
    source = replace(clip, avc_header=packets.HEVC_HEADER).messages()
    return [
        replace(m, payload=bytes([m.payload[0] & 0xF0 | 12]) + m.payload[1:]) if m.type == VIDEO else m for m in source
    ]


@pytest.mark.parametrize(
    ("source", "reason", "header"),
    [
        (hevc(CLIP), "the codec changes from h264 to hevc", packets.HEVC_HEADER),
        (
            Clip(rate=44100).messages(),
            "the AAC configuration changes from 48000 Hz 2 ch to 44100 Hz 2 ch",
            aac_header(44100),
        ),
        (
            Clip(channels=1).messages(),
            "the AAC configuration changes from 48000 Hz 2 ch to 48000 Hz 1 ch",
            aac_header(channels=1),
        ),
    ],
    ids=["HEVC", "44.1 kHz", "mono"],
)
def test_a_break_is_told_before_the_header_that_causes_it(source: list[Message], reason: str, header: bytes) -> None:
    """Receivers connect anew first."""
    out = Output().play(CLIP).play(source)
    assert out.breaks == [reason]
    told = next(at for at, entry in enumerate(out.entries) if entry[0] == 0)
    sent = next(at for at, entry in enumerate(out.entries) if entry[2] == header)
    assert told < sent
    assert all(entry[2] != header for entry in out.entries[:told])


def test_picture_and_sound_that_change_together_are_one_break() -> None:
    """After it come all headers of the new source, so that the new connection begins with them."""
    out = Output().play(CLIP).play(hevc(replace(CLIP, rate=44100)))
    assert len(out.breaks) == 1
    told = next(at for at, entry in enumerate(out.entries) if entry[0] == 0)
    after = [entry[2] for entry in out.entries[told:] if entry[3] is Kind.HEADER]
    assert after == [packets.HEVC_HEADER, aac_header(44100)]
    assert [entry[3] for entry in out.entries[told + 1 : told + 4]] == [Kind.METADATA, Kind.HEADER, Kind.HEADER]


def test_silence_after_a_break_has_the_new_length() -> None:
    """1024 samples at 44.1 kHz are 23.2 ms."""
    out = Output().play(CLIP).play(Clip(rate=44100, seconds=1)).play(Clip(audio=False, seconds=4))
    times = out.silences[-50:]
    assert 49 * 23.2 - 2 <= times[-1] - times[0] <= 49 * 23.3 + 2


def test_sound_without_a_header_cannot_follow_sound_that_has_one() -> None:
    """Nobody would know it from AAC; the new connection has no AAC header."""
    out = Output().play(CLIP).play(with_pcm(CLIP))
    assert out.breaks == ["the codec changes from aac to pcm_s16le"]
    before, after = out.parts()
    assert all(payload[0] == 0xAF for _, payload in before.of(Kind.SOUND))
    assert {payload[0] for _, payload in after.of(Kind.SOUND)} == {0x3F}
    assert after.headers == [packets.AVC_HEADER]


def test_a_source_that_turns_from_aac_to_pcm_is_a_break() -> None:
    """Also without a new connection of its own."""
    turned = [replace(m, timestamp=m.timestamp + 2000) for m in with_pcm(CLIP)]
    out = Output().play(CLIP).play(turned, switch=False)
    assert out.breaks == ["the codec changes from aac to pcm_s16le"]


def test_aac_cannot_follow_sound_without_a_header() -> None:
    """On the new connection it is announced."""
    out = Output().play(with_pcm(CLIP)).play(CLIP)
    assert out.breaks == ["the codec changes from pcm_s16le to aac"]
    _, after = out.parts()
    assert after.headers == [packets.AVC_HEADER, aac_header()]
    assert {payload[0] for _, payload in after.of(Kind.SOUND)} == {0xAF}


def test_a_source_without_sound_after_pcm_is_given_silence_that_exists() -> None:
    """There is none for PCM: receivers that were told of sound would wait for it."""
    out = Output().play(with_pcm(CLIP)).play(Clip(audio=False, seconds=4))
    assert out.breaks == ["the codec changes from pcm_s16le to aac"]
    _, after = out.parts()
    assert after.headers == [packets.AVC_HEADER, DEFAULT_AUDIO_HEADER]
    assert len(after.silences) > 100


def test_another_picture_codec_without_sound_keeps_the_silent_track() -> None:
    """Both tracks are there from the first packet of the new connection."""
    out = Output().play(CLIP).play(hevc(replace(CLIP, audio=False)))
    assert len(out.breaks) == 1
    _, after = out.parts()
    assert after.headers == [packets.HEVC_HEADER, aac_header()]
    assert len(after.silences) > 80


def test_holding_sound_that_has_no_silence_leaves_a_hole_as_long() -> None:
    """The output keeps step with the wall."""
    out = Output().play(with_pcm(CLIP))
    end = out.timeline.end
    assert end is not None
    out.timeline.hold(end + 5000)
    assert out.silences == []
    out.play(with_pcm(CLIP))
    assert out.largest_step() == pytest.approx(5000, abs=100)
    assert out.breaks == []
