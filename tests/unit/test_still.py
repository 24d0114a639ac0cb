"""Stills: made by a real FFmpeg in the parameters of real streams, and decoded again."""

import asyncio
import subprocess
from pathlib import Path

import pytest

from penstock.errors import MediaError
from penstock.media.child import Children
from penstock.media.framing import flv, flv_header
from penstock.media.packet import VIDEO, Kind, codec_name, composition_time, kind_of, with_composition_time
from penstock.media.still import Still, Stills, rate_of
from tests.media import clip, counters, ffmpeg_exe
from tests.rtmp_wire import Message, flv_tags

#: Gray levels.
DARK, LIGHT = 60, 200


def video(name: str) -> tuple[bytes, list[Message]]:
    """A clip's video header, and its coded pictures."""
    messages = [message for message in flv_tags(clip(name)) if message.type == VIDEO]
    kinds = [kind_of(VIDEO, message.payload) for message in messages]
    header = messages[kinds.index(Kind.HEADER)].payload
    return header, [m for m, kind in zip(messages, kinds, strict=True) if kind in (Kind.KEYFRAME, Kind.FRAME)]


def written(still: Still, path: Path) -> Path:
    """A still played once, as FLV."""
    tags = [flv(VIDEO, round(at * still.frame), payload) for at, payload in enumerate(still.frames)]
    path.write_bytes(b"".join([flv_header(audio=False, video=True), flv(VIDEO, 0, still.header), *tags]))
    return path


def described(path: Path) -> str:
    """What FFmpeg says of the video: codec, profile, size."""
    said = subprocess.run(
        [ffmpeg_exe(), "-hide_banner", "-i", path], capture_output=True, text=True, check=False
    ).stderr
    return next(line.strip() for line in said.splitlines() if "Video:" in line)


def gray(path: Path, size: str = "32x18") -> list[bytes]:
    """Every picture, shrunk to gray squares."""
    width, height = map(int, size.split("x"))
    options = ["-vf", f"scale={size}:flags=area,format=gray", "-fps_mode", "passthrough", "-f", "rawvideo", "-"]
    done = subprocess.run([ffmpeg_exe(), "-v", "error", "-i", path, *options], check=True, capture_output=True)
    assert done.stderr == b""
    return [done.stdout[at : at + width * height] for at in range(0, len(done.stdout), width * height)]


def picture(path: Path, size: str = "200x200", color: str = "white") -> Path:
    """A file with one color."""
    make = [
        ffmpeg_exe(),
        "-v",
        "error",
        "-y",
        "-f",
        "lavfi",
        "-i",
        f"color=c={color}:s={size}",
        "-frames:v",
        "1",
        str(path),
    ]
    subprocess.run(make, check=True)
    return path


@pytest.mark.parametrize("name", ["av", "small", "hevc", "av1-opus", "vp9"])
async def test_still_is_in_the_streams_own_parameters(name: str, tmp_path: Path) -> None:
    """Codec, profile, pixel format and size, and as many pictures as 2 s have; a keyframe first, then none."""
    header, frames = video(name)
    still = await Stills(ffmpeg_exe(), Children()).of_picture(header, frames[0].payload, 25)
    assert codec_name(VIDEO, still.header) == codec_name(VIDEO, header)
    assert {composition_time(with_composition_time(payload, 80)) for payload in still.frames} == {
        80 if codec_name(VIDEO, header) in ("h264", "hevc") else 0
    }
    kinds = [kind_of(VIDEO, payload) for payload in still.frames]
    assert kinds == [Kind.KEYFRAME] + [Kind.FRAME] * 49
    made, source = (described(path).split(", ") for path in (written(still, tmp_path / "still.flv"), clip(name)))
    assert made[0].split("(")[:2] == source[0].split("(")[:2]
    assert [part.split(" ")[0] for part in made if "x" in part][:1] == [p.split(" ")[0] for p in source if "x" in p][:1]
    assert len(set(gray(tmp_path / "still.flv"))) == 1


async def test_hevc_from_before_enhanced_rtmp_stays_in_its_layout(tmp_path: Path) -> None:
    """Whoever takes that from the source may know no other."""
    header, frames = video("hevc")
    assert frames[0].payload[0] == 0x91  # with a composition time
    header, frame = b"\x1c\x00\x00\x00\x00" + header[5:], b"\x1c\x01" + frames[0].payload[5:]
    still = await Stills(ffmpeg_exe(), Children()).of_picture(header, frame, 25)
    assert [payload[:2] for payload in still.frames] == [b"\x1c\x01"] + [b"\x2c\x01"] * 49
    again = Still(b"\x90hvc1" + still.header[5:], tuple(_again(payload) for payload in still.frames), still.frame)
    assert len(set(gray(written(again, tmp_path / "still.flv")))) == 1
    assert still.header[:5] == header[:5]


def _again(payload: bytes) -> bytes:
    """A frame of HEVC as FFmpeg reads it."""
    return bytes((0x80 | payload[0] & 0x70 | 1,)) + b"hvc1" + payload[2:]


@pytest.mark.parametrize(("size", "white"), [("200x200", (7, 24)), ("400x100", (0, 31))], ids=["square", "wide"])
async def test_picture_keeps_its_shape_on_black(tmp_path: Path, size: str, white: tuple[int, int]) -> None:
    """It is scaled into the middle of the frame, not stretched."""
    header, frames = video("av")
    stills = Stills(ffmpeg_exe(), Children(), str(picture(tmp_path / "a b.png", size)))
    shown = gray(written(await stills.of_picture(header, frames[0].payload, 25), tmp_path / "still.flv"))
    assert len(shown) == 50
    row = shown[0][32 * 9 : 32 * 10]
    assert [at for at, level in enumerate(row) if level > LIGHT][:: len(row) or 1][:1] == [white[0]]
    assert [at for at, level in enumerate(row) if level > LIGHT][-1] == white[1]
    corner = shown[0][0]
    assert corner < DARK


async def test_without_a_file_there_is_a_sign_of_our_own(tmp_path: Path) -> None:
    """Two light bars on dark ground."""
    header, frames = video("av")
    shown = gray(
        written(await Stills(ffmpeg_exe(), Children()).of_picture(header, frames[0].payload, 25), tmp_path / "s")
    )
    row = shown[0][32 * 9 : 32 * 10]
    assert "".join("#" if level > 100 else " " for level in row).split() == ["#", "#"]


async def test_last_is_the_last_picture_that_was_sent(tmp_path: Path) -> None:
    """The newest in the order of presentation: a P-frame comes before its B-frames."""
    header, frames = video("av")
    still = await Stills(ffmpeg_exe(), Children()).of_last(header, [m.payload for m in frames[:23]], 25)
    assert set(counters(written(still, tmp_path / "still.flv"))) == {23}
    assert len(still.frames) == 50


async def test_last_is_the_last_one_that_can_be_decoded(tmp_path: Path) -> None:
    """A frame that is garbage leaves the one before it."""
    header, frames = video("plain")
    payloads = [message.payload for message in frames[:10]]
    payloads[-1] = payloads[-1][:5] + bytes(40)
    still = await Stills(ffmpeg_exe(), Children()).of_last(header, payloads, 25)
    assert set(counters(written(still, tmp_path / "still.flv"))) == {8}


async def test_equal_streams_share_a_still() -> None:
    """Also while it is being made, and when one of those who wait gives up."""
    header, frames = video("av")
    stills = Stills(ffmpeg_exe(), Children())
    asked = [asyncio.create_task(stills.of_picture(header, frames[at].payload, 25)) for at in (0, 0, 25)]
    await asyncio.sleep(0)
    asked[0].cancel()
    second, third = await asked[1], await asked[2]
    assert second is third
    assert await stills.of_picture(header, frames[0].payload, 25) is second
    assert await stills.of_picture(header, frames[0].payload, 30) is not second


@pytest.mark.parametrize(
    ("header", "frame"),
    [
        (b"\x17\x00\x00\x00\x00", b"\x17\x01\x00\x00\x00"),
        (b"\x17\x00\x00\x00\x00" + bytes(range(40)), b"\x17\x01\x00\x00\x00" + bytes(4000)),
        (b"\x90hvc1" + bytes(40), b"\x91hvc1" + bytes(100)),
    ],
    ids=["empty", "garbage", "hevc"],
)
async def test_stream_that_cannot_be_decoded_has_none(header: bytes, frame: bytes) -> None:
    with pytest.raises(MediaError, match=r"FFmpeg made no still: ."):
        await Stills(ffmpeg_exe(), Children()).of_picture(header, frame, 25)


async def test_codec_without_an_encoder_is_named() -> None:
    with pytest.raises(MediaError, match="stills in vvc cannot be made"):
        await Stills(ffmpeg_exe(), Children()).of_picture(b"\x90vvc1" + bytes(40), b"", 25)


async def test_picture_that_is_none_is_told_with_its_name(tmp_path: Path) -> None:
    """And is tried again the next time, since the operator may have put another there."""
    (tmp_path / "logo.png").write_text("no picture")
    header, frames = video("av")
    stills = Stills(ffmpeg_exe(), Children(), str(tmp_path / "logo.png"))
    with pytest.raises(MediaError, match=r"logo\.png"):
        await stills.of_picture(header, frames[0].payload, 25)
    picture(tmp_path / "logo.png")
    assert (await stills.of_picture(header, frames[0].payload, 25)).frames


@pytest.mark.parametrize(
    ("frame", "rate"), [(40.0, 25), (33.37, 30), (33.1, 30), (41.7, 24), (16.9, 60), (200.0, 5), (0.0, 120)]
)
def test_rate_is_the_nearest_of_those_in_use(frame: float, rate: int) -> None:
    assert rate_of(frame) == rate
