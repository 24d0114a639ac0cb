"""What a destination waits for when a source is lost: Penstock with a warm backup, beside what else can be had.

Two sources play the same clip (25 pictures and a keyframe a second) from peers on this machine that keep no GOP; the
one on air closes, or falls silent with its connection open, at any place of a GOP. With Penstock each is lost in turn:
first the source, then its backup, when the source is there again and the output is ahead of the wall by what it was
given of the backup's GOP. Where a GOP would leave it more than a second ahead, the next keyframe is awaited. The peer:
FFmpeg that a loop starts anew on the other source (``-rw_timeout`` of 0.5 s for the one that falls silent).

``python -m bench.failover [closed|stalled]``: 10 trials each. They flow at the same time, and are lost one after
another; each one's sources and destination are a process of their own, and nothing else is done meanwhile. Gap: the
longest time between two pictures at the destination, in seconds. Lead: how far its media time is ahead of the wall.
"""

import json
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import pairwise
from multiprocessing.managers import BaseManager
from pathlib import Path
from typing import NamedTuple, Protocol

sys.path.insert(0, str(Path(__file__).parent.parent))

from bench.relay_peers import tell
from penstock.media.pace import MAX_LEAD
from tests.e2e.cloud import Cloud
from tests.e2e.running import FOLLOWING_RHYTHM, PenstockServer, penstock
from tests.media import clip, ffmpeg_exe
from tests.rtmp_peer import OriginThread, SinkThread

TRIALS = 10
#: Pictures a second and in a GOP; how many come before a source is lost: its rhythm is known after 5 s.
RATE, GOP, BEFORE = 25, 25, 200
#: How many pictures belong to a loss: the longest gap, and what the lead is after it.
AFTER = 50
#: Seconds that anything may take.
PATIENCE = 30
#: A lead up to this is none, in seconds: a picture.
NO_LEAD = 1 / RATE
#: How a source is lost, what that is called, and the target: the longest gap, in seconds.
LOSSES = {"closed": ("ends", 0.150), "stalled": ("falls silent", 0.600)}


class Picture(NamedTuple):
    """One that came: on which connection, when (seconds), its time (ms)."""

    connection: int
    at: float
    timestamp: int


class Scene:
    """Two sources and a destination."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._origins = [self._stack.enter_context(OriginThread(clip("plain"))) for _ in range(2)]
        self._sink = self._stack.enter_context(SinkThread())

    def urls(self) -> tuple[str, str, str]:
        """Where they are."""
        return self._origins[0].url, self._origins[1].url, self._sink.url

    def lose(self, number: int, how: str) -> float:
        """Close the connections of a source, or let it fall silent; return when."""
        origin = self._origins[number]
        origin.call(origin.peer.end if how == "closed" else origin.peer.stall)
        return time.monotonic()

    def bring_back(self, number: int) -> None:
        """Let a source be there again."""
        self._origins[number].call(self._origins[number].peer.resume)

    def until_played(self, number: int) -> None:
        """Wait until somebody plays a source that is there."""
        origin = self._origins[number]
        origin.until(lambda: any(one.verb == "play" and not one.closed for one in origin.connections), PATIENCE)

    def until_pictures(self, count: int, since: float) -> list[Picture]:
        """Wait until so many pictures have come since a time; return all that ever came."""
        self._sink.until(lambda: sum(one.at > since for one in self._pictures()) >= count, timeout=PATIENCE)
        return self._pictures()

    def _pictures(self) -> list[Picture]:
        return [
            Picture(number, frame.at, frame.timestamp)
            for number, connection in enumerate(self._sink.connections)
            for frame in connection.frames
        ]

    def close(self) -> None:
        """End all three."""
        self._stack.close()


class Peers(BaseManager):
    """The process of a scene."""

    Scene: Callable[[], Scene]


Peers.register("Scene", Scene)


class Loss(NamedTuple):
    """What a destination saw of one."""

    #: How far the output was ahead before and after, in seconds.
    lead: float
    lead_after: float
    #: The longest pause between two pictures, in seconds.
    gap: float
    #: ms; 0: the clock went back.
    step: int
    connections: int

    @property
    def is_by_the_rule(self) -> bool:
        """Whether a wait for the next keyframe was right: the one before, which came a GOP earlier, would have left the
        output more than a second ahead, with the picture that lasts and the next one; and a tick."""
        return self.lead + (GOP / RATE - self.gap) > MAX_LEAD / 1000 - 3 / RATE

    @classmethod
    def of(cls, pictures: list[Picture], lost_at: float) -> "Loss":
        """See it."""
        at = next(i for i, one in enumerate(pictures) if one.at > lost_at)
        seen = pictures[at - 1 : at + AFTER]
        pairs = list(pairwise(seen))
        steps = [later.timestamp - sooner.timestamp for sooner, later in pairs]
        begun = _ahead(pictures[BEFORE // 2 : BEFORE])
        return cls(
            lead=_ahead(pictures[at - RATE : at]) - begun,
            lead_after=_ahead(seen[-RATE:]) - begun,
            gap=max(later.at - sooner.at for sooner, later in pairs),
            step=max(steps) if min(steps) > 0 else 0,
            connections=len({one.connection for one in seen}),
        )


def _ahead(pictures: list[Picture]) -> float:
    return statistics.median(one.timestamp / 1000 - one.at for one in pictures)


class Contestant(Protocol):
    """What brings a scene's sources to its destination."""

    #: How often one trial's sources are lost.
    losses: int

    def start(self, scene: Scene) -> Callable[[], None]:
        """Begin; return what is to be called when the source on air is lost."""
        ...

    def stop(self) -> None:
        """End all that was begun."""
        ...


class Ours:
    """Tasks with a live backup."""

    losses = 2

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud
        self._tasks: list[str] = []

    def start(self, scene: Scene) -> Callable[[], None]:
        source, backup, sink = scene.urls()
        task_id = self._cloud.create(source, sink, BackupSourceType="PullLivePushLive", BackupSourceUrl=backup)
        self._tasks.append(task_id)
        return lambda: None

    def stop(self) -> None:
        for task_id in self._tasks:
            self._cloud.delete(task_id)
        self._tasks.clear()


class Loop:
    """FFmpeg, started on the other source when it ends on the first."""

    losses = 1

    def __init__(self) -> None:
        self._running: list[subprocess.Popen[bytes]] = []

    def start(self, scene: Scene) -> Callable[[], None]:
        source, backup, sink = scene.urls()

        def run(url: str) -> "subprocess.Popen[bytes]":
            copy = ["-rw_timeout", "500000", "-i", url, "-c", "copy", "-f", "flv", sink]
            self._running.append(subprocess.Popen([ffmpeg_exe(), "-nostdin", "-v", "quiet", *copy]))
            return self._running[-1]

        first = run(source)

        def again() -> None:
            first.wait(PATIENCE)
            run(backup)

        return again

    def stop(self) -> None:
        for process in self._running:
            process.kill()
            process.wait()
        self._running.clear()


@contextmanager
def scenes() -> Iterator[list[Scene]]:
    """One for each trial, while the block lasts."""
    with ExitStack() as stack:
        made = []
        for _ in range(TRIALS):
            scene = stack.enter_context(Peers()).Scene()
            stack.callback(scene.close)
            made.append(scene)
        yield made


def compete(one: Contestant, how: str, rng: random.Random) -> list[Loss]:
    """Begin all trials, then lose the sources of one after another."""
    losses: list[Loss] = []
    with scenes() as trials:
        try:
            followers = [one.start(scene) for scene in trials]
            for scene in trials:
                scene.until_pictures(BEFORE, 0)
            for number in range(one.losses):
                for scene, follow in zip(trials, followers, strict=True):
                    time.sleep(rng.uniform(0, GOP / RATE))
                    lost_at = scene.lose(number, how)
                    follow()
                    losses.append(Loss.of(scene.until_pictures(AFTER, lost_at), lost_at))
                    scene.bring_back(number)
                if number + 1 < one.losses:
                    for scene in trials:
                        scene.until_played(number)
                    time.sleep(2 * GOP / RATE)
        finally:
            one.stop()
    return losses


def row(name: str, what: str, losses: list[Loss], most: float) -> str:
    """A line of the table; `most` is the target of the gap."""
    gaps = [loss.gap for loss in losses]
    leads, after = [loss.lead for loss in losses], [loss.lead_after for loss in losses]
    steps = [loss.step for loss in losses]
    waits = [loss for loss in losses if loss.gap > most]
    even = min(steps) > 0
    cells = [
        name,
        what,
        str(len(losses)),
        f"{statistics.median(gaps):.2f} / {max(gaps):.2f}",
        f"{len(waits)} ({sum(loss.is_by_the_rule for loss in waits)})" if even else "-",
        str(max(steps)) if even else "back to 0",
        f"{min(leads):+.2f} to {max(leads):+.2f}",
        f"{min(after):+.2f} to {max(after):+.2f}" if even else "-",
        str(max(loss.connections for loss in losses)),
    ]
    return f"| {' | '.join(cells)} |"


def table(folder: Path, hows: list[str], rng: random.Random) -> Iterator[str]:
    """Its lines, one after another."""
    data = folder / "data"
    account = json.loads(penstock("account", "create", "demo", "--json", "--data", data).stdout)
    env = {"PENSTOCK_SOURCE_RETURN_AFTER": "600", **FOLLOWING_RHYTHM}
    server = PenstockServer(folder, account, workers=1, env=env).start()
    try:
        ours = Ours(Cloud(server.http, account["secret_id"], account["secret_key"]))
        for how in hows:
            what, most = LOSSES[how]
            tell(f"Penstock, {how}")
            losses = compete(ours, how, rng)
            even = [loss for loss in losses if loss.lead <= NO_LEAD]
            yield row("Penstock, warm backup", f"{what}, lead not above 0", even, most)
            if ahead := [loss for loss in losses if loss not in even]:
                yield row("Penstock, warm backup", f"{what}, lead above 0", ahead, most)
            tell(f"FFmpeg, {how}")
            yield row("FFmpeg in a loop", what, compete(Loop(), how, rng), most)
    finally:
        server.clean_up()


def main() -> None:
    """Measure, and print the table."""
    with tempfile.TemporaryDirectory() as folder:
        lines = list(table(Path(folder), sys.argv[1:] or list(LOSSES), random.Random(1)))
    columns = ["", "the source", "losses", "gap median / most, s", "longer than the target (by the rule)"]
    columns += ["longest DTS step, ms", "lead before, s", "lead after, s", "connections"]
    print(f"| {' | '.join(columns)} |")
    print("|---" * len(columns) + "|")
    print("\n".join(lines))
    targets = ", ".join(f"{how} {most} s" for how, (_, most) in LOSSES.items())
    print(f"Targets: {targets}, where the lead is not above 0")


if __name__ == "__main__":
    main()
