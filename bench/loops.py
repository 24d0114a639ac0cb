"""Loops and playlists beside FFmpeg: what a viewer sees at their seams, and what they cost.

The seams are measured on the output's media, which both make as fast as they can; the cost in real time, with an nginx
that serves the files and takes what is published. Neither nginx is counted.
"""

import asyncio
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from itertools import chain
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent))

from bench.relay import judged
from penstock.media.child import cpu_seconds
from penstock.media.plan import Playlist
from tests import avmeter
from tests.e2e.nginx import Nginx
from tests.media import ffmpeg_exe, file
from tests.unit.playing import playing

LOOPS, ROUNDS = 110, 10
#: Pictures for 5 s, sound for 0.3 s more; four files that differ in size, rate, B-frames and sound.
CLIP, CLIP_SECONDS = "longer", 5.0
UNLIKE = ("plain", "small", "44k", "silent")
#: Streams that are compared, and channels of one worker; seconds that the cost is measured, and before that.
STREAMS, CHANNELS, SECONDS, SETTLE = 10, 100, 61.0, 5.0
#: The targets.
MOST_STEP, MOST_UNLIKE_STEP, MOST_DRIFT, MOST_OF_CPU, MOST_OF_CPU_SHORT = 41.0, 81.0, 10.0, 1.0, 1.5
_QUIET = ("-nostdin", "-v", "error", "-y")


def ffmpeg(*arguments: str | Path) -> None:
    """Run FFmpeg to its end."""
    subprocess.run([ffmpeg_exe(), *_QUIET, *map(str, arguments)], check=True)


async def play(names: Sequence[str], rounds: int, out: Path) -> None:
    """Write what our player puts out."""
    async with playing({name: file(name) for name in names}) as stage:
        urls = tuple(stage.server.url(f"/{name}.mp4") for name in names)
        stage.start(Playlist(id="source", urls=urls, rounds=rounds))
        await stage.ended(600)
        stage.write(out)


def row(name: str, reading: avmeter.Reading) -> None:
    """One line of a table."""
    length = reading.pictures[-1] - reading.pictures[0] + 0.04
    print(
        f"| {name} | {reading.picture_gap:.0f} | {length:.2f} | {reading.sound_gap:.0f} | "
        f"{min(reading.offsets):.1f} to {max(reading.offsets):.1f} | {reading.drift:.1f} | {len(reading.errors)} |"
    )


def compare_seams(folder: Path) -> bool:
    """One short file again and again, and four unlike ones; whether the targets are met."""
    head = (
        "| | largest picture step, ms | length, s | largest hole in the sound, ms | sound after picture, ms | "
        "drift, ms | decoder errors |\n|---|---|---|---|---|---|---|"
    )
    asyncio.run(play([CLIP], LOOPS, folder / "loops.flv"))
    ffmpeg("-stream_loop", str(LOOPS - 1), "-i", file(CLIP), "-c", "copy", folder / "theirs.flv")
    print(f"\n{LOOPS} times {CLIP_SECONDS:g} s of pictures with 0.3 s more of sound:\n\n{head}")
    ours = avmeter.measure(folder / "loops.flv")
    row("Penstock", ours)
    row("`-stream_loop -c copy`", avmeter.measure(folder / "theirs.flv"))
    asyncio.run(play(UNLIKE, ROUNDS, folder / "unlike.flv"))
    (folder / "list").write_text("".join(f"file '{file(name)}'\n" for name in UNLIKE * ROUNDS))
    ffmpeg("-f", "concat", "-safe", "0", "-i", folder / "list", "-c", "copy", folder / "concat.flv")
    print(f"\n{ROUNDS} rounds of four unlike files of 6 s ({', '.join(UNLIKE)}):\n\n{head}")
    unlike = avmeter.measure(folder / "unlike.flv")
    row("Penstock", unlike)
    row("concat demuxer, `-c copy`", avmeter.measure(folder / "concat.flv"))
    length = ours.pictures[-1] - ours.pictures[0] + 0.04
    return all(
        [
            judged("largest step of a loop, ms", ours.picture_gap, MOST_STEP),
            judged("length of the loops too long or short by, s", abs(length - LOOPS * CLIP_SECONDS), 0.1),
            judged("A/V offset changed by, ms", max(ours.offsets) - min(ours.offsets), MOST_DRIFT),
            judged("largest step of unlike files, ms", unlike.picture_gap, MOST_UNLIKE_STEP),
            judged("decoder errors of unlike files", float(len(unlike.errors)), 0.0),
        ]
    )


def make_file(path: Path, seconds: int) -> None:
    """720p30 H.264 and AAC at 2 Mbit/s; the same ten seconds again and again."""
    ten = path.with_name("ten.mp4")
    if not ten.exists():
        picture = ["-f", "lavfi", "-i", "testsrc2=s=1280x720:r=30,noise=alls=8:allf=t"]
        coded = [
            "-c:v",
            "libx264",
            "-preset",
            "veryfast",
            "-b:v",
            "1.9M",
            "-maxrate",
            "2M",
            "-bufsize",
            "2M",
            "-g",
            "60",
        ]
        sound = ["-f", "lavfi", "-i", "sine=1000:r=48000", "-c:a", "aac", "-b:a", "96k"]
        ffmpeg(*picture, *sound[:4], "-t", "10", *coded, *sound[4:], ten)
    ffmpeg("-stream_loop", "-1", "-i", ten, "-t", str(seconds), "-c", "copy", "-movflags", "+faststart", path)


def used(processes: Sequence[subprocess.Popen[bytes]]) -> float:
    """CPU seconds of processes, their children that live, and those that have ended."""
    total = 0.0
    for process in processes:
        fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        total += sum(int(field) for field in fields[11:15]) / 100 + sum(map(_used, children))
    return total


def _used(pid: str) -> float:
    try:
        return cpu_seconds(int(pid))
    except FileNotFoundError:  # it has just ended
        return 0.0


def costs(*groups: Sequence[subprocess.Popen[bytes]], streams: int) -> list[float]:
    """Per cent of a core for each of a group's `streams`, all groups at the same time. The processes are killed."""
    try:
        time.sleep(SETTLE + streams * 0.05)
        before, began = [used(group) for group in groups], time.monotonic()
        time.sleep(SECONDS)
        seconds = time.monotonic() - began
        return [(used(group) - had) / seconds / streams * 100 for group, had in zip(groups, before, strict=True)]
    finally:
        for process in chain(*groups):
            process.kill()
            process.wait()


def ours(url: str, sinks: Sequence[str]) -> list[subprocess.Popen[bytes]]:
    """One engine that plays a file for ever to each of the sinks."""
    return [subprocess.Popen([sys.executable, "-m", "bench.playlists_alone", url, *sinks])]


def theirs(url: str, sinks: Sequence[str]) -> list[subprocess.Popen[bytes]]:
    """An FFmpeg for each."""
    loop = [ffmpeg_exe(), *_QUIET, "-re", "-stream_loop", "-1", "-i", url, "-c", "copy", "-f", "flv"]
    return [subprocess.Popen([*loop, sink]) for sink in sinks]


def compare_cost(folder: Path) -> bool:
    """CPU of looping a long file and a short one, and of a hundred channels; whether the targets are met."""
    results = []
    with ExitStack() as stack:
        nginx = stack.enter_context(Nginx(folder / "nginx"))
        sinks = [f"{nginx.url}/live/{number}" for number in range(CHANNELS)]
        print("\n| file, 2 Mbit/s | Penstock, % of a core each | `ffmpeg -re -stream_loop -1 -c copy` |\n|---|---|---|")
        for seconds, most in ((60, MOST_OF_CPU), (5, MOST_OF_CPU_SHORT)):
            make_file(nginx.www / f"{seconds}.mp4", seconds)
            url = f"{nginx.http_url}/{seconds}.mp4"
            sides = ours(url, sinks[:STREAMS]), theirs(url, sinks[STREAMS : 2 * STREAMS])
            mine, other = costs(*sides, streams=STREAMS)
            print(f"| {seconds} s | {mine:.2f} | {other:.2f} |")
            results.append((f"CPU of a file of {seconds} s, of FFmpeg's", mine / other, most))
        [many] = costs(ours(f"{nginx.http_url}/60.mp4", sinks), streams=CHANNELS)
        print(f"\n{CHANNELS} channels of the file of 60 s in one worker: {many * CHANNELS:.0f} % of a core in all.")
        results.append((f"cores for {CHANNELS} channels", many * CHANNELS / 100, 2.0))
    print()
    met = [judged(*result) for result in results]
    return all(met)


def main() -> int:
    """Measure, print the tables, and say whether the targets are met; ``seams`` or ``cost`` alone if asked."""
    parts = {"seams": compare_seams, "cost": compare_cost}
    asked = sys.argv[1:] or list(parts)
    with tempfile.TemporaryDirectory() as folder:
        try:
            met = [parts[name](Path(folder)) for name in asked]
        except pytest.skip.Exception as missing:
            print(missing)
            return 1
    return 0 if all(met) else 1


if __name__ == "__main__":
    sys.exit(main())
