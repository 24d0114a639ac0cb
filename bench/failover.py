"""What a destination waits for when a source is lost: Penstock with a warm backup, beside what else can be had.

Two sources play the same clip (25 pictures and a keyframe a second) from peers on this machine that keep no GOP; the
first one closes, or falls silent with its connection open. The peer: FFmpeg that a loop starts anew on the other
source (``-rw_timeout`` of 0.5 s for the one that falls silent).

``python -m bench.failover``: 10 trials each, five at a time. Gap: the longest time between two pictures at the
destination, in seconds.
"""

import json
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).parent.parent))

from bench.relay_peers import tell
from tests.e2e.cloud import Cloud
from tests.e2e.running import PenstockServer, penstock, until
from tests.media import clip, ffmpeg_exe
from tests.rtmp_peer import Arrival, OriginThread, SinkThread

TRIALS, AT_ONCE = 10, 5
GOP = 25
CLIP = clip("plain")
#: The targets, in seconds: the gap after an end, whose lead is not above 0, and after a stall.
MOST_CLOSED, MOST_STALLED = 0.150, 0.600


class Trial(NamedTuple):
    """What the destination saw of one loss."""

    #: Seconds; ms; ms.
    gap: float
    step: int
    backwards: bool
    #: How far the output was ahead after it, in seconds; None: not told.
    lead: float | None = None
    connections: int = 1


def seen(frames: list[Arrival], since: float) -> tuple[float, int, bool]:
    """The longest pause, the longest step of DTS, and whether one went back, since a time."""
    pairs = [(one, two) for one, two in pairwise(frames) if two.at >= since]
    steps = [two.timestamp - one.timestamp for one, two in pairs]
    return max(two.at - one.at for one, two in pairs), max(steps), min(steps) <= 0


def lose(origin: OriginThread, how: str) -> None:
    """Close the source's connections, or let it fall silent."""
    origin.call(origin.peer.end if how == "closed" else origin.peer.stall)


def flows(sink: SinkThread, rng: random.Random) -> None:
    """Wait until 8 s have come, then for any place of a GOP."""
    sink.until(lambda: sink.connections and len(sink.connections[0].frames) > 200, timeout=30)
    time.sleep(rng.uniform(0, GOP * 0.04))


def penstock_trial(server: PenstockServer, cloud: Cloud, how: str, rng: random.Random) -> Trial:
    """A task with a live backup."""
    with OriginThread(CLIP) as source, OriginThread(CLIP) as backup, SinkThread() as sink:
        task_id = cloud.create(source.url, sink.url, BackupSourceType="PullLivePushLive", BackupSourceUrl=backup.url)
        flows(sink, rng)
        since = time.monotonic()
        lose(source, how)
        until(lambda: cloud.describe(task_id).RecentPullInfo.FileUrl == backup.url, within=20)
        time.sleep(2)
        lead = server.task(task_id)["lead_ms"] / 1000
        frames = [frame for one in sink.connections for frame in one.frames]
        cloud.delete(task_id)
        return Trial(*seen(frames, since), lead, len(sink.connections))


def ffmpeg_trial(how: str, rng: random.Random) -> Trial:
    """A loop that starts FFmpeg on the other source when it ends on the first."""
    with OriginThread(CLIP) as source, OriginThread(CLIP) as backup, SinkThread() as sink:

        def start(url: str) -> "subprocess.Popen[bytes]":
            copy = ["-rw_timeout", "500000", "-i", url, "-c", "copy", "-f", "flv", sink.url]
            return subprocess.Popen([ffmpeg_exe(), "-nostdin", "-v", "quiet", *copy])

        running = start(source.url)
        try:
            flows(sink, rng)
            since = time.monotonic()
            lose(source, how)
            running.wait(30)
            running = start(backup.url)
            sink.until(lambda: len(sink.connections) > 1 and len(sink.connections[1].frames) > 50, timeout=30)
            frames = [frame for one in sink.connections for frame in one.frames]
            return Trial(*seen(frames, since), None, len(sink.connections))
        finally:
            running.kill()
            running.wait()


def row(name: str, how: str, trials: list[Trial]) -> str:
    """A line of the table."""
    gaps, steps = [trial.gap for trial in trials], [trial.step for trial in trials]
    leads = [trial.lead for trial in trials if trial.lead is not None]
    lead = f"{min(leads):+.2f} to {max(leads):+.2f}" if leads else "-"
    connections = max(trial.connections for trial in trials)
    back = "back to 0" if any(trial.backwards for trial in trials) else f"{max(steps)}"
    gap = f"{statistics.median(gaps):.2f} / {max(gaps):.2f}"
    return f"| {name} | {how} | {gap} | {back} | {lead} | {connections} |"


def main() -> None:
    rng = random.Random(1)
    lines: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "data"
        account = json.loads(penstock("account", "create", "demo", "--json", "--data", data).stdout)
        server = PenstockServer(Path(folder), account, workers=1).start()
        try:
            cloud = Cloud(server.http, account["secret_id"], account["secret_key"])
            kinds: dict[str, Callable[[str], Trial]] = {
                "Penstock, warm backup": lambda how: penstock_trial(server, cloud, how, rng),
                "FFmpeg in a loop": lambda how: ffmpeg_trial(how, rng),
            }
            for how in ("closed", "stalled"):
                for name, trial in kinds.items():
                    tell(f"{name}, {how}")
                    with ThreadPoolExecutor(AT_ONCE) as pool:
                        lines.append(row(name, how, list(pool.map(trial, [how] * TRIALS))))
        finally:
            server.clean_up()
    print("| | the source | gap median / most, s | longest DTS step, ms | lead after it, s | connections |")
    print("|---|---|---|---|---|---|")
    print("\n".join(lines))
    print(f"Targets: closed {MOST_CLOSED} s where the lead allows, stalled {MOST_STALLED} s")


if __name__ == "__main__":
    main()
