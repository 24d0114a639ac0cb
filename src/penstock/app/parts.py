"""The parts of a server: API, hub, worker. Each runs as a process of its own, until it is told to stop.

`leash` is the descriptor of the line to the parent; None: the part runs alone, and brings DATA up to date itself.
"""

# ruff: noqa: PLC0415 - each process loads only what it runs

import asyncio
import random
import time
from functools import partial
from typing import TYPE_CHECKING, cast

from penstock.app import (
    admitted_plan,
    certificate,
    check_picture,
    clock,
    open_store,
    policy,
    pull_tasks,
    stills,
    ticket_secret,
    transports,
    viewers,
)
from penstock.config import Address, Config, edge_tables
from penstock.tasks.edges import KnownEdges
from penstock.tasks.registry import take_edges

if TYPE_CHECKING:
    from penstock.api.tls import Files
    from penstock.media.plan import SlateMode
    from penstock.parent.leash import Leash, Part


def run_api(config: Config, leash: int | None = None) -> None:
    """The HTTP port: the vendors' APIs."""
    _run(partial(_api, config), leash)


def run_hub(config: Config, leash: int | None = None) -> None:
    """The public media ports."""
    _run(partial(_hub, config), leash)


def run_worker(config: Config, leash: int | None = None) -> None:
    """Runs tasks."""
    _run(partial(_worker, config), leash)


def _run(part: "Part", leash: int | None) -> None:
    import uvloop

    from penstock.parent.leash import run_part

    run_part(part, leash=leash, loop_factory=uvloop.new_event_loop)


async def _api(config: Config, leash: "Leash") -> None:
    from penstock.api import tls
    from penstock.api.aliyun.live import live as aliyun_live
    from penstock.api.aliyun.nonces import Nonces
    from penstock.api.aliyun.wire import Aliyun
    from penstock.api.door import Door
    from penstock.api.limits import Rates
    from penstock.api.metrics import Metrics
    from penstock.api.readiness import Readiness
    from penstock.api.server import create_app
    from penstock.api.server import serve as serve_http
    from penstock.api.tencent.live import live
    from penstock.api.tencent.wire import Tencent
    from penstock.bus.local import RunSockets
    from penstock.parent.listening import open_socket, reach
    from penstock.tasks.preloads import PreloadTasks

    http = open_socket(config.server.http, "server.http")
    https = open_socket(config.server.https, "server.https") if config.server.https else None
    await leash.go()
    store = open_store(config, migrate=leash.alone)
    if leash.alone:
        await take_edges(store, *edge_tables(config.data, config.file))
    files = certificate(config)
    sockets, edges = RunSockets(config.run), KnownEdges()
    tasks = pull_tasks(config, store, sockets)
    door = Door(store, Rates(config.api.rate_limit, now=time.monotonic))
    tencent = Tencent([live(tasks)], door=door, clock=clock)
    preloads = PreloadTasks(
        store, clock=clock, hints=sockets, live=sockets, edges=edges, hls=config.preload.hls == "on"
    )
    nonces = Nonces(config.data / "nonces", clock())
    aliyun = Aliyun([aliyun_live(preloads)], door=door, clock=clock, nonces=nonces, nested=config.api.lists == "nested")
    readiness = Readiness(store, synced=sockets.synced.is_set)
    app = create_app([aliyun, tencent], obstacle=readiness.obstacle, metrics=Metrics(sockets.load, sockets.hub))
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(sockets.watch())
            group.create_task(edges.follow(store))
            group.create_task(_announce(reach(http), leash))
            group.create_task(serve_http(app, http))
            if https and files:
                _tell_certificate(files, config)
                group.create_task(serve_http(app, https, tls.context(files)))
    finally:
        store.close()
        nonces.close()


def _tell_certificate(files: "Files", config: Config) -> None:
    """Say what the HTTPS port shows; of a certificate of our own, what a client is to trust."""
    import structlog

    own = {} if config.tls.certificate else {"ca": str(config.data / "tls" / "ca.pem")}
    structlog.get_logger().info("HTTPS is served", certificate=str(files.certificate), **own)


async def _announce(where: Address, leash: "Leash") -> None:
    """Say that the API is ready when its own port says so."""
    while True:
        reader, writer = await asyncio.open_connection(where.host, where.port)
        writer.write(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        answer = await reader.read()
        writer.close()
        if answer.split(maxsplit=2)[1:2] == [b"200"]:
            break
        await asyncio.sleep(0.05)
    leash.ready()


async def _hub(config: Config, leash: "Leash") -> None:
    from penstock.bus.life import Incarnation
    from penstock.bus.local import RunSocket
    from penstock.hub.access import Access
    from penstock.hub.server import Hub, HubConfig
    from penstock.parent.listening import open_socket
    from penstock.tasks.publishing import directory

    rtmp = open_socket(config.server.rtmp, "server.rtmp")
    media = open_socket(config.server.media, "server.media")
    await leash.go()
    store = open_store(config, migrate=leash.alone)
    access = Access(secret=ticket_secret(config), clock=clock)
    access.directory = await store.read(directory)
    me = Incarnation(config.run, "h")
    hub = Hub(HubConfig(tick=config.hub.tick / 1000), access=access, clock=clock)
    run_socket = RunSocket(config.run, kind="hub", id=me.id, snapshot=tuple, hub=hub.status)
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(run_socket.serve(leash.ready))
            group.create_task(access.follow(store))
            await hub.serve(rtmp, media)
    finally:
        store.close()
        me.end()


async def _worker(config: Config, leash: "Leash") -> None:
    from penstock.bus import life
    from penstock.bus.local import RunSocket
    from penstock.media.pump import Pump
    from penstock.worker.agent import Agent
    from penstock.worker.engine import Engine, EngineConfig
    from penstock.worker.history import History

    await leash.go()
    if leash.alone:
        check_picture(config)
    store = open_store(config, migrate=leash.alone)
    me = life.Incarnation(config.run, "w")
    rng, history = random.Random(), History(clock)
    pump, reach = Pump(tick=config.worker.tick / 1000), policy(config)
    engine = Engine(
        EngineConfig(
            sink_hold=config.sink.hold,
            source_stall=config.source.stall,
            source_return_after=config.source.return_after,
            slate=cast("SlateMode", config.slate.mode),
        ),
        pump,
        transports(
            reach,
            pump,
            config.media.ffmpeg,
            copies=config.data / "cache" / "files",
            copies_limit=config.files.cache << 30,
            transcode=config.files.transcode == "on",
        ),
        viewers(reach, rng=rng, rate=config.preload.rate, pulls=config.preload.pulls),
        stills=stills(config.slate.picture, config.media.ffmpeg),
        clock=clock,
        rng=rng,
        on_event=history.add,
    )
    edges = KnownEdges()
    agent = Agent(
        id=me.id,
        store=store,
        engine=engine,
        plan=partial(admitted_plan, edges=edges, policy=reach, secret=ticket_secret(config)),
        alive=partial(life.alive, config.run),
        clock=clock,
        rng=rng,
        history=history,
        capacity=config.worker.capacity,
    )
    run_socket = RunSocket(
        config.run,
        kind="worker",
        id=me.id,
        snapshot=engine.snapshot,
        hinted=agent.hint,
        capacity=config.worker.capacity,
        used=lambda: agent.used,
    )
    await engine.start()
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(run_socket.serve(leash.ready))
            group.create_task(edges.follow(store, agent.replan))
            await agent.run()
    finally:
        await agent.drain()
        await engine.close()
        store.close()
        me.end()
