"""A whole installation in virtual time: store, API, workers, and the servers that they reach.

The product's own service, agent, engine, relay, supervisor, Timeline, RTMP client and pump run in it. Replaced are
sockets, clock and randomness.
"""

import asyncio
import random
import traceback
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from itertools import count
from typing import Any

import structlog
from msgspec.structs import replace

from penstock.app import transports
from penstock.errors import Refused, StoreError, TaskNotFound
from penstock.media.plan import Plan, Sink, SlateMode, Source
from penstock.media.pump import Pump
from penstock.media.transport import Transports
from penstock.net import Policy
from penstock.tasks.families import pull
from penstock.tasks.families.pull import PullChange, PullSpec
from penstock.tasks.model import Desired, Observed
from penstock.tasks.service import PullTasks
from penstock.tasks.times import text as time_text
from tests.sim.clockwork import Clockwork, Loop
from tests.sim.encoder import Format
from tests.sim.network import Network
from tests.sim.peers import Ingest, Origin
from tests.sim.stills import Studio
from tests.sim.store import FrailStore, new_store
from tests.sim.watch import Watch
from tests.sim.worker import Worker

#: When every world begins, in Unix ms: 2026-01-31T10:00:00Z.
NOW = 1_769_853_600_000
HOUR = 3600_000
#: What stands in every URL and nowhere else: it must never be shown.
SECRET = "s3cret"


@dataclass
class Wish:
    """What callers were told is so: one task's acknowledged state."""

    task_id: str
    enabled: bool
    source: int
    sink: str
    start_at: int
    end_at: int
    #: The origin that stands in for the source; None: none does.
    backup: int | None = None
    #: A change got no answer.
    doubtful: bool = False

    def due(self, now: int) -> bool:
        """Whether it is to run now."""
        return self.enabled and self.start_at <= now < self.end_at


class World:
    """Everything there is, under one seed."""

    #: Whether workers run what the store says.
    has_agents = True

    def __init__(
        self,
        seed: int,
        *,
        formats: list[Format],
        sinks: int = 2,
        tick: float = 0.04,
        capacity: int = 200,
        slowness: float = 0.0,
        slate: SlateMode = "off",
        transports: Callable[[Policy, Pump], Transports] = transports,
    ) -> None:
        self.seed = seed
        self.rng = random.Random(seed)
        self.tick, self.capacity, self.slowness, self.slate = tick, capacity, slowness, slate
        self.transports = transports
        self.clockwork = Clockwork()
        self.loop: Loop = self.clockwork.process()
        self.clock = self.clockwork.clock
        self.network = Network()
        self.watch = Watch(lambda: self.clock.now)
        self.watch.slate = slate
        self.store = new_store()
        self.origins = [self._origin(number, form) for number, form in enumerate(formats)]
        self.ingests = [self._ingest(number) for number in range(sinks)]
        [account] = self.store.read_now(lambda tx: tx.accounts())
        self.account = account.id
        self.api_store = FrailStore(self.store, self.rng, slowness)
        self.tasks = PullTasks(
            self.api_store,
            clock=self.wall,
            hints=self,
            live=self,
            addresses=Policy(),
            max_task_days=0,
        )
        self.workers: dict[str, Worker] = {}
        self._names = count()
        self._tasks = count(1)
        self._stopping: set[asyncio.Task[None]] = set()
        self._streams = count()
        self.wishes: dict[str, Wish] = {}
        #: Destinations of creations that got no answer.
        self._doubtful: set[str] = set()
        self.kills = 0
        #: The highest epoch under which each task has run, and who runs it.
        self._epochs: dict[int, int] = {}
        self.logged: list[str] = []

    # -- servers

    def _origin(self, number: int, form: Format) -> Origin:
        rng = random.Random(f"{self.seed} origin {number}")
        origin = Origin(self.loop, rng, form, number=self.watch.add)
        self.network.hosts[f"source{number}.example"] = origin.accept
        return origin

    def _ingest(self, number: int) -> Ingest:
        ingest = Ingest(self.loop, self.watch)
        self.network.hosts[f"sink{number}.example"] = ingest.accept
        return ingest

    def source_url(self, number: int) -> str:
        return f"rtmp://source{number}.example/live/{SECRET}{number}?token={SECRET}"

    def new_sink_url(self) -> str:
        """A destination that no other task has or had."""
        return f"rtmp://sink{self.rng.randrange(len(self.ingests))}.example/live/{SECRET}-{next(self._streams)}"

    # -- what the product is handed

    def wall(self) -> int:
        """Unix milliseconds."""
        return NOW + int(self.clock.now * 1000)

    def alive(self, incarnation: str) -> bool:
        """Whether a process holds this incarnation's lock."""
        return incarnation in self.workers

    def tasks_changed(self) -> None:
        """Hints come late, or never."""
        for worker in list(self.workers.values()):
            if self.rng.random() < 0.7:
                self.loop.call_later(self.rng.random() * 0.05, worker.hint)

    def observed(self, key: int) -> Observed | None:
        """The newest that living workers say."""
        found = [worker.snapshot[key] for worker in self.workers.values() if key in worker.snapshot]
        return max(found, key=lambda one: one.epoch, default=None)

    def waiting(self, cost: int = 1) -> str:
        return "" if self.workers else "no worker"

    def studio(self, worker: str) -> Studio:
        """Where a worker's stills are made."""
        return Studio(random.Random(f"{self.seed} {worker} stills"), self.watch.fail)

    # -- workers

    def start(self) -> Worker:
        """One more worker."""
        worker = Worker(self, f"w-{next(self._names):012x}")
        self.workers[worker.name] = worker
        return worker

    def kill(self, worker: Worker) -> None:
        """kill -9: its sockets are closed by the system, its lock is free, nobody hears a word."""
        self.kills += 1
        del self.workers[worker.name]
        worker.store.down = True
        for sock in [one for one in self.network.sockets.values() if one._loop is worker.loop]:
            peer, sock.peer = sock.peer, None
            sock._error = ConnectionResetError()
            if peer is not None:
                peer.gone()
        self.clockwork.drop(worker.loop)
        for other in list(self.workers.values()):
            if self.rng.random() < 0.8:
                other.hint()

    def leave(self, worker: Worker) -> None:
        """SIGTERM."""
        if not worker.leaving and not worker.loop.frozen:
            worker.leaving = True
            worker.loop.call_soon(worker.running.cancel)

    def left(self, worker: Worker) -> None:
        """A worker has ended in order. What `kill` makes of its coroutines comes here, too, and is nothing."""
        if self.workers.get(worker.name) is worker:
            del self.workers[worker.name]
            self.loop.call_soon(self._bury, worker)

    def _bury(self, worker: Worker) -> None:
        if worker.loop in self.clockwork.loops:
            for sock in [one for one in self.network.sockets.values() if one._loop is worker.loop]:
                sock.close()
            self.clockwork.drop(worker.loop)

    def runs(self, worker: Worker, key: int, epoch: int) -> None:
        """A run begins or changes: nobody else may have it, and nobody may have had it under a later epoch."""
        if self.workers.get(worker.name) is not worker:
            return
        for other in self.workers.values():
            if other is not worker and other.engine is not None and key in other.engine.running():
                self.watch.fail(f"task {key} begins in {worker.name} and runs in {other.name}")
        if epoch < self._epochs.get(key, 0):
            self.watch.fail(f"task {key} begins under epoch {epoch} after {self._epochs[key]}")
        self._epochs[key] = epoch

    # -- callers

    async def create(self, *, starts_in: float = 0, lasts: float = 24 * 3600) -> None:
        """Create a task; only what is acknowledged counts."""
        source, sink = self.rng.randrange(len(self.origins)), self.new_sink_url()
        backup = self.any_backup(source)
        start_at = self.wall() // 1000 * 1000 + round(starts_in) * 1000
        end_at = start_at + max(1, round(lasts)) * 1000
        spec = PullSpec(
            source_type="PullLivePushLive",
            source_urls=(self.source_url(source),),
            to_url=sink,
            start_time=time_text(start_at),
            end_time=time_text(end_at),
        )
        spec = replace(spec, **self.backup_fields(backup))
        try:
            task_id = await self.tasks.create(self.account, spec, operator="ann", region="ap-tokyo")
        except StoreError:
            self._doubtful.add(sink)
            return
        self.wishes[task_id] = Wish(task_id, True, source, sink, start_at, end_at, backup)

    def any_backup(self, source: int) -> int | None:
        """Another origin, or, mostly, none."""
        others = [number for number in range(len(self.origins)) if number != source]
        return self.rng.choice(others) if others and self.rng.random() < 0.3 else None

    def backup_fields(self, backup: int | None) -> dict[str, str]:
        """What the API is told of a backup."""
        if backup is None:
            return {"backup_source_type": "", "backup_source_url": ""}
        return {"backup_source_type": "PullLivePushLive", "backup_source_url": self.source_url(backup)}

    async def modify(self, wish: Wish, **fields: Any) -> bool:
        """Change a task; returns whether that was acknowledged."""
        try:
            await self.tasks.modify(self.account, wish.task_id, PullChange(**fields), operator="bob")
        except StoreError:
            wish.doubtful = True
            return False
        except Refused:
            return False
        return True

    async def delete(self, wish: Wish) -> None:
        try:
            await self.tasks.delete(self.account, wish.task_id, operator="bob")
        except StoreError:
            wish.doubtful = True
        except TaskNotFound:
            assert wish.doubtful
        else:
            del self.wishes[wish.task_id]

    def look_again(self) -> None:
        """Find out what became of those calls that got no answer: done or not, either is right."""
        rows = {task.id: task for task in self.store.read_now(lambda tx: tx.tasks(self.account, pull.FAMILY))}
        for task in rows.values():
            wish = self.wishes.get(task.id)
            spec = pull.decode(task.spec)
            if (wish is not None and wish.doubtful) or (wish is None and spec.to_url in self._doubtful):
                numbers = {self.source_url(number): number for number in range(len(self.origins))}
                source, backup = numbers[spec.source_urls[0]], numbers.get(spec.backup_source_url)
                enabled = task.desired is Desired.ENABLE
                assert task.end_at is not None
                self.wishes[task.id] = Wish(task.id, enabled, source, spec.to_url, task.start_at, task.end_at, backup)
        for wish in list(self.wishes.values()):
            if wish.doubtful and wish.task_id not in rows:
                del self.wishes[wish.task_id]

    # -- life

    def run(self, story: Coroutine[Any, Any, None]) -> None:
        """Live until the story is told."""
        previous = structlog.get_config()
        structlog.configure(processors=[self._log], cache_logger_on_first_use=False)
        try:
            self.clockwork.run(self.loop.create_task(story))
        finally:
            for worker in list(self.workers.values()):
                self.kill(worker)
            self.clockwork.drop(self.loop)
            structlog.configure(**previous)

    def _log(self, _logger: object, method: str, line: Any) -> Any:
        if method in ("exception", "error", "critical"):
            self.watch.fail(f"logged as an error: {line} {traceback.format_exc() if line.get('exc_info') else ''}")
        self.logged.append(str(line.get("event")))
        raise structlog.DropEvent


class EngineWorld(World):
    """One engine that is told directly what to run: many hours of supervisors, without store and callers."""

    has_agents = False

    @property
    def _worker(self) -> Worker:
        return next(iter(self.workers.values()))

    async def create(self, *, starts_in: float = 0, lasts: float = 24 * 3600) -> None:
        task_id, source = str(next(self._tasks)), self.rng.randrange(len(self.origins))
        wish = Wish(task_id, True, source, self.new_sink_url(), 0, 1 << 62, self.any_backup(source))
        self.wishes[task_id] = wish
        self._tell(wish, {})

    async def modify(self, wish: Wish, **fields: Any) -> bool:
        if "end_time" in fields:
            return False
        self._tell(wish, fields)
        return True

    async def delete(self, wish: Wish) -> None:
        self._tell(wish, {"status": "pause"})
        del self.wishes[wish.task_id]

    def _tell(self, wish: Wish, fields: dict[str, Any]) -> None:
        enabled = fields["status"] == "enable" if "status" in fields else wish.enabled
        [source] = fields.get("source_urls", [self.source_url(wish.source)])
        sink = fields.get("to_url", wish.sink)
        sources = [Source(id="source", url=source)]
        backup = fields.get("backup_source_url", self.backup_fields(wish.backup)["backup_source_url"])
        if backup:
            sources.append(Source(id="backup", url=backup))
        plan = Plan(sources=tuple(sources), sinks=(Sink(id="sink", url=sink),))
        worker, key = self._worker, int(wish.task_id)

        def tell() -> None:
            assert worker.engine is not None
            if enabled:
                worker.engine.run(key, 1, plan)
            else:
                self._stopping.add(worker.loop.create_task(worker.engine.stop(key)))

        worker.loop.call_soon(tell)
