"""What an HLS source costs: Penstock's FFmpeg child, proxy and pump beside ``ffmpeg -c copy`` from the same HLS.

A real nginx serves a recorded playlist (720p30 H.264 and AAC at 2 Mbit/s, segments of 2 s, a keyframe each) and takes
what is published; neither is counted. Tasks are made through the official SDK. Both read at the media's own pace; what
FFmpeg takes without one, each segment as soon as it is there, is told beside them.
"""

import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent))

from bench.relay import cpu_s, judged
from bench.relay_peers import tell
from tests.e2e.cloud import Cloud
from tests.e2e.nginx import Nginx
from tests.e2e.running import PenstockServer, penstock, until
from tests.media import ffmpeg_exe
from tests.rtmp_peer import SinkThread
from tests.rtmp_wire import VIDEO

STARTS = 20
STREAMS, SECONDS, ROUNDS, SETTLE = 12, 8.0, 3, 4.0
#: Seconds of media in the playlist.
LENGTH = 120
#: The targets, of plain FFmpeg: time to the first keyframe, and CPU.
MOST_OF_START, MOST_OF_CPU = 1.2, 1.3


def record(folder: Path) -> None:
    """Make the playlist: two minutes, the same ten seconds again and again."""
    picture = "testsrc2=s=1280x720:r=30,noise=alls=8:allf=t"
    inputs = ["-f", "lavfi", "-i", picture, "-f", "lavfi", "-i", "sine=1000:r=48000", "-t", "10"]
    coded = ["-c:v", "libx264", "-preset", "veryfast", "-b:v", "1.9M", "-maxrate", "2M", "-bufsize", "2M", "-g", "60"]
    quiet = [ffmpeg_exe(), "-nostdin", "-v", "error", "-y"]
    ten = folder / "ten.mp4"
    subprocess.run([*quiet, *inputs, *coded, "-pix_fmt", "yuv420p", "-c:a", "aac", "-b:a", "96k", ten], check=True)
    hls = ["-c", "copy", "-t", str(LENGTH), "-f", "hls", "-hls_time", "2", "-hls_list_size", "0", "index.m3u8"]
    subprocess.run([*quiet, "-stream_loop", "-1", "-i", ten, *hls], check=True, cwd=folder)


class Plain:
    """FFmpeg processes, one for each stream."""

    def __init__(self) -> None:
        self._running: list[subprocess.Popen[bytes]] = []

    def start(self, source: str, sink: str) -> None:
        """Copy a source to a sink."""
        copy = ["-readrate", "1", "-i", source, "-c", "copy", "-f", "flv", sink]
        self._running.append(subprocess.Popen([ffmpeg_exe(), "-nostdin", "-v", "error", *copy]))

    @property
    def pids(self) -> list[int]:
        """What is counted."""
        return [process.pid for process in self._running]

    def stop(self) -> None:
        """End all of them."""
        for process in self._running:
            process.kill()
            process.wait()
        self._running.clear()


class Ours:
    """Tasks of a Penstock with one worker."""

    def __init__(self, server: PenstockServer) -> None:
        keys = server.account()
        self._server = server
        self._cloud = Cloud(server.http, keys["secret_id"], keys["secret_key"])
        self._tasks: list[str] = []

    def start(self, source: str, sink: str) -> None:
        """Make a task."""
        self._tasks.append(self._cloud.create(source, sink))

    @property
    def pids(self) -> list[int]:
        """What is counted: the worker, and its children."""
        [worker] = self._server.pids["workers"]
        children = Path(f"/proc/{worker}/task/{worker}/children").read_text().split()
        return [worker, *map(int, children)]

    def stop(self) -> None:
        """Delete all of them."""
        for task_id in self._tasks:
            self._cloud.delete(task_id)
        self._tasks.clear()
        until(lambda: len(self.pids) == 1)


@contextmanager
def contestants(folder: Path) -> Iterator[tuple[Nginx, dict[str, Ours | Plain]]]:
    """Nginx with the playlist, and both that read it."""
    with ExitStack() as stack:
        nginx = stack.enter_context(Nginx(folder / "nginx"))
        record(nginx.www)
        created = penstock("account", "create", "demo", "--json", "--data", folder / "data")
        server = PenstockServer(folder, json.loads(created.stdout), workers=1)
        stack.callback(server.clean_up)
        server.start()
        plain = Plain()
        stack.callback(plain.stop)
        yield nginx, {"Penstock": Ours(server), "ffmpeg -c copy": plain}


def compare_starts(nginx: Nginx, both: dict[str, Ours | Plain]) -> bool:
    """From Create's answer, or FFmpeg's start, to the first keyframe at the sink; whether the target is met."""
    took: dict[str, list[float]] = {name: [] for name in both}
    with SinkThread() as sink:
        for _ in range(STARTS):
            for name, one in both.items():
                number = len(sink.connections)
                if isinstance(one, Ours):
                    one.start(f"{nginx.http_url}/index.m3u8", sink.url)
                    began = time.monotonic()
                else:
                    began = time.monotonic()
                    one.start(f"{nginx.http_url}/index.m3u8", sink.url)
                sink.until(lambda: sink.connections[number:] and sink.connections[number].frames)  # noqa: B023
                first = next(m for m in sink.connections[number].media(VIDEO) if m.payload[:2] == b"\x17\x01")
                took[name].append(first.at - began)
                one.stop()
    print(f"\n{STARTS} starts in turn:\n\n| | first keyframe at the sink, s: median | least to most |\n|---|---|---|")
    for name, times in took.items():
        print(f"| {name} | {statistics.median(times):.2f} | {min(times):.2f} to {max(times):.2f} |")
    ours, theirs = (statistics.median(times) for times in took.values())
    return judged("time to the first keyframe, of ffmpeg -c copy", ours / theirs, MOST_OF_START)


def compare_cpu(nginx: Nginx, both: dict[str, Ours | Plain]) -> bool:
    """CPU of each stream while it flows; whether the target is met."""
    used: dict[str, list[float]] = {name: [] for name in both}
    for _ in range(ROUNDS):
        for name, one in both.items():
            for number in range(STREAMS):
                one.start(f"{nginx.http_url}/index.m3u8", f"{nginx.url}/live/{number}")
            until(lambda: len(one.pids) >= STREAMS)  # noqa: B023 - called at once
            time.sleep(SETTLE)
            before, began = cpu_s(one.pids), time.monotonic()
            time.sleep(SECONDS)
            used[name].append((cpu_s(one.pids) - before) / (time.monotonic() - began) / STREAMS * 100)
            one.stop()
            tell(f"{name}: {used[name][-1]:.2f} %")
    print(f"\n{STREAMS} streams, {ROUNDS} rounds of {SECONDS:.0f} s:\n")
    print("| | CPU of a stream, % of a core | least to most |")
    print("|---|---|---|")
    shares_unpaced = [unpaced_cpu(nginx) for _ in range(ROUNDS)]
    for name, shares in {**used, "ffmpeg -c copy, in bursts": shares_unpaced}.items():
        print(f"| {name} | {statistics.median(shares):.2f} | {min(shares):.2f} to {max(shares):.2f} |")
    ours, theirs = (statistics.median(shares) for shares in used.values())
    return judged("CPU, of ffmpeg -c copy", ours / theirs, MOST_OF_CPU)


def unpaced_cpu(nginx: Nginx) -> float:
    """CPU of FFmpeg that copies as fast as it may, spread over the time of the media: per cent of a core."""
    copy = ["-i", f"{nginx.http_url}/index.m3u8", "-c", "copy", "-f", "flv", f"{nginx.url}/live/unpaced"]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([ffmpeg_exe(), "-nostdin", "-v", "error", *copy], check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime) / LENGTH * 100


def main() -> int:
    """Measure, print the tables, and say whether the targets are met."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            with contestants(Path(folder)) as (nginx, both):
                met = [compare_starts(nginx, both), compare_cpu(nginx, both)]
        except pytest.skip.Exception as missing:
            print(missing)
            return 1
    return 0 if all(met) else 1


if __name__ == "__main__":
    sys.exit(main())
