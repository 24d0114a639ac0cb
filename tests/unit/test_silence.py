"""Silence by codec, as FFmpeg decodes it: after real sound of its own, and alone."""

import subprocess
from array import array
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.media.packet import AUDIO, Kind, codec_name, kind_of
from penstock.media.silence import duration, silence
from tests import packets
from tests.media import ffmpeg_exe
from tests.rtmp_wire import Message, flv_file, flv_tags
from tests.unit.output import Output

#: FFmpeg's options, by what they make.
ENCODERS = {
    "aac": ["-c:a", "aac", "-ar", "48000", "-ac", "2"],
    "mono aac": ["-c:a", "aac", "-ar", "44100", "-ac", "1"],
    "opus": ["-c:a", "libopus", "-ac", "2"],
    "mono opus": ["-c:a", "libopus", "-ac", "1"],
    "opus of 60 ms": ["-c:a", "libopus", "-ac", "2", "-frame_duration", "60"],
    "opus for speech": ["-c:a", "libopus", "-ac", "1", "-application", "voip", "-b:a", "12k"],
    "quadraphonic opus": ["-c:a", "libopus", "-mapping_family", "1", "-af", "aformat=channel_layouts=quad"],
    "opus 5.1": ["-c:a", "libopus", "-mapping_family", "1", "-af", "aformat=channel_layouts=5.1"],
    "opus 7.1": ["-c:a", "libopus", "-mapping_family", "1", "-af", "aformat=channel_layouts=7.1"],
    "mp3": ["-c:a", "libmp3lame", "-ar", "44100", "-ac", "2", "-b:a", "128k"],
    "mp3 of many rates": ["-c:a", "libmp3lame", "-ar", "44100", "-ac", "2", "-q:a", "4"],
    "mono mp3": ["-c:a", "libmp3lame", "-ar", "22050", "-ac", "1", "-b:a", "32k"],
    "A-law": ["-c:a", "pcm_alaw", "-ar", "8000", "-ac", "1"],
    "mu-law": ["-c:a", "pcm_mulaw", "-ar", "8000", "-ac", "2"],
}
#: What those decode silence to, at most: A-law knows no zero.
LOUDEST = {"A-law": 8}
SECONDS = 2


def made(name: str) -> list[Message]:
    """A tone of two seconds."""
    tone = ["-f", "lavfi", "-i", f"sine=f=440:d={SECONDS}", *ENCODERS[name], "-f", "flv", "-"]
    done = subprocess.run([ffmpeg_exe(), "-nostdin", "-v", "error", *tone], check=True, capture_output=True)
    return list(flv_tags(done.stdout))


def decoded(messages: list[Message], path: Path) -> "tuple[array[int], int]":
    """The samples, and how many there are of each second; no decoder complains."""
    path.write_bytes(flv_file(messages))
    command = [ffmpeg_exe(), "-nostdin", "-v", "error", "-i", str(path), "-ac", "1", "-ar", "48000", "-f", "s16le", "-"]
    done = subprocess.run(command, check=True, capture_output=True)
    assert done.stderr == b""
    return array("h", done.stdout), 48_000


def held(source: list[Message], ms: int) -> Output:
    """What an output gets of a source, and in the time after it."""
    out = Output().play(source)
    assert out.timeline.end is not None
    out.timeline.hold(out.timeline.end + ms)
    return out


@pytest.mark.parametrize("name", ENCODERS)
def test_a_tone_is_followed_by_nothing(name: str, tmp_path: Path) -> None:
    """For as long as it is held, in step, with no more than the tone's own last ring."""
    out = held(made(name), 3000)
    times = [time for time, _ in out.of(Kind.SOUND)]
    assert out.breaks == []
    assert max(later - before for before, later in pairwise(times)) <= 61
    assert 4900 <= times[-1] <= 5100
    messages = [Message(type_, time, payload) for type_, time, payload, _ in out.entries]
    samples, second = decoded(messages, tmp_path / "x.flv")
    assert 4.9 * second <= len(samples) <= 5.2 * second
    assert max(samples[second : 2 * second]) > 500
    assert max(map(abs, samples[int(2.2 * second) : 5 * second])) <= LOUDEST.get(name, 0)


@pytest.mark.parametrize("name", ENCODERS)
def test_sound_goes_through_untouched(name: str) -> None:
    """No silence comes between sounds whose durations are known, and none of them is dropped."""
    source = made(name)
    out = Output().play(source)
    sounds = [message.payload for message in source if kind_of(message.type, message.payload) is Kind.SOUND]
    assert [payload for _, payload in out.of(Kind.SOUND)] == sounds
    assert out.timeline.silent == out.timeline.dropped == 0


@pytest.mark.parametrize("name", ENCODERS)
def test_a_hole_is_filled_and_a_source_without_sound_too(name: str) -> None:
    """Under the codec that receivers know."""
    source = made(name)
    holed = [message for message in source if message.type != AUDIO or not 500 <= message.timestamp < 1500]
    out = Output().play(holed)
    assert 930 <= out.timeline.silent * _silent(source)[1] <= 1030
    out.play(packets.Clip(audio=False))
    assert out.breaks == []
    assert {codec_name(AUDIO, payload) for _, payload in out.of(Kind.SOUND)} == {codec_name(AUDIO, source[-1].payload)}


def _silent(source: list[Message]) -> tuple[bytes, float]:
    found = silence(next(message.payload for message in source if message.type == AUDIO))
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("packet", "ms"),
    [
        ("f8fffe", 20),
        ("e0ff", 2.5),
        ("18ff", 60),
        ("19ff", 120),
        ("63 03 ff", 30),
        ("7b 86 ff", 120),
        ("fb 07 ff", None),
        ("fb 00 ff", None),
        ("f8", None),
    ],
)
def test_opus_says_how_long_it_lasts(packet: str, ms: float | None) -> None:
    """RFC 6716, section 3: mode, duration of a frame, frames."""
    assert duration(b"\x91Opus" + bytes.fromhex(packet)) == ms
    if ms:
        assert duration(b"\x97\x02\x00\x00\x00\x01Opus" + bytes.fromhex(packet)) == ms


def test_enhanced_mp3_has_silence_of_its_own_layout() -> None:
    frame = bytes.fromhex("fffb9044") + bytes(413)
    found = silence(b"\x91.mp3" + frame)
    assert found is not None
    assert found.message == b"\x91.mp3" + frame
    assert found.duration == duration(b"\x2f" + frame) == pytest.approx(26.12, abs=0.01)
    assert duration(b"\x2f" + frame + frame) == pytest.approx(52.24, abs=0.01)


HEAD = b"\x90OpusOpusHead\x01%b\x38\x01\x80\xbb\x00\x00\x00\x00"


@pytest.mark.parametrize(
    "header",
    [
        b"",
        b"\xaf",
        packets.aac_header(channels=6),
        b"\x90Opus",
        b"\x90OpusOpusHead",
        HEAD % b"\x00" + b"\x00",
        HEAD % b"\x03" + b"\x00",
        HEAD % b"\x02" + b"\x01",
        HEAD % b"\x02" + b"\x01\x00\x00",
        HEAD % b"\x02" + b"\x01\x01\x02",
        HEAD % b"\x02" + b"\x01\xff\x80",
        b"\x90fLaCfLaC",
        b"\x2f\xff\xfb\xf0\x00",
        b"\x2f\xff\xfb\x90",
        b"\x3f\0\0\0\0",
    ],
)
def test_nobody_knows_silence_under_other_headers(header: bytes) -> None:
    """Six channels of AAC, an OpusHead that contradicts itself, codecs without a frame at hand."""
    assert silence(header) is None


@given(
    st.sampled_from([b"", b"\xaf\x00", b"\x90Opus", b"\x91Opus", b"\x2f\xff\xfb", b"\x7f", HEAD]),
    st.binary(max_size=40),
)
def test_any_bytes_do(lead: bytes, rest: bytes) -> None:
    """Nothing is raised, and what is silence is sound that lasts."""
    lasts = duration(lead + rest)
    assert lasts is None or 0 <= lasts < 60_000
    if found := silence(lead + rest):
        assert kind_of(AUDIO, found.message) is Kind.SOUND
        assert duration(found.message) in (None, found.duration)
        assert 0 < found.duration <= 120
