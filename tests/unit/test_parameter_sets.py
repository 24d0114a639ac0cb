"""Where parameter sets change, FFmpeg's receivers are told by the stream itself."""

import subprocess
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.media.ffmpeg_sink import FlvFile, command
from penstock.media.packet import AUDIO, VIDEO, Kind, kind_of
from penstock.media.parameter_sets import parameter_sets, with_parameter_sets
from penstock.media.stream import Stream
from tests.media import ffmpeg_exe
from tests.packets import AVC_HEADER, HEVC_HEADER, aac_header, picture
from tests.rtmp_wire import Message, flv_tags

#: FFmpeg's encoders. Each second has a keyframe; none of them carries parameter sets of its own.
ENCODERS = {
    "h264": ["libx264", "-preset", "ultrafast"],
    "hevc": ["libx265", "-preset", "ultrafast", "-x265-params", "log-level=none"],
}
SIZES = ("320x180", "192x108")
PICTURES = 50


@cache
def tags(codec: str, size: str) -> list[Message]:
    """Two seconds as FLV."""
    picture = ["-f", "lavfi", "-i", f"testsrc2=s={size}:r=25", "-t", "2", "-pix_fmt", "yuv420p"]
    coded = ["-c:v", *ENCODERS[codec], "-g", "25", "-f", "flv", "-"]
    made = subprocess.run([ffmpeg_exe(), "-v", "error", *picture, *coded], check=True, capture_output=True).stdout
    return [message for message in flv_tags(made) if message.type == VIDEO]


@pytest.mark.parametrize("codec", ENCODERS)
def test_every_picture_is_decoded_after_a_change_of_size(codec: str, tmp_path: Path) -> None:
    """As MPEG-TS has it, which SRT and RTP destinations get."""
    stream = Stream.__new__(Stream)
    stream.headers, stream._has_pictures = {VIDEO: b""}, True
    write, start, path = FlvFile(stream), 0, tmp_path / "out.ts"
    data = b""
    for size in SIZES:
        for message in tags(codec, size):
            data += write(VIDEO, start + message.timestamp, message.payload)
        start += 2000
    argv = [*command(ffmpeg_exe(), ["-f", "mpegts"]), str(path)]
    subprocess.run(argv, input=data, check=True, stdout=subprocess.DEVNULL)
    look = [ffmpeg_exe(), "-nostdin", "-v", "info", "-i", str(path), "-vf", "showinfo", "-fps_mode", "passthrough"]
    said = subprocess.run([*look, "-f", "null", "-"], check=True, capture_output=True, text=True).stderr
    assert [said.count(f" s:{size} ") for size in SIZES] == [PICTURES, PICTURES]
    assert "rror" not in said


@pytest.mark.parametrize("codec", ENCODERS)
def test_parameter_sets_are_those_of_the_header(codec: str) -> None:
    """Each NAL unit after its length; a keyframe's own follow."""
    payloads = [message.payload for message in tags(codec, SIZES[0])]
    header = payloads[0]
    first = next(payload for payload in payloads if kind_of(VIDEO, payload) is Kind.KEYFRAME)
    sets = parameter_sets(header)
    types, at = [], 0
    while at < len(sets):
        size = int.from_bytes(sets[at : at + 4], "big")
        unit = sets[at + 4 : at + 4 + size]
        assert unit in header
        types.append(unit[0] & 0x1F if codec == "h264" else unit[0] >> 1 & 0x3F)
        at += 4 + size
    assert at == len(sets)
    assert types == ([7, 8] if codec == "h264" else [32, 33, 34])
    both = with_parameter_sets(first, sets)
    assert kind_of(VIDEO, both) is Kind.KEYFRAME
    assert both.replace(sets, b"", 1) == first


def test_what_has_no_parameter_sets_stays_as_it_is() -> None:
    """Other codecs, sound, headers that are broken off."""
    av1 = b"\x90av01" + bytes(20)
    for header in (b"", b"\x17", AVC_HEADER[:14], HEVC_HEADER, av1, b"\x17\x00\x00\x00\x00\x01"):
        assert parameter_sets(header) == b""
    assert parameter_sets(AVC_HEADER)
    stream = Stream.__new__(Stream)
    stream.headers, stream._has_pictures = {VIDEO: av1, AUDIO: aac_header()}, True
    write = FlvFile(stream)
    for type_, payload in ((VIDEO, av1), (AUDIO, aac_header()), (VIDEO, b"\x91av01" + bytes(9)), (VIDEO, picture())):
        assert payload in write(type_, 0, payload)


@given(st.binary(max_size=80), st.sampled_from([b"\x17\x00\x00\x00\x00", b"\x1c\x00\x00\x00\x00", b"\x90hvc1"]))
def test_no_header_raises_anything(record: bytes, head: bytes) -> None:
    """Nor is anything in it longer than that."""
    assert len(parameter_sets(head + record)) <= 2 * len(record) + 4
