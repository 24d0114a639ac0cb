"""Measures what a viewer gets: whether picture and sound are there, hold together, and have holes.

Made for the clips of `tests.media`, which flash and beep at x.4 s of every second. FFmpeg decodes a file or a stream
twice, once for each kind: its newer versions mix and lose lines when one run prints both.
"""

import re
import subprocess
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from statistics import median

from tests.media import ffmpeg_exe

#: A flash is brighter than this (mean luma), a beep louder (dBFS, peak of a millisecond).
BRIGHT, LOUD = 100.0, -30.0
#: Seconds of dark or silence before a flash or beep is a new one.
_PAUSE = 0.3
#: A hole in the sound that the Timeline leaves (ms): one and a half frames of AAC at 48 kHz, and what FLV rounds off.
UNFILLED = 33.0
#: A beep further from a flash than this (ms) belongs to another one, or its own was cut.
_APART = 450.0

# Times are read from `pts` in these time bases: FFmpeg prints `pts_time` with six digits only.
_PICTURE = (
    "scale=8:8:flags=area,format=gray,settb=1/1000,signalstats,metadata=mode=print:key=lavfi.signalstats.YAVG:file=-"
)
_SOUND = (
    "aresample=48000,asettb=1/48000,asetnsamples=n=48:p=0,"
    "astats=metadata=1:reset=1:measure_perchannel=none:measure_overall=Peak_level,"
    "ametadata=mode=print:key=lavfi.astats.Overall.Peak_level:file=-"
)
_LINE = re.compile(r"pts:(-?\d+).*\n.*=(-?[\d.]+|-?inf|nan)")


@dataclass(frozen=True)
class Reading:
    """What was measured. Times are in seconds of the stream, differences in milliseconds."""

    #: When each picture is shown, and each millisecond of sound is heard.
    pictures: list[float] = field(repr=False)
    sounds: list[float] = field(repr=False)
    flashes: list[float]
    beeps: list[float]
    #: What FFmpeg complained about.
    errors: list[str]

    @property
    def offsets(self) -> list[float]:
        """Beep minus flash, for each flash that has a beep: positive if the sound is late."""
        if not self.beeps:
            return []
        nearest = ((min(self.beeps, key=lambda beep: abs(beep - flash)) - flash) * 1000 for flash in self.flashes)
        return [offset for offset in nearest if abs(offset) <= _APART]

    @property
    def offset(self) -> float:
        """The median of `offsets`."""
        return median(self.offsets)

    @property
    def drift(self) -> float:
        """By how much the offset has changed between the first five flashes and the last five."""
        return median(self.offsets[-5:]) - median(self.offsets[:5])

    @property
    def picture_gap(self) -> float:
        """The longest time for which one picture stands; a frame's duration if nothing is missing."""
        return _longest_step(self.pictures)

    @property
    def sound_gap(self) -> float:
        """The longest hole in the sound; silence is no hole."""
        return max(0.0, _longest_step(self.sounds) - 1)

    def __str__(self) -> str:
        offsets = self.offsets or [0.0]
        return (
            f"{len(self.pictures)} pictures, longest {self.picture_gap:.0f} ms; longest hole in the sound "
            f"{self.sound_gap:.0f} ms; {len(self.flashes)} flashes, {len(self.beeps)} beeps, sound later by "
            f"{min(offsets):.1f} to {max(offsets):.1f} ms; {len(self.errors)} complaints"
        )


def measure(source: str | Path, *options: str, ffmpeg: str | None = None) -> Reading:
    """Decode a file or URL to its end and measure it; `options` come before the input, e.g. ``-t 10``."""
    program = ffmpeg or ffmpeg_exe()
    pictures, complaints = _series(program, source, options, "0:v:0?", "-vf", _PICTURE, 1000)
    sounds, more = _series(program, source, options, "0:a:0?", "-af", _SOUND, 48000)
    return Reading(
        pictures=[time for time, _ in pictures],
        sounds=[time for time, _ in sounds],
        flashes=_onsets(pictures, BRIGHT),
        beeps=_onsets(sounds, LOUD),
        errors=complaints + more,
    )


def _series(
    program: str, source: str | Path, options: tuple[str, ...], stream: str, flag: str, filters: str, base: int
) -> tuple[list[tuple[float, float]], list[str]]:
    """(time, value) of every picture or millisecond of sound, and the lines of stderr."""
    command = [program, "-nostdin", "-v", "error", "-copyts", *options, "-i", str(source), "-map", stream]
    command += [flag, filters, "-fps_mode", "passthrough", "-f", "null", "/dev/null"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if "does not contain any stream" in done.stderr:
        return [], []
    # Times that are too close for the null output's own clock are no fault of the stream.
    complaints = [line for line in done.stderr.splitlines() if not line.startswith("[null @")]
    return [(int(pts) / base, float(value)) for pts, value in _LINE.findall(done.stdout)], complaints


def _onsets(series: list[tuple[float, float]], threshold: float) -> list[float]:
    """When the value rises above the threshold after a pause below it."""
    onsets = []
    last = float("-inf")
    for time, value in series:
        if value > threshold:
            if not last <= time <= last + _PAUSE:
                onsets.append(time)
            last = time
    return onsets


def _longest_step(times: list[float]) -> float:
    return max(((later - sooner) * 1000 for sooner, later in pairwise(times)), default=0.0)
