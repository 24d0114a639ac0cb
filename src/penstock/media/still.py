"""Stills: one picture as a short stream in the parameters of another, made by FFmpeg, to be looped from memory.

What a still must look like is told by that stream's own header and a keyframe of it, which the child decodes: size,
aspect, pixel format and colours are the frame's, whatever its codec. A still has no sound.
"""

import asyncio
import math
import socket
from collections import OrderedDict
from collections.abc import Sequence
from typing import NamedTuple

from penstock.errors import MediaError
from penstock.media.child import Children, Limits
from penstock.media.flv import FlvReader
from penstock.media.framing import flv, flv_header
from penstock.media.packet import VIDEO, Kind, codec_name, kind_of
from penstock.media.rtmp.chunk import Message

#: Seconds that a child may take, on a busy machine. Of CPU time it takes 0.15 s at 640x360, 1 s at 1080p, 4 s at 2160p.
PATIENCE = 60
#: What it may use; 2160p needs 0.8 GB.
LIMITS = Limits(memory=1 << 30, cpu=2.0)
#: Seconds until a still comes round to its keyframe again.
LENGTH = 2
#: Stills that are kept, each for all streams of the same look; one has 3 to 300 kB.
KEPT = 32
#: The frame rates that encoders use; one that is measured means the nearest.
RATES = (5, 8, 10, 12, 15, 20, 24, 25, 30, 48, 50, 60, 90, 100, 120)
_READ = 1 << 16

#: Receivers that copy (FFmpeg 5.1, to MPEG-TS) overlook a header that changes. So H.264's parameter sets stand in front
#: of the keyframe, too, and under a number of their own: those of the source, which may come no more, stay in force.
_X264 = "sps-id=31:repeat-headers=1"
#: FFmpeg's options for each codec's encoder. B-frames would delay the picture for nothing.
_ENCODERS = {
    "h264": (
        "libx264",
        "-preset",
        "veryfast",
        "-tune",
        "stillimage",
        "-sc_threshold",
        "0",
        "-bf",
        "0",
        "-x264-params",
        _X264,
    ),
    "hevc": ("libx265", "-preset", "veryfast", "-x265-params", "log-level=none:scenecut=0:bframes=0:pools=2"),
    "av1": ("libsvtav1", "-preset", "12"),
    "vp9": ("libvpx-vp9", "-deadline", "realtime", "-cpu-used", "8"),
}
#: HEVC's number in the layout that Chinese CDNs have made of FLV's table, and how its header begins.
_HEVC = 12
_OLD_HEVC = 0x10 | _HEVC
#: AVCProfileIndication (ISO/IEC 14496-15, 5.3.3.1) as x264 calls it. Others follow from the pixel format.
_AVC_PROFILES = {66: "baseline", 77: "main", 100: "high"}
#: Where it stands in FLV's header of H.264: after type, packet type, composition time and version.
_PROFILE_AT = 6
#: What is shown where the operator names no picture: a pause sign, which needs no language.
_BUILT_IN = (
    "color=c=0x1c1f24:s=1280x720,drawbox=x=550:y=240:w=60:h=240:c=0x8a8f98:t=fill,"
    "drawbox=x=670:y=240:w=60:h=240:c=0x8a8f98:t=fill"
)


class Still(NamedTuple):
    """A stream of one picture: its header, its coded frames (a keyframe first), and how long each is shown (ms)."""

    header: bytes
    frames: tuple[bytes, ...]
    frame: float


def rate_of(frame: float) -> int:
    """Return the frame rate (Hz) that is meant by a measured duration of a frame (ms)."""
    return min(RATES, key=lambda rate: abs(math.log(rate * max(frame, 1.0) / 1000)))


class Stills:
    """Makes stills with `program` (FFmpeg), one at a time: streams come first. `picture` is the operator's file (an
    absolute path); empty: a sign of our own.
    """

    def __init__(self, program: str, children: Children, picture: str = "") -> None:
        self._program = program
        self._children = children
        self._picture = picture
        self._turn = asyncio.Semaphore(1)
        self._making: OrderedDict[tuple[bytes, int], asyncio.Task[Still]] = OrderedDict()

    async def of_picture(self, header: bytes, keyframe: bytes, rate: int) -> Still:
        """Return the picture as a stream with this header would show it; each look is made once.

        `keyframe` is any of that stream. Raise `MediaError`.
        """
        key = (header, rate)
        making = self._making.get(key)
        if making is None or (making.done() and (making.cancelled() or making.exception())):
            making = asyncio.get_running_loop().create_task(self._make(header, [keyframe], rate, fresh=True))
            making.add_done_callback(lambda made: made.cancelled() or made.exception())  # there may be nobody to tell
            self._making[key] = making
        self._making.move_to_end(key)
        while len(self._making) > KEPT:
            self._making.popitem(last=False)
        return await asyncio.shield(making)

    async def of_last(self, header: bytes, frames: Sequence[bytes], rate: int) -> Still:
        """Return the last picture that can be decoded of these frames, a keyframe and what followed it.

        Raise `MediaError`.
        """
        return await self._make(header, frames, rate, fresh=False)

    async def _make(self, header: bytes, frames: Sequence[bytes], rate: int, *, fresh: bool) -> Still:
        codec = codec_name(VIDEO, header)
        if codec not in _ENCODERS:
            raise MediaError(f"stills in {codec or 'this codec'} cannot be made")
        argv = self._command(codec, header, len(frames), rate, fresh=fresh)
        step, is_old = 1000 / rate, header[0] == _OLD_HEVC
        coded = [_enhanced(payload) for payload in (header, *frames)] if is_old else [header, *frames]
        tags = [flv(VIDEO, round(max(0, at) * step), payload) for at, payload in enumerate(coded, -1)]
        data = b"".join([flv_header(audio=False, video=True), *tags])
        try:
            async with self._turn, asyncio.timeout(PATIENCE):
                made, reason = await self._run(argv, data)
        except TimeoutError:
            raise MediaError(f"{self._nothing(fresh)} within {PATIENCE} s") from None
        if not made:
            raise MediaError(f"{self._nothing(fresh)}: {reason}")
        still = _read(made, step)
        return Still(_old(still.header), tuple(map(_old, still.frames)), step) if is_old else still

    def _nothing(self, fresh: bool) -> str:
        return f"FFmpeg made no still of {self._picture}" if fresh and self._picture else "FFmpeg made no still"

    def _command(self, codec: str, header: bytes, frames: int, rate: int, *, fresh: bool) -> list[str]:
        """FFmpeg's arguments: FLV with `frames` pictures comes in, `LENGTH` seconds of one picture go out."""
        length = LENGTH * rate
        profile = _profile(codec, header)
        if not fresh:
            inputs: list[str] = []
            # The last frame, for as long as any might be missing, and from the first of these on.
            graph = f"[0:v]tpad=stop_mode=clone:stop={frames + length},trim=start_frame={frames}"
        else:
            inputs = ["-i", f"file:{self._picture}"] if self._picture else ["-f", "lavfi", "-i", _BUILT_IN]
            graph = (
                "[0:v]trim=end_frame=1,split[frame][size];[frame]drawbox=t=fill:c=black[ground];"
                "[1:v]trim=end_frame=1[p];"
                "[p][size]scale=w=rw:h=rh:force_original_aspect_ratio=decrease:force_divisible_by=2[picture];"
                f"[ground][picture]overlay=(W-w)/2:(H-h)/2,tpad=stop_mode=clone:stop={length}"
            )
        return [
            *(self._program, "-nostdin", "-hide_banner", "-v", "error", "-threads", "2", "-f", "flv", "-i", "pipe:0"),
            *(*inputs, "-filter_complex", f"{graph},setpts=N/({rate}*TB)[out]", "-map", "[out]"),
            *("-frames:v", str(length), "-r", str(rate), "-threads", "2", "-c:v", *_ENCODERS[codec], "-crf", "23"),
            *(("-profile:v", profile) if profile else ()),
            *(
                "-g",
                str(length),
                "-keyint_min",
                str(length),
                "-flvflags",
                "no_duration_filesize",
                "-f",
                "flv",
                "pipe:1",
            ),
        ]

    async def _run(self, argv: Sequence[str], data: bytes) -> tuple[bytes, str]:
        """Return what the child makes of `data`, and why it has ended."""
        loop = asyncio.get_running_loop()
        async with self._children.run(argv, LIMITS) as child:

            async def feed() -> None:
                try:
                    await loop.sock_sendall(child.sock, data)
                    child.sock.shutdown(socket.SHUT_WR)
                except OSError:
                    return  # it has ended, and says why

            feeding = loop.create_task(feed())
            made = bytearray()
            try:
                while piece := await loop.sock_recv(child.sock, _READ):
                    made += piece
            except OSError:
                made.clear()
            finally:
                feeding.cancel()
            return bytes(made), await child.ended()


def _profile(codec: str, header: bytes) -> str:
    """Return x264's name of the profile in a header of H.264; empty: it has none, or is of another layout."""
    if codec != "h264" or header[0] & 0x80:
        return ""
    return _AVC_PROFILES.get(int.from_bytes(header[_PROFILE_AT : _PROFILE_AT + 1], "big"), "")


def _enhanced(payload: bytes) -> bytes:
    """Return a message of HEVC as FFmpeg reads it, which came in the layout from before Enhanced RTMP."""
    if payload[1] == 0:
        return b"\x90hvc1" + payload[5:]
    return bytes((0x81 | payload[0] & 0x70,)) + b"hvc1" + payload[2:]


def _old(payload: bytes) -> bytes:
    """Return a message of HEVC that FFmpeg has written in the layout from before Enhanced RTMP."""
    frame, packet = payload[0] & 0x70 | _HEVC, payload[0] & 0x0F
    return bytes((frame, packet)) + (payload[5:] if packet else bytes(3) + payload[5:])


def _timed(payload: bytes) -> bytes:
    """Return a frame of HEVC in the layout that has room for a composition time; others as they are."""
    if payload[0] & 0x8F == 0x83 and payload[1:5] == b"hvc1":
        return bytes((payload[0] & 0xF0 | 1,)) + b"hvc1" + bytes(3) + payload[5:]
    return payload


def _read(made: bytes, step: float) -> Still:
    """Read what the child has written. Raise `MediaError`."""
    messages: list[Message] = []
    FlvReader().read(made, messages.append)
    video = [(payload, kind_of(VIDEO, payload)) for type_, _, payload in messages if type_ == VIDEO]
    headers = [payload for payload, kind in video if kind is Kind.HEADER]
    frames = [(payload, kind) for payload, kind in video if kind is Kind.KEYFRAME or kind is Kind.FRAME]
    if not headers or not frames or frames[0][1] is not Kind.KEYFRAME:
        raise MediaError("FFmpeg made no still: what it wrote has no header or no keyframe")
    return Still(headers[0], tuple(_timed(payload) for payload, _ in frames), step)
