"""The composition root: the one place that names concrete classes; `penstock.app.parts` joins them into processes.

THE lists are here: a new family is a line in `FAMILIES`, a new transport one in `transports`, a new store one in
`open_store`, a new bus one where `RunSockets` is made.
"""

# ruff: noqa: PLC0415 - each process loads only what it runs

import asyncio
import random
import resource
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from penstock.config import Address, Config, edge_tables
from penstock.errors import AddressRefused, ConfigError, MediaError, Unsupported
from penstock.media.plan import Plan
from penstock.tasks.families import preload, pull
from penstock.tasks.model import Edge, Task
from penstock.tasks.ports import Edges, Store
from penstock.tasks.registry import take_edges

if TYPE_CHECKING:
    from penstock.api.tls import Files
    from penstock.bus.local import RunSockets
    from penstock.doctor import Finding
    from penstock.media.pump import Pump
    from penstock.media.still import Stills
    from penstock.media.transport import SourceLeaf, Transports
    from penstock.media.warming import Viewers
    from penstock.net import Policy
    from penstock.store.backup import Backup
    from penstock.tasks.service import PullTasks

#: What a worker runs for a task of each family.
FAMILIES: Mapping[str, Callable[[Task, Edges], Plan]] = {
    pull.FAMILY: lambda task, _: pull.plan(task),
    preload.FAMILY: lambda task, edges: preload.plan(task, edges.of_area(preload.decode(task.spec).area)),
}


def clock() -> int:
    """Unix milliseconds."""
    return time.time_ns() // 1_000_000


def open_store(config: Config, *, migrate: bool, inline: bool = False) -> Store:
    """The store that the settings name. `inline`: in the caller's thread, for commands."""
    from penstock.store.sql import open_store

    return open_store(config.database.url, config.data, config.security.key, migrate=migrate, inline=inline)


def back_up(config: Config, file: Path) -> "Backup":
    """Write a backup of DATA, whether a server runs on it or not; see `penstock.store.backup`."""
    from penstock.store import backup

    return backup.back_up(config.database.url, config.data, config.security.key, file)


def restore(config: Config, file: Path) -> "Backup":
    """Put a backup into DATA, where no server runs."""
    from penstock.parent import DataLock
    from penstock.store import backup

    right = DataLock(config.data)
    try:
        return backup.restore(file, config.database.url, config.data, config.security.key)
    finally:
        right.release()


def doctor(config: Config) -> "Iterator[Finding]":
    """What is well and what is not, on this machine and in DATA; see `penstock.doctor`."""
    from penstock.doctor import Insight, examine
    from penstock.parent import DataLock
    from penstock.store.inspection import describe

    insight = Insight(
        server=partial(DataLock.holder, config.data),
        database=partial(describe, config.database.url, config.data, config.security.key),
        certificate=partial(_certificate_end, config),
        ffmpeg=Path(ffmpeg(config.media.ffmpeg)),
    )
    return examine(config, insight, datetime.now(UTC))


def ffmpeg(program: str | None) -> str:
    """The FFmpeg program: the operator's (``media.ffmpeg``), else the one that came with Penstock."""
    from imageio_ffmpeg import get_ffmpeg_exe

    return program or get_ffmpeg_exe()


def _certificate_end(config: Config) -> datetime | None:
    """Until when the HTTPS port's certificate is good; None: there is none yet, and none is made here."""
    from penstock.api.certificate import end, kept_files
    from penstock.api.tls import Files

    given, key = config.tls.certificate, config.tls.key
    if given or key:
        return end(Files(Path(given or ""), Path(key or "")))
    kept = kept_files(config.data / "tls")
    return end(kept) if kept.certificate.exists() else None


def plan(task: Task, edges: Edges) -> Plan:
    """What a worker runs for a task of any family, with the edge nodes that there are now."""
    if task.family not in FAMILIES:
        raise Unsupported(f"this version knows no tasks of the family {task.family!r}")
    return FAMILIES[task.family](task, edges)


def admitted_plan(task: Task, *, edges: Edges, policy: "Policy", secret: bytes) -> Plan:
    """As `plan`, with what our hub wants to see of a worker that publishes."""
    from penstock.tasks.publishing import with_tickets

    return with_tickets(plan(task, edges), task, secret, policy.is_hub)


def ticket_secret(config: Config) -> bytes:
    """What signs the tickets with which workers publish to our hub."""
    from penstock.store.secrets import derive, load_key

    return derive(load_key(config.data, config.security.key), "hub tickets")


def policy(config: Config) -> "Policy":
    """What callers' URLs may reach. The hub is where ``server.rtmp`` says."""
    from penstock.net import Policy

    hub, media = config.server.rtmp, config.server.media
    return Policy(
        config.network.allow,
        hub_names=config.hub.domains,
        hub_http=(media.host, media.port) if isinstance(media, Address) else None,
        insecure_hosts=config.tls.insecure_hosts,
        hub=(hub.host, hub.port) if isinstance(hub, Address) else None,
    )


def pull_tasks(config: Config, store: Store, sockets: "RunSockets") -> "PullTasks":
    """What callers may do with pull tasks, under these settings."""
    from penstock.tasks.service import PullTasks

    return PullTasks(
        store,
        clock=clock,
        hints=sockets,
        live=sockets,
        addresses=policy(config),
        max_task_days=config.live.max_task_days,
    )


def transports(
    policy: "Policy",
    pump: "Pump",
    program: str | None = None,
    *,
    copies: Path = Path(),
    copies_limit: int = 0,
    transcode: bool = True,
) -> "Transports":
    """How workers reach sources and destinations.

    `program`: another FFmpeg than ours. Files of playlists are copied into `copies`, `copies_limit` bytes of them;
    `transcode`: whether their pictures may be encoded anew.
    """
    from penstock.media.child import Children
    from penstock.media.ffmpeg import FfmpegSource
    from penstock.media.ffmpeg_sink import FfmpegSink
    from penstock.media.files.copies import Copies
    from penstock.media.files.player import Player
    from penstock.media.files.shelf import Shelf
    from penstock.media.http_flv import HttpFlvSource
    from penstock.media.plan import Playlist, Source, is_http_flv
    from penstock.media.rtmp.transport import RtmpSink, RtmpSource
    from penstock.media.transport import Transport, Transports
    from penstock.net import authorities

    children = Children(certificates=authorities(), insecure_hosts=policy.insecure_hosts)
    child = partial(FfmpegSource, ffmpeg(program), children, policy, pump)
    sink = partial(FfmpegSink, ffmpeg(program), children, policy, pump)
    http = Transport(source=lambda url: HttpFlvSource(policy, pump, child, url) if is_http_flv(url) else child(url))
    rtmp = Transport(source=partial(RtmpSource, policy, pump), sink=partial(RtmpSink, policy, pump))
    schemes = {
        "rtmp": rtmp,
        "rtmps": rtmp,
        "http": http,
        "https": http,
        "rtsp": Transport(source=child, sink=sink),
        "rtp": Transport(sink=sink),
        "srt": Transport(source=child, sink=sink),
    }

    def live(url: str) -> "SourceLeaf":
        return Transports(schemes).source(Source(id="", url=url), lambda *_: None)

    kept = Copies(copies, copies_limit, policy)
    shelf = Shelf(ffmpeg(program), children, policy, pump, live, kept, transcode=transcode)
    return Transports(schemes, {Playlist: lambda playlist, on_event: Player(playlist, shelf, pump, on_event)})


def stills(picture: str | None, program: str | None = None) -> "Stills":
    """What makes slates, of the operator's `picture`. `program`: another FFmpeg than ours."""
    from penstock.media.child import Children
    from penstock.media.still import Stills

    return Stills(ffmpeg(program), Children(), str(Path(picture).absolute()) if picture else "")


def check_picture(config: Config) -> None:
    """Raise `ConfigError` if the slate's picture is a file that cannot be read."""
    picture = config.slate.picture
    try:
        if picture:
            Path(picture).open("rb").close()
    except OSError as error:
        raise ConfigError(f"slate.picture: {picture} cannot be read: {error.strerror}") from None


def viewers(policy: "Policy", *, rng: random.Random, rate: float = 100, pulls: int = 20) -> "Viewers":
    """Who holds streams on edges: at most `rate` new ones a second, `pulls` that wait for media of one origin."""
    from penstock.media.hold.drain import Drain
    from penstock.media.ramp import Ramp
    from penstock.media.warming import MOST, Viewers, watch_with

    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    # All else that a process does needs files, too.
    most = MOST if files == resource.RLIM_INFINITY else max(1, min(MOST, files // 2))
    return Viewers(watch_with(policy, Drain()), Ramp(rate=rate, pulls=pulls), rng=rng, most=most)


def watch_once(config: Config, edge: Edge, play_url: str) -> int:
    """How many ms a viewer on this edge waits for a keyframe. Raise `PenstockError`."""
    from penstock.media.hold.drain import Drain
    from penstock.media.warming import watch_with

    async def watch() -> int:
        loop = asyncio.get_running_loop()
        begun = loop.time()
        try:
            (await watch_with(policy(config), Drain())(hold)).close("")
        except (MediaError, AddressRefused) as error:
            raise MediaError(f"{edge.name} ({hold.host}:{hold.port}): {error.message}") from error
        return round((loop.time() - begun) * 1000)

    hold = preload.hold(edge, play_url)
    return asyncio.run(watch())


@asynccontextmanager
async def live_status(config: Config) -> "AsyncIterator[RunSockets]":
    """What living processes report now, but for those that say nothing within 5 s."""
    from penstock.bus.local import RunSockets

    sockets = RunSockets(config.run, patience=5)
    watching = asyncio.create_task(sockets.watch())
    try:
        await sockets.synced.wait()
        yield sockets
    finally:
        watching.cancel()
        await asyncio.wait([watching])


async def hint(config: Config) -> None:
    """Tell all workers that tasks have changed in the store."""
    from penstock.bus.local import hint_all

    await hint_all(config.run)


def serve(config: Config, ready_file: Path | None) -> None:
    """Everything on one machine, until SIGTERM: the parent process."""
    from penstock.bus import life, local
    from penstock.parent import DataLock, Parent
    from penstock.parent.leash import raise_file_limit

    raise_file_limit()
    right = DataLock(config.data)
    try:
        parent = Parent(
            config,
            ready_file=ready_file.absolute() if ready_file else None,
            prepare=partial(_prepare, config),
            bury=lambda: life.bury(config.run),
            hint=lambda: local.hint_all(config.run),
        )
        asyncio.run(parent.run())
    finally:
        right.release()


def _prepare(config: Config) -> None:
    """Bring DATA up to date, take the file's edges, and see that picture and certificate can be used."""
    from penstock.api import tls

    check_picture(config)
    store = open_store(config, migrate=True, inline=True)
    try:
        asyncio.run(take_edges(store, *edge_tables(config.data, config.file)))
    finally:
        store.close()
    if files := certificate(config):
        tls.context(files)


def certificate(config: Config) -> "Files | None":
    """What the HTTPS port shows: the operator's certificate, else one of our own; None: that port is off.

    Raise `ConfigError` if it cannot be made.
    """
    from penstock.api.tls import Files

    where, given, key = config.server.https, config.tls.certificate, config.tls.key
    if where is None:
        return None
    if given and key:
        return Files(Path(given), Path(key))
    if given or key:
        raise ConfigError("tls.certificate and tls.key go together, and one of them is empty")
    from penstock.api.certificate import own_files

    names = {"localhost", "127.0.0.1", "::1", socket.gethostname(), config.public.host or "localhost"}
    if isinstance(where, Address) and where.host not in ("0.0.0.0", "::"):  # noqa: S104 - compared, not bound
        names.add(where.host)
    return own_files(config.data / "tls", names, now=datetime.now(UTC))
