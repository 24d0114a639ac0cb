"""400 links of 2 Mbit/s in one worker: how long its event loop lets other work wait, and whether all messages arrive.

The load is that of `bench.relay`: one process that is origin and sink of every stream, each at another place of the
clip. The engine and its pump are a worker's, with a worker's tick, in a process without a store. On the same loop a
clock wakes each 10 ms; by how much it is late is how long anything else in that process would have waited.

Then a hundred links whose sources all go, so that each shows a slate: what one costs beside the stream before it.
"""

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from statistics import quantiles
from typing import Any, NamedTuple, cast

import uvloop

from bench.engine_alone import TICK, make
from bench.relay import SETTLE, cpu_s, memory_mb
from bench.relay_peers import Load, tell
from penstock.media.plan import Plan, Sink, SlateMode, Source
from penstock.parent.leash import raise_file_limit

LINKS = 400
SECONDS = 20
SLATES = 100
#: Seconds between two looks at the clock.
STEP = 0.010
#: Most milliseconds that the loop may be late, at the 99th percentile. Its maximum is as much the machine's.
TARGET_MS = TICK / 2 * 1000


async def run(slate: SlateMode, urls: list[str]) -> None:
    """Run a link for each pair of URLs, source and sink. Each line of standard input asks how late it was."""
    engine = make(slate)
    await engine.start()
    for key, (source, sink) in enumerate(zip(urls[::2], urls[1::2], strict=True)):
        plan = Plan(sources=(Source(id="source", url=source),), sinks=(Sink(id="sink", url=sink),))
        engine.run(key, 1, plan)
    loop, late_ms = asyncio.get_running_loop(), [0.0]

    def answer() -> None:
        sys.stdin.readline()
        print(json.dumps(late_ms), flush=True)
        late_ms.clear()

    loop.add_reader(sys.stdin, answer)
    while True:
        due = loop.time() + STEP
        await asyncio.sleep(STEP)
        late_ms.append((loop.time() - due) * 1000)


def ask(engine: "subprocess.Popen[str]") -> list[float]:
    """By how many ms the engine's clock was late since the last time, each time it woke."""
    assert engine.stdin is not None
    assert engine.stdout is not None
    print(file=engine.stdin, flush=True)
    found: list[float] = json.loads(engine.stdout.readline())
    return found


@contextmanager
def running(source: Load, sink: Load, links: int, slate: SlateMode = "off") -> Iterator["subprocess.Popen[str]"]:
    """An engine with so many links from one load to another, all of which flow."""
    urls = [url for at in range(links) for url in (source.origin(str(at)), sink.sink(str(at)))]
    command = [sys.executable, "-m", "bench.links", slate, *urls]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as engine:
        try:
            sink.until_flowing(links, within=120)
            time.sleep(SETTLE)
            yield engine
        finally:
            engine.kill()


def cpu_of(engine: "subprocess.Popen[str]") -> float:
    """Per cent of a core, over the next `SECONDS`."""
    before = cpu_s([engine.pid])
    time.sleep(SECONDS)
    return (cpu_s([engine.pid]) - before) * 100 / SECONDS


def measure() -> tuple[list[float], float, dict[str, Any]]:
    """Latenesses (ms), CPU (per cent of a core) and what the load counted."""
    with Load() as load, running(load, load, LINKS) as engine:
        load.say("reset")
        ask(engine)
        cpu = cpu_of(engine)
        return ask(engine), cpu, load.count


class Cost(NamedTuple):
    """Of each of `SLATES` streams: CPU (per cent of a core), and what comes out (bit/s); the engine's memory (MB)."""

    cpu: float
    rate: float
    memory: float

    @classmethod
    def of(cls, engine: "subprocess.Popen[str]", sinks: Load) -> "Cost":
        """Measured over the next `SECONDS`."""
        sinks.say("reset")
        cpu = cpu_of(engine) / SLATES
        return cls(cpu, sinks.count["bytes"] * 8 / SECONDS / SLATES, memory_mb([engine.pid]))


def measure_slates() -> tuple[Cost, Cost]:
    """What streams cost while their sources flow, and when all show a slate since these are gone."""
    with Load() as sinks, Load() as sources, running(sources, sinks, SLATES, "picture") as engine:
        relayed = Cost.of(engine, sinks)
        sources.__exit__()
        time.sleep(SETTLE)
        return relayed, Cost.of(engine, sinks)


def main() -> int:
    """Measure, print, and tell whether the targets are met."""
    raise_file_limit()
    tell(f"{LINKS} links for {SECONDS} s")
    late, cpu, count = measure()
    cuts = quantiles(late, n=100)
    found = {"p50": cuts[49], "p99": cuts[98], "max": max(late)}
    print(f"{count['flowing']} links, {count['bytes'] * 8 / SECONDS / 1e6:.0f} Mbit/s, {cpu:.0f} % of a core")
    print(f"lost {count['lost']}, strange {count['strange']}, DTS back {count['backwards']}")
    print(f"added latency p50 / p99, ms: {count['p50']:.1f} / {count['p99']:.1f}")
    print("loop late, ms: " + ", ".join(f"{name} {value:.1f}" for name, value in found.items()))
    met = found["p99"] <= TARGET_MS and not count["lost"] and count["flowing"] == LINKS
    print(f"target p99 {TARGET_MS:.0f} ms and nothing lost: {'met' if met else 'missed'}")
    for name, cost in zip(("relayed", "slate"), measure_slates(), strict=True):
        print(f"{name}: {cost.cpu:.3f} % of a core, {cost.rate / 1e6:.2f} Mbit/s each; engine {cost.memory:.1f} MB")
    return 0 if met else 1


if __name__ == "__main__":
    if len(sys.argv) > 1:
        uvloop.run(run(cast("SlateMode", sys.argv[1]), sys.argv[2:]))
    else:
        sys.exit(main())
