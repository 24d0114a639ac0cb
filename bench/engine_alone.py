"""A worker's engine alone, on a pump with a worker's tick: it sends one source to many sinks until it is killed.

``python -m bench.engine_alone SOURCE SINK…``, all of them URLs. No task has more than two sinks as yet, so the
benchmark of many goes without the API; the rest is what a worker runs.
"""

import asyncio
import random
import sys
from ipaddress import ip_network

import uvloop

from penstock.app import clock, stills, transports, viewers
from penstock.media.plan import Plan, Sink, SlateMode, Source
from penstock.media.pump import Pump
from penstock.net import Policy
from penstock.worker.engine import Engine, EngineConfig

TICK = 0.040


def make(slate: SlateMode = "off") -> Engine:
    """An engine that may reach loopback. Needs a running loop."""
    pump = Pump(tick=TICK)
    policy = Policy([ip_network("127.0.0.0/8")])
    rng = random.Random()
    return Engine(
        EngineConfig(slate=slate),
        pump,
        transports(policy, pump),
        viewers(policy, rng=rng),
        stills=stills(picture=None),
        clock=clock,
        rng=rng,
        on_event=lambda *_: None,
    )


async def run(source: str, sinks: list[str]) -> None:
    """Run one plan for ever."""
    engine = make()
    await engine.start()
    nodes = tuple(Sink(id=f"sink.{number}", url=url) for number, url in enumerate(sinks))
    engine.run(1, 1, Plan(sources=(Source(id="source", url=source),), sinks=nodes))
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(run(sys.argv[1], sys.argv[2:]))
