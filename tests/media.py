"""Short clips made by FFmpeg once, publishing them, and reading the frame counter that is burned into them.

Every clip is FLV and carries in its picture a counter of frames, in its first row of squares, and once a second, at
x.4 s, a white flash in step with a beep: what `tests.avmeter` measures.
"""

import fcntl
import hashlib
import socket
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from math import isqrt
from pathlib import Path

import imageio_ffmpeg

#: Where clips are kept between runs; `make clean` removes it.
CACHE = Path(__file__).parent.parent / ".pytest_cache" / "clips"
#: Options that turn a video into the smallest gray pictures that `read_counter` can read, one byte a square.
COUNTER_PICTURES = ("-vf", "scale=16:9:flags=area,format=gray", "-f", "rawvideo")
COUNTER_BYTES = 16 * 9

#: Between a white square that is always there and a black one, the counter's bits, the lowest first.
_BITS = 14
_SQUARE = 40
_WHITE = 128


@cache
def ffmpeg_exe() -> str:
    """The FFmpeg of the imageio-ffmpeg wheel, which Penstock itself uses."""
    return str(imageio_ffmpeg.get_ffmpeg_exe())


def _picture(rate: int, size: str = "640x360") -> str:
    """A dark moving test picture with flash and counter. FFmpeg's own time decides, so that a copy keeps it."""
    boxes = [
        f"testsrc2=s=640x360:r={rate}",
        "lutyuv=y=16+(val-16)*0.3:u=128+(val-128)*0.6:v=128+(val-128)*0.6",
        f"drawbox=y={_SQUARE}:c=white:t=fill:enable='between(mod(t+0.001,1),0.4,0.4999)'",
        f"drawbox=h={_SQUARE}:c=black:t=fill",
        f"drawbox=w={_SQUARE}:h={_SQUARE}:c=white:t=fill",
    ]
    for bit in range(_BITS):
        box = f"drawbox=x={(bit + 1) * _SQUARE}:w={_SQUARE}:h={_SQUARE}:c=white:t=fill"
        boxes.append(f"{box}:enable='bitand(n,{1 << bit})'")
    return ",".join([*boxes, f"scale={size}", "format=yuv420p"])


def _sound(rate: int, layout: str) -> str:
    return f"aevalsrc='0.5*sin(2*PI*1000*t)*between(mod(t,1),0.4,0.5)':s={rate}:c={layout}"


def _recipe(
    *,
    seconds: float = 20,
    picture: str | None = _picture(25),
    sound: str | None = _sound(48000, "stereo"),
    gop: int = 25,
    b_frames: int = 2,
    sound_codec: Sequence[str] = ("aac", "-b:a", "96k"),
    codec: Sequence[str] = ("libx264", "-preset", "veryfast", "-profile:v", "main", "-sc_threshold", "0"),
) -> list[str]:
    inputs = [option for source in (picture, sound) if source for option in ("-f", "lavfi", "-i", source)]
    video = ["-c:v", *codec, "-bf", str(b_frames), "-g", str(gop), "-keyint_min", str(gop), "-crf", "26"]
    audio = ["-c:a", *sound_codec]
    return [*inputs, "-t", str(seconds), *(video if picture else []), *(audio if sound else [])]


_AV1 = ("libsvtav1", "-preset", "12")
_VP9 = ("libvpx-vp9", "-deadline", "realtime", "-cpu-used", "8")
_HEVC = ("libx265", "-preset", "ultrafast", "-x265-params", "log-level=none:scenecut=0")

#: How each clip is made; FFmpeg's arguments.
_RECIPES = {
    "av": _recipe(),
    # The same for sources that differ from it in one thing.
    "plain": _recipe(seconds=6, b_frames=0),
    "small": _recipe(seconds=6, picture=_picture(30, "320x180"), gop=30),
    "44k": _recipe(seconds=6, sound=_sound(44100, "stereo")),
    "mono": _recipe(seconds=6, sound=_sound(48000, "mono")),
    "silent": _recipe(seconds=6, sound=None),
    "longer": _recipe(seconds=5.3, picture=f"{_picture(25)},trim=end=5"),
    "dark": _recipe(seconds=6, picture=None),
    "hevc": _recipe(seconds=6, codec=_HEVC),
    "av1-opus": _recipe(seconds=6, b_frames=0, codec=_AV1, sound_codec=["libopus"]),
    "vp9": _recipe(seconds=6, b_frames=0, codec=_VP9),
    "tracks": [*_recipe(seconds=6), *("-map", "0:v", "-map", "1:a", "-map", "0:v", "-map", "1:a")],
}


def clip(name: str) -> Path:
    """An FLV clip, made if it is not there; several processes may ask at once.

    ``av``: 20 s of H.264 640x360, 25 frames/s, a keyframe each second, 2 B-frames, AAC 48 kHz stereo. The others are
    6 s long and differ from it: ``plain`` (no B-frames), ``small`` (320x180, 30 frames/s), ``44k``, ``mono``,
    ``silent`` (no audio track), ``dark`` (no video track), ``hevc``, ``av1-opus``, ``vp9``, ``tracks`` (two pictures
    and two sounds), ``longer`` (5 s of pictures, 5.3 s of sound).
    """
    recipe = _RECIPES[name]
    version = hashlib.sha256("\0".join([Path(ffmpeg_exe()).name, *recipe]).encode()).hexdigest()[:8]
    path = CACHE / f"{name}-{version}.flv"
    if path.exists():
        return path
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not path.exists():
            unfinished = path.with_suffix(".tmp")
            flv = ["-flvflags", "no_duration_filesize", "-f", "flv", str(unfinished)]
            subprocess.run([ffmpeg_exe(), "-nostdin", "-v", "error", "-y", *recipe, *flv], check=True)
            unfinished.rename(path)
    return path


def file(name: str, ending: str = "mp4", seconds: float | None = None) -> Path:
    """The media of a clip, or its first `seconds`, as a file of another format (``mp4``, ``ts``, ``flv``)."""
    source = clip(name)
    cut, span = ("", []) if seconds is None else (f"-{seconds:g}", ["-t", str(seconds)])
    path = source.with_name(f"{source.stem}{cut}.file.{ending}")
    with path.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not path.exists():
            unfinished = path.with_suffix(f".tmp.{ending}")
            command = [ffmpeg_exe(), "-nostdin", "-v", "error", "-y", "-i", str(source), *span, "-c", "copy"]
            subprocess.run([*command, str(unfinished)], check=True)
            unfinished.rename(path)
    return path


@contextmanager
def publish(url: str, source: str | Path, loop: bool = True) -> Iterator["subprocess.Popen[bytes]"]:
    """Publish a clip (its name or path) to an RTMP URL in real time, until the block ends: FFmpeg, copying."""
    path = clip(source) if isinstance(source, str) and source in _RECIPES else Path(source)
    again = ["-stream_loop", "-1"] if loop else []
    command = [ffmpeg_exe(), "-nostdin", "-v", "error", "-re", *again, "-i", str(path), "-c", "copy"]
    with subprocess.Popen([*command, "-f", "flv", url], stderr=subprocess.DEVNULL) as process:
        try:
            yield process
        finally:
            process.kill()


def free_udp_port() -> int:
    """A port at which nobody listened a moment ago, nor at the next one."""
    while True:
        with socket.socket(type=socket.SOCK_DGRAM) as first, socket.socket(type=socket.SOCK_DGRAM) as second:
            first.bind(("127.0.0.1", 0))
            port: int = first.getsockname()[1]
            with suppress(OSError, OverflowError):
                second.bind(("127.0.0.1", port + 1))
                return port


def read_counter(frame: bytes) -> int | None:
    """The number burned into a gray 16:9 picture of any size; None if the picture shows no counter."""
    width = isqrt(len(frame) * 16 // 9)
    square = width // 16
    middle = square // 2 * (width + 1)
    first, *bits, last = (frame[middle + square * at] >= _WHITE for at in range(16))
    if not first or last:
        return None
    return sum(bit << at for at, bit in enumerate(bits))


def counters(source: str | Path, *options: str, seconds: float | None = None) -> list[int | None]:
    """The counter of every picture of a file or stream, in the order of presentation."""
    span = [] if seconds is None else ["-t", str(seconds)]
    command = [ffmpeg_exe(), "-nostdin", "-v", "error", *options, "-i", str(source), *span, "-map", "0:v:0"]
    command += ["-fps_mode", "passthrough", *COUNTER_PICTURES, "-"]
    pictures = subprocess.run(command, check=True, capture_output=True).stdout
    return [read_counter(pictures[at : at + COUNTER_BYTES]) for at in range(0, len(pictures), COUNTER_BYTES)]
