"""400 links of 2 Mbit/s in one worker: how long its event loop lets other work wait, and whether all messages arrive.

The load is that of `bench.relay`: one process that is origin and sink of every stream, each at another place of the
clip. The engine and its pump are a worker's, with a worker's tick, in a process without a store. On the same loop a
clock wakes each 10 ms; by how much it is late is how long anything else in that process would have waited.
"""

import asyncio
import json
import subprocess
import sys
import time
from statistics import quantiles
from typing import Any

import uvloop

from bench.engine_alone import TICK, make
from bench.relay import SETTLE, cpu_s
from bench.relay_peers import Load, tell
from penstock.media.plan import Plan, Sink, Source
from penstock.parent.leash import raise_file_limit

LINKS = 400
SECONDS = 20
#: Seconds between two looks at the clock.
STEP = 0.010
#: Most milliseconds that the loop may be late, at the 99th percentile. Its maximum is as much the machine's.
TARGET_MS = TICK / 2 * 1000


async def run(urls: list[str]) -> None:
    """Run a link for each pair of URLs, source and sink. Each line of standard input asks how late it was."""
    engine = make()
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


def measure() -> tuple[list[float], float, dict[str, Any]]:
    """Latenesses (ms), CPU (per cent of a core) and what the load counted."""
    with Load() as load:
        urls = [url for at in range(LINKS) for url in (load.origin(str(at)), load.sink(str(at)))]
        command = [sys.executable, "-m", "bench.links", *urls]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as engine:
            try:
                load.until_flowing(LINKS, within=120)
                time.sleep(SETTLE)
                load.say("reset")
                ask(engine)
                cpu = cpu_s([engine.pid])
                time.sleep(SECONDS)
                return ask(engine), (cpu_s([engine.pid]) - cpu) * 100 / SECONDS, load.count
            finally:
                engine.kill()


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
    return 0 if met else 1


if __name__ == "__main__":
    if len(sys.argv) > 1:
        uvloop.run(run(sys.argv[1:]))
    else:
        sys.exit(main())
