"""What a relay costs: Penstock beside nginx-rtmp and ``ffmpeg -c copy``, all in one run, in turn.

The load (`relay_load.c`) is one process that is the origin and the sink of every stream. The streams are distinct: one
clip of 720p30 H.264 and AAC at 1.95 Mbit/s, but each at another place of it, so that no two packets go together. What
the load itself takes is not counted. Penstock pulls each stream and pushes it, with a task each, made through its API,
and everything that belongs to tasks is on: claims, statuses, checkpoints. nginx-rtmp does not push what it pulls: it
gets the streams by publish, and has half of Penstock's work at the start, but the same from then on.

Times of CPU are what the scheduler counted, as per cent of one core per stream; memory is proportional (PSS). On a
machine that has other work, run it in real-time priority (``chrt -r 1``): a server that is woken late finds more to do
at once, and nginx, which works per packet, then seems cheaper and slower than it is.
"""

import argparse
import os
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent))

from bench.relay_peers import (
    Count,
    EngineFanOut,
    FFmpegs,
    Load,
    NginxFanOut,
    NginxRtmp,
    Penstock,
    Relays,
    load_program,
    tell,
)
from tests.e2e.running import until

ROUNDS = 3
#: Seconds between the last stream's start and the measurement.
SETTLE = 4.0
#: A process per stream: fewer will do.
FFMPEGS = 20
PLAYERS = 50
SINKS = 50
STARTS = 20

#: The targets: CPU, memory (MB) and latency (ms) of a relay; CPU of a player; time to the first keyframe.
MOST_OF_NGINX, MOST_OF_FFMPEG, MOST_MB, MOST_MS = 0.8, 0.2, 0.5, 30
MOST_OF_NGINX_SINK = 0.75
MOST_OF_NGINX_PLAYER = 1.3
MOST_OF_FFMPEG_START = 0.5

# What is measured of processes


def cpu_s(pids: Sequence[int]) -> float:
    """What the scheduler has given these processes, all their threads, in seconds."""
    # The clock that clock_getcpuclockid(3) returns for another process.
    return sum(time.clock_gettime(~pid << 3 | 2) for pid in pids)


def memory_mb(pids: Sequence[int]) -> float:
    """Their proportional share of memory (PSS), in MB."""
    return sum(_pss_kb(pid) for pid in pids) / 1000


def _pss_kb(pid: int) -> int:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))


def busy_s() -> float:
    """What the whole machine has worked since its start, in core seconds."""
    fields = [int(word) for word in Path("/proc/stat").read_text().splitlines()[0].split()[1:]]
    return (sum(fields[:8]) - fields[3] - fields[4]) / os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One row of one round."""

    #: Per cent of a core, per stream.
    cpu: float
    #: MB: idle, and more per stream.
    base: float
    per_stream: float
    count: Count


@dataclass
class Row:
    """What all rounds gave for one row."""

    samples: list[Sample] = field(default_factory=list)

    def median(self, of: Callable[[Sample], float]) -> float:
        return statistics.median(of(sample) for sample in self.samples)

    def ratio(self, other: "Row") -> float:
        """Median of the CPU ratios within each round: what else the machine does changes from round to round."""
        return statistics.median(a.cpu / b.cpu for a, b in zip(self.samples, other.samples, strict=True))


def measure(kind: Callable[[Load, Path, int], Relays], streams: int, seconds: float) -> dict[str, Sample]:
    """One round of one contender."""
    with temporary() as folder, Load() as load, kind(load, folder, streams) as relays:
        base = {row: memory_mb(pids) for row, pids in relays.rows.items()}
        relays.begin()
        load.until_flowing(streams)
        time.sleep(SETTLE)
        cpu, count = watch(load, relays.rows, seconds)
        memory = {row: memory_mb(pids) for row, pids in relays.rows.items()}
    if count["sinks"] != streams:
        raise RuntimeError(f"{relays.name} serves {count['sinks']} of {streams} streams")
    return {
        row: Sample(
            cpu=cpu[row] / streams,
            base=base.get(row, 0.0),
            per_stream=(memory[row] - base.get(row, 0.0)) / streams,
            count=count,
        )
        for row in cpu
    }


@contextmanager
def temporary() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="penstock-bench-") as name:
        yield Path(name)


def watch(load: Load, rows: Mapping[str, Sequence[int]], seconds: float) -> tuple[dict[str, float], Count]:
    """Per cent of a core that each row takes, and what the load counts meanwhile."""
    load.say("reset")
    began, before = time.monotonic(), {row: cpu_s(pids) for row, pids in rows.items()}
    time.sleep(seconds)
    passed = time.monotonic() - began
    cpu = {row: (cpu_s(pids) - before[row]) / passed * 100 for row, pids in rows.items()}
    return cpu, load.count


# The tables


def judged(what: str, found: float, most: float) -> bool:
    """Print a target; whether it is met."""
    print(f"- {what}: at most {most:g}, measured {found:.2f}: {'met' if found <= most else 'MISSED'}")
    return found <= most


def compare(streams: int, seconds: float, rounds: int) -> bool:
    """Measure the contenders in turn and print what they cost; whether the targets are met."""
    table: dict[str, Row] = {}
    contenders = ((Penstock, streams), (NginxRtmp, streams), (FFmpegs, min(FFMPEGS, streams)))
    began, busy = time.monotonic(), busy_s()
    for number in range(rounds):
        for kind, many in contenders:
            for name, sample in measure(kind, many, seconds).items():
                table.setdefault(name, Row()).samples.append(sample)
                tell(f"round {number + 1}: {name}: {sample.cpu:.3f} % per stream, {sample.count}")
    busy = (busy_s() - busy) / (time.monotonic() - began) / (os.cpu_count() or 1)
    print(
        f"\n{streams} streams ({min(FFMPEGS, streams)} of ffmpeg), {seconds:g} s, medians of {rounds} rounds;", end=" "
    )
    print(f"the machine was {busy:.0%} busy, with the load:\n")
    print("| relay | CPU, % of a core per stream | of nginx | of ffmpeg | memory, MB: idle + per stream ", end="")
    print("| added latency p50 / p99, ms | lost, strange, DTS back |\n|---|---|---|---|---|---|---|")
    for name, row in table.items():
        of_nginx, of_ffmpeg = (row.ratio(table[other]) for other in ("nginx-rtmp", "ffmpeg -c copy"))
        print(
            f"| {name} | {row.median(lambda s: s.cpu):.3f} | {of_nginx:.2f} | {of_ffmpeg:.2f} "
            f"| {row.median(lambda s: s.base):.1f} + {row.median(lambda s: s.per_stream):.3f} "
            f"| {row.median(lambda s: s.count['p50']):.1f} / {row.median(lambda s: s.count['p99']):.1f} "
            f"| {flaws(row)} |"
        )
    late = statistics.median(sample.count["late_p99"] for row in table.values() for sample in row.samples)
    print(f"\nOf the latency, the load's own lateness at the origin: p99 {late:.1f} ms.\n")
    ours, worker = table["Penstock, all processes"], table["Penstock, worker"]
    verdicts = (
        judged("CPU of all processes, of nginx-rtmp", ours.ratio(table["nginx-rtmp"]), MOST_OF_NGINX),
        judged("CPU of all processes, of ffmpeg -c copy", ours.ratio(table["ffmpeg -c copy"]), MOST_OF_FFMPEG),
        judged("memory of a relay in the worker, MB", worker.median(lambda s: s.per_stream), MOST_MB),
        judged("added latency p50, ms", worker.median(lambda s: s.count["p50"]), MOST_MS),
    )
    return all(verdicts)


def flaws(row: Row) -> str:
    """How many messages were lost, strange, or went back in time, over all rounds."""
    return ", ".join(
        str(sum(sample.count[what] for sample in row.samples)) for what in ("lost", "strange", "backwards")
    )


def compare_sinks(seconds: float, rounds: int) -> bool:
    """One stream to many sinks: a worker's engine beside nginx-rtmp; whether the target is met."""
    table: dict[str, Row] = {}
    for _ in range(rounds):
        for kind in (EngineFanOut, NginxFanOut):
            ((name, sample),) = measure(kind, SINKS, seconds).items()
            table.setdefault(name, Row()).samples.append(sample)
            tell(f"{name}: {sample.cpu:.3f} % per sink, {sample.count}")
    print(f"\n1 stream to {SINKS} sinks, medians of {rounds} rounds:\n")
    show_shares(table, "sink")
    ours = table[EngineFanOut.name]
    return judged("CPU per sink, of nginx-rtmp", ours.ratio(table["nginx-rtmp"]), MOST_OF_NGINX_SINK)


def compare_players(seconds: float, rounds: int) -> bool:
    """One published stream with many players: the hub beside nginx-rtmp; whether the target is met."""
    table: dict[str, Row] = {}
    for _ in range(rounds):
        for name, kind in (("the hub", Penstock), ("nginx-rtmp", NginxRtmp)):
            sample = measure_players(kind, seconds)
            table.setdefault(name, Row()).samples.append(sample)
            tell(f"{name}: {sample.cpu:.3f} % per player, {sample.count}")
    print(f"\n1 stream, {PLAYERS} players, medians of {rounds} rounds:\n")
    show_shares(table, "player")
    return judged("CPU per player, of nginx-rtmp", table["the hub"].ratio(table["nginx-rtmp"]), MOST_OF_NGINX_PLAYER)


def show_shares(table: Mapping[str, Row], receiver: str) -> None:
    """Print what one stream costs per receiver."""
    print(f"| server | CPU, % of a core per {receiver} | of nginx | added latency p50 / p99, ms |", end=" ")
    print("lost, strange, DTS back |\n|---|---|---|---|---|")
    for name, row in table.items():
        print(
            f"| {name} | {row.median(lambda s: s.cpu):.3f} | {row.ratio(table['nginx-rtmp']):.2f} "
            f"| {row.median(lambda s: s.count['p50']):.1f} / {row.median(lambda s: s.count['p99']):.1f} "
            f"| {flaws(row)} |"
        )
    print()


def measure_players(kind: Callable[[Load, Path, int], Penstock | NginxRtmp], seconds: float) -> Sample:
    """One round of one server."""
    with temporary() as folder, Load() as load, kind(load, folder, 0) as server:
        port, pid = server.place
        load.say("publish", port, "live", "s0")
        until(lambda: load.count["origins"] == 1, what="the stream is published")
        for _ in range(PLAYERS):
            load.say("play", port, "live", "s0")
            time.sleep(0.01)
        load.until_flowing(PLAYERS)
        time.sleep(SETTLE)
        cpu, count = watch(load, {"": [pid]}, seconds)
    return Sample(cpu=cpu[""] / PLAYERS, base=0, per_stream=0, count=count)


def compare_starts() -> bool:
    """From Create's answer, or ffmpeg's start, to the first keyframe at the sink; whether the target is met."""
    ours, theirs = "Penstock, from Create's answer", "ffmpeg -c copy, from its start"
    took: dict[str, list[float]] = {ours: [], theirs: []}
    with temporary() as folder, Load() as load, Penstock(load, folder, 0) as tasks, FFmpegs(load, folder, 0) as ffmpegs:
        for number in range(STARTS):
            task, copy = f"s{2 * number}", f"s{2 * number + 1}"
            time.sleep(random.uniform(0, 1))  # at any time of the source's second
            tasks.create(task)
            took[ours].append(first_keyframe(load, task, time.monotonic()))
            time.sleep(random.uniform(0, 1))
            began = time.monotonic()
            ffmpegs.create(copy)
            took[theirs].append(first_keyframe(load, copy, began))
            tell(f"Penstock {took[ours][-1]:.2f} s, ffmpeg {took[theirs][-1]:.2f} s")
    print(f"\n{STARTS} starts in turn, one keyframe a second:\n")
    print("| | first keyframe at the sink, s: median | least to most | of ffmpeg |\n|---|---|---|---|")
    for name, times in took.items():
        middle = statistics.median(times)
        span = f"{min(times):.2f} to {max(times):.2f}"
        print(f"| {name} | {middle:.2f} | {span} | {middle / statistics.median(took[theirs]):.2f} |")
    print()
    share = statistics.median(took[ours]) / statistics.median(took[theirs])
    return judged("time to the first keyframe, of ffmpeg -c copy", share, MOST_OF_FFMPEG_START)


def first_keyframe(load: Load, stream: str, began: float) -> float:
    """Seconds since `began` until a stream's first keyframe was at its sink."""
    until(lambda: load.count and stream in load.first, what=f"{stream} has a keyframe")
    return load.first[stream] - began


def main() -> int:
    """Measure, print the tables, and say whether the targets are met."""
    options = argparse.ArgumentParser(description="What a relay costs, beside nginx-rtmp and ffmpeg -c copy.")
    options.add_argument("--streams", type=int, default=200, help="relays at once (200)")
    options.add_argument("--seconds", type=float, default=6, help="how long each is measured (6)")
    options.add_argument("--rounds", type=int, default=ROUNDS, help="how often (3)")
    options.add_argument("--only", choices=("relays", "sinks", "players", "starts"), help="one of the tables")
    asked = options.parse_args()
    try:
        load_program()
        tables = {
            "relays": lambda: compare(asked.streams, asked.seconds, asked.rounds),
            "sinks": lambda: compare_sinks(asked.seconds, asked.rounds),
            "players": lambda: compare_players(asked.seconds, asked.rounds),
            "starts": compare_starts,
        }
        verdicts = [table() for name, table in tables.items() if asked.only in (None, name)]
    except pytest.skip.Exception as missing:
        tell(str(missing))
        return 1
    return 0 if all(verdicts) else 1


if __name__ == "__main__":
    sys.exit(main())
