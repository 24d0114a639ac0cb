"""What a media message is, told from its first bytes: FLV's own layouts and Enhanced RTMP."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.media import packet
from penstock.media.packet import AUDIO, DATA, VIDEO, Kind
from tests import media, packets, rtmp_wire

#: What: (message type, payload, kind, codec, composition time).
MESSAGES = {
    "H.264 header": (VIDEO, packets.AVC_HEADER, Kind.HEADER, "h264", 0),
    "H.264 keyframe": (VIDEO, packets.picture(key=True, cts=80), Kind.KEYFRAME, "h264", 80),
    "H.264 frame shown before its DTS": (VIDEO, packets.picture(cts=-40), Kind.FRAME, "h264", -40),
    "H.264 end of sequence": (VIDEO, b"\x17\x02\x00\x00\x00", Kind.NOTHING, "h264", 0),
    "H.264 cut short": (VIDEO, b"\x17\x01\x00\x00", Kind.NOTHING, "h264", 0),
    "HEVC as codec 12": (VIDEO, b"\x1c\x01\x00\x00\x28\x00", Kind.KEYFRAME, "hevc", 40),
    "HEVC as codec 12, header": (VIDEO, packets.HEVC_HEADER, Kind.HEADER, "hevc", 0),
    "Sorenson keyframe": (VIDEO, b"\x12\x00\x00", Kind.KEYFRAME, "flv1", 0),
    "VP6 frame": (VIDEO, b"\x24\x00\x00", Kind.FRAME, "vp6f", 0),
    "video command": (VIDEO, b"\x57\x01\x00\x00\x00\x00", Kind.NOTHING, "h264", 0),
    "enhanced H.264 coded frames": (VIDEO, b"\xa1avc1\x00\x00\x50\x00\x00", Kind.FRAME, "h264", 80),
    "enhanced HEVC header": (VIDEO, b"\x90hvc1\x01\x02\x03", Kind.HEADER, "hevc", 0),
    "enhanced HEVC coded frames": (VIDEO, b"\x91hvc1\x00\x00\x28\x00\x00", Kind.KEYFRAME, "hevc", 40),
    "enhanced HEVC, negative time": (VIDEO, b"\xa1hvc1\xff\xff\xd8\x00\x00", Kind.FRAME, "hevc", -40),
    "enhanced HEVC without time": (VIDEO, b"\xa3hvc1\x00\x00\x28\x00", Kind.FRAME, "hevc", 0),
    "enhanced HEVC end of sequence": (VIDEO, b"\x92hvc1", Kind.NOTHING, "hevc", 0),
    "enhanced HEVC metadata": (VIDEO, b"\x94hvc1\x02\x00\x09colorInfo", Kind.EXTRA_HEADER, "hevc", 0),
    "metadata as a command": (VIDEO, b"\xd4hvc1\x02\x00\x09colorInfo", Kind.EXTRA_HEADER, "hevc", 0),
    "ModEx before a keyframe": (VIDEO, b"\x97\x02\x00\x01\x02\x01hvc1\xff\xff\xd8\x00", Kind.KEYFRAME, "hevc", -40),
    "ModEx twice": (VIDEO, b"\xa7\x00\x01\x07\x00\x02\x01av01\x00", Kind.FRAME, "av1", 0),
    "ModEx of 300 bytes": (VIDEO, b"\xa7\xff\x01\x2b" + bytes(300) + b"\x03hvc1\x00", Kind.FRAME, "hevc", 0),
    "ModEx before another track": (VIDEO, b"\xa7\x00\x01\x06\x01hvc1\x01\x00\x00\x28", Kind.EXTRA, "hevc", 40),
    "ModEx cut short": (VIDEO, b"\xa7\x20\x00\x01\x02\x01hvc1", Kind.NOTHING, "", 0),
    "ModEx and nothing": (VIDEO, b"\xa7\x00\x00\x01", Kind.NOTHING, "", 0),
    "enhanced video command": (VIDEO, b"\xd1hvc1\x01", Kind.NOTHING, "hevc", 0),
    "VVC coded frames": (VIDEO, b"\x91vvc1\x00\x00\x28\x00", Kind.KEYFRAME, "vvc", 40),
    "AV1 header": (VIDEO, b"\x90av01\x81\x04\x0c\x00", Kind.HEADER, "av1", 0),
    "AV1 keyframe": (VIDEO, b"\x91av01\x00\x00\x28\x00", Kind.KEYFRAME, "av1", 0),
    "AV1 header in MPEG-TS form": (VIDEO, b"\x95av01\x81\x04\x0c\x00", Kind.HEADER, "av1", 0),
    "VP9 frame": (VIDEO, b"\xa1vp09\x00\x00\x00\x00", Kind.FRAME, "vp9", 0),
    "header of the first track": (VIDEO, b"\x96\x00hvc1\x00\x01\x02", Kind.HEADER, "hevc", 0),
    "header of another track": (VIDEO, b"\x96\x00hvc1\x01\x01\x02", Kind.EXTRA_HEADER, "hevc", 0),
    "frame of the first track": (VIDEO, b"\xa6\x01hvc1\x00\x00\x00\x28\x00", Kind.FRAME, "hevc", 40),
    "frame of another track": (VIDEO, b"\xa6\x01av01\x01\x00", Kind.EXTRA, "av1", 0),
    "frames of many tracks and codecs": (VIDEO, b"\xa6\x21av01\x00\x00\x00\x01x", Kind.FRAME, "", 0),
    "multitrack keyframe, many tracks": (VIDEO, b"\x96\x13hvc1\x00\x00\x00\x01x", Kind.KEYFRAME, "hevc", 0),
    "multitrack cut short": (VIDEO, b"\x96\x00hvc1", Kind.NOTHING, "", 0),
    "unknown FourCC": (VIDEO, b"\x91zzzz\x00\x00\x00", Kind.KEYFRAME, "", 0),
    "empty video": (VIDEO, b"", Kind.NOTHING, "", 0),
    "AAC header": (AUDIO, packet.DEFAULT_AUDIO_HEADER, Kind.HEADER, "aac", 0),
    "AAC frame": (AUDIO, packets.sound(), Kind.SOUND, "aac", 0),
    "MP3 frame": (AUDIO, b"\x2f\xff\xfb", Kind.SOUND, "mp3", 0),
    "G.711 A-law": (AUDIO, b"\x72\xd5", Kind.SOUND, "pcm_alaw", 0),
    "Opus header": (AUDIO, b"\x90OpusOpusHead", Kind.HEADER, "opus", 0),
    "Opus frame": (AUDIO, b"\x91Opus\xfc\xff\xfe", Kind.SOUND, "opus", 0),
    "enhanced AAC header": (AUDIO, b"\x90mp4a\x11\x90", Kind.HEADER, "aac", 0),
    "enhanced audio end of sequence": (AUDIO, b"\x92Opus", Kind.NOTHING, "opus", 0),
    "multichannel configuration": (AUDIO, b"\x94Opus\x00\x02", Kind.EXTRA_HEADER, "opus", 0),
    "multitrack audio frame": (AUDIO, b"\x95\x01Opus\x00\xfc", Kind.SOUND, "opus", 0),
    "sound of another track": (AUDIO, b"\x95\x01Opus\x02\xfc", Kind.EXTRA, "opus", 0),
    "audio header of another track": (AUDIO, b"\x95\x00mp4a\x01\x11\x90", Kind.EXTRA_HEADER, "aac", 0),
    "ModEx before a sound": (AUDIO, b"\x97\x02\x00\x01\x02\x01Opus\xfc", Kind.SOUND, "opus", 0),
    "a header beyond all reason": (VIDEO, b"\x17\x00\x00\x00\x00" + bytes(1 << 20), Kind.NOTHING, "h264", 0),
    "multitrack audio header": (AUDIO, b"\x95\x00fLaC\x00\xfc", Kind.HEADER, "flac", 0),
    "empty audio": (AUDIO, b"", Kind.NOTHING, "", 0),
    "onMetaData": (DATA, packets.metadata(width=640), Kind.METADATA, "", 0),
    "cue point": (DATA, rtmp_wire.amf("onCuePoint", {}), Kind.SCRIPT, "", 0),
    "empty data": (DATA, b"", Kind.NOTHING, "", 0),
}


@pytest.mark.parametrize("what", MESSAGES)
def test_a_message_is_told_from_its_first_bytes(what: str) -> None:
    """Kind, codec and composition time."""
    type_, payload, kind, codec, cts = MESSAGES[what]
    assert packet.kind_of(type_, payload) is kind
    if type_ != DATA:
        assert packet.codec_name(type_, payload) == codec
    if type_ == VIDEO and kind in (Kind.KEYFRAME, Kind.FRAME):
        assert packet.composition_time(payload) == cts


@pytest.mark.parametrize("cts", [0, 1, 80, 8_388_607, -1, -40])
@pytest.mark.parametrize(
    "what",
    [
        "H.264 keyframe",
        "HEVC as codec 12",
        "enhanced H.264 coded frames",
        "enhanced HEVC coded frames",
        "ModEx before a keyframe",
        "frame of the first track",
    ],
)
def test_a_composition_time_can_be_rewritten(what: str, cts: int) -> None:
    """Nothing but the time changes."""
    payload = MESSAGES[what][1]
    changed = packet.with_composition_time(payload, cts)
    assert packet.composition_time(changed) == cts
    assert packet.with_composition_time(changed, packet.composition_time(payload)) == payload


@pytest.mark.parametrize("what", ["enhanced HEVC without time", "AV1 keyframe", "Sorenson keyframe", "VP9 frame"])
def test_a_frame_without_a_composition_time_stays_as_it_is(what: str) -> None:
    """There is nothing to rewrite."""
    payload = MESSAGES[what][1]
    assert packet.with_composition_time(payload, 40) == payload


@pytest.mark.parametrize(
    ("header", "config"),
    [
        ("af001190", (48000, 2)),
        ("af001188", (48000, 1)),
        ("af001210", (44100, 2)),
        ("af00139056e5a0", (22050, 2)),
        ("af0017ff", None),
        ("906d703461 1190", (48000, 2)),
        ("906d703461 11", None),
        ("916d703461 1190", None),
        ("904f707573 1190", None),
        ("af0011", None),
        ("af011190", None),
        ("2f001190", None),
    ],
)
def test_an_aac_header_says_rate_and_channels(header: str, config: tuple[int, int] | None) -> None:
    """From the AudioSpecificConfig; None if there is none or its rate is not in the table."""
    assert packet.aac_config(bytes.fromhex(header)) == config


def test_extra_headers_replace_only_their_own_kind() -> None:
    """By message type, track and what they configure."""
    payloads = [MESSAGES[what] for what in ("header of another track", "enhanced HEVC metadata")]
    payloads += [MESSAGES[what] for what in ("audio header of another track", "multichannel configuration")]
    assert [packet.extra_key(type_, payload) for type_, payload, *_ in payloads] == [
        (VIDEO, 1, 0),
        (VIDEO, 0, 4),
        (AUDIO, 1, 0),
        (AUDIO, 0, 4),
    ]


@given(st.sampled_from([AUDIO, VIDEO, DATA, 0, 22]), st.binary(max_size=16))
def test_any_bytes_are_something(type_: int, payload: bytes) -> None:
    """Nothing is raised; what has a kind that is counted has at least the two bytes that were looked at."""
    kind = packet.kind_of(type_, payload)
    packet.codec_name(type_, payload)
    packet.aac_config(payload)
    packet.sound_body(payload)
    packet.track_of(type_, payload)
    packet.extra_key(type_, payload)
    if kind in (Kind.KEYFRAME, Kind.FRAME):
        changed = packet.with_composition_time(payload, packet.composition_time(payload))
        assert changed == payload


@pytest.mark.parametrize(("name", "codec"), [("av", "h264"), ("hevc", "hevc")])
def test_ffmpeg_writes_what_we_tell(name: str, codec: str) -> None:
    """A real clip: a keyframe each second, 25 frames/s, each shown in a row of its own, AAC at 48 kHz."""
    tags = list(rtmp_wire.flv_tags(media.clip(name)))
    kinds = [packet.kind_of(tag.type, tag.payload) for tag in tags]
    frames = [tag for tag, kind in zip(tags, kinds, strict=True) if kind in (Kind.KEYFRAME, Kind.FRAME)]
    seconds = len(frames) // 25
    assert kinds.count(Kind.KEYFRAME) == seconds
    assert kinds.count(Kind.HEADER) == 2
    assert kinds.count(Kind.METADATA) == 1
    assert {packet.codec_name(VIDEO, frame.payload) for frame in frames} == {codec}
    shown = sorted(frame.timestamp + packet.composition_time(frame.payload) for frame in frames)
    assert {later - before for before, later in pairwise(shown)} == {40}


def test_empty_aac_configuration_is_no_header() -> None:
    """FFmpeg sends one as long as it does not know the real one, which follows."""
    assert packet.audio_kind(bytes.fromhex("af00")) is Kind.NOTHING
    assert packet.audio_kind(bytes.fromhex("af001190")) is Kind.HEADER
