"""What goes wrong, drawn by a seed: each fault is begun here, and mends itself after a while."""

import errno
import random
from collections.abc import Callable, Sequence

from penstock.tasks.times import text as time_text
from tests.rtmp_wire import AUDIO, VIDEO
from tests.sim.peers import Host, Ingest, Origin
from tests.sim.worker import Worker
from tests.sim.world import HOUR, Wish, World

_BAD = ("refuse", "hang", "mute", "reject")


class Faults:
    """Draws faults for one world."""

    def __init__(self, world: World, rng: random.Random, *, kinds: Sequence[str], calm: float) -> None:
        self._world = world
        self._rng = rng
        self._kinds = kinds
        #: The mean time between two faults, in seconds.
        self.calm = calm
        #: What was done, for whoever looks for the cause of a failure.
        self.done: list[str] = []

    async def one(self) -> None:
        """Draw and begin one."""
        kind = self._rng.choice(self._kinds)
        await getattr(self, f"_{kind}")()

    def _note(self, what: str) -> None:
        self.done.append(f"{self._world.clock.now:9.3f} {what}")

    def _later(self, shortest: float, longest: float, mend: Callable[[], object]) -> None:
        self._world.loop.call_later(self._rng.uniform(shortest, longest), mend)

    # -- servers

    async def _source(self) -> None:
        at = self._rng.randrange(len(self._world.origins))
        origin = self._world.origins[at]
        kind = self._rng.choice(
            ["close", "reset", "leave", "stall", "bad", "jump", "drift", "change", "republish", "off"]
        )
        self._note(f"source {at}: {kind}")
        match kind:
            case "close":
                origin.drop()
            case "reset":
                origin.drop(errno.ECONNRESET)
            case "leave":
                origin.leave()
            case "stall":
                origin.stalled = True
                self._later(0.2, self._rng.choice([2.5, 20]), lambda: setattr(origin, "stalled", False))
            case "bad":
                self._bad(origin)
                origin.drop()
            case "jump":
                by = self._rng.choice([-1, 1]) * self._rng.choice([2500, 60_000, HOUR, 10 * HOUR])
                origin.jump(by, (VIDEO, AUDIO))
            case "drift" if origin.encoder.form.video:
                origin.jump(
                    self._rng.choice([-1, 1]) * self._rng.choice([4_000, HOUR]), (self._rng.choice([VIDEO, AUDIO]),)
                )
            case "change" if origin.encoder.form.video:
                origin.change()
            case "republish":
                origin.republish()
            case "off":
                self._off(origin)

    def _off(self, origin: Origin) -> None:
        """Connected, agreed, and no media: nobody publishes."""
        origin.published = False
        origin.drop()
        self._later(0.5, 25, lambda: setattr(origin, "published", True))

    def _bad(self, host: Host) -> None:
        host.mode = self._rng.choice(_BAD)
        self._later(0.2, self._rng.choice([3, 25]), lambda: setattr(host, "mode", "up"))

    async def _sink(self) -> None:
        at = self._rng.randrange(len(self._world.ingests))
        ingest = self._world.ingests[at]
        kind = self._rng.choice(["close", "reset", "bad", "full", "gone"])
        self._note(f"sink {at}: {kind}")
        match kind:
            case "close":
                ingest.drop()
            case "reset":
                ingest.drop(errno.ECONNRESET)
            case "bad":
                self._bad(ingest)
                ingest.drop()
            case "full":
                self._full(ingest)
            case "gone":
                ingest.vanish(self._rng.choice([0, 2000, 100_000]))

    def _full(self, ingest: Ingest) -> None:
        ingest.stop_reading(self._rng.choice([0, 2000, 100_000]))
        self._later(0.5, 15, ingest.read_again)

    # -- processes

    def _worker_of_luck(self) -> Worker | None:
        workers = list(self._world.workers.values())
        return self._rng.choice(workers) if workers else None

    async def _kill(self) -> None:
        worker = self._worker_of_luck()
        if worker is not None:
            self._note(f"kill {worker.name}")
            self._world.kill(worker)
            self._later(0, 1.0, self._world.start)

    async def _freeze(self) -> None:
        worker = self._worker_of_luck()
        if worker is None or worker.loop.frozen:
            return
        seconds = self._rng.choice([self._rng.uniform(0.1, 10), 10.0])
        self._note(f"freeze {worker.name} for {seconds:.1f} s")
        worker.loop.frozen = True
        self._world.loop.call_later(seconds, self._thaw, worker, seconds == 10)

    def _thaw(self, worker: Worker, wedged: bool) -> None:
        """It goes on, or the parent has lost its patience."""
        worker.loop.frozen = False
        if wedged and self._world.workers.get(worker.name) is worker:
            self._world.kill(worker)
            self._world.start()

    async def _leave(self) -> None:
        worker = self._worker_of_luck()
        if worker is not None and not worker.leaving:
            self._note(f"leave {worker.name}")
            self._world.leave(worker)
            self._world.start()

    async def _store(self) -> None:
        worker = self._worker_of_luck()
        stores = [self._world.api_store, *(one.store for one in self._world.workers.values())]
        if worker is not None and self._rng.random() < 0.5:
            stores = [worker.store]
        field = self._rng.choice(["down", "down", "forgetful"])
        self._note(f"{len(stores)} stores {field}")
        for store in stores:
            setattr(store, field, True)
            dead = store
            self._later(0.3, 8, lambda dead=dead: self._mend(dead, field))  # type: ignore[misc]

    def _mend(self, store: object, field: str) -> None:
        if store is self._world.api_store or any(store is one.store for one in self._world.workers.values()):
            setattr(store, field, False)

    # -- callers

    async def _api(self) -> None:
        world, rng = self._world, self._rng
        wish = rng.choice(list(world.wishes.values())) if world.wishes else None
        verb = rng.choice(["create", "pause", "enable", "end", "source", "backup", "sink", "delete"])
        if wish is None or (verb == "create" and len(world.wishes) < 12):
            self._note("create")
            await world.create(starts_in=rng.choice([0, 0, 5]), lasts=rng.choice([24 * 3600, 20, 40]))
            return
        self._note(f"{verb} {wish.task_id}")
        await self._change(verb, wish)

    async def _change(self, verb: str, wish: Wish) -> None:
        world, rng = self._world, self._rng
        match verb:
            case "pause" | "enable":
                if await world.modify(wish, status=verb):
                    wish.enabled = verb == "enable"
            case "end":
                end_at = (world.wall() // 1000 + rng.choice([2, 10, 24 * 3600])) * 1000
                if await world.modify(wish, end_time=time_text(end_at)):
                    wish.end_at = end_at
            case "source":
                source = rng.randrange(len(world.origins))
                if await world.modify(wish, source_urls=(world.source_url(source),)):
                    wish.source = source
            case "backup":
                backup = world.any_backup(wish.source)
                if await world.modify(wish, **world.backup_fields(backup)):
                    wish.backup = backup
            case "sink":
                sink = world.new_sink_url()
                if await world.modify(wish, to_url=sink):
                    wish.sink = sink
            case "delete" if len(world.wishes) > 1:
                await world.delete(wish)

    # -- the end of all faults

    def heal(self) -> None:
        """Let all be well from now on."""
        world = self._world
        for origin in world.origins:
            origin.mode, origin.published, origin.stalled = "up", True, False
        for ingest in world.ingests:
            ingest.mode = "up"
            ingest.read_again()
        for store in [world.api_store, *(one.store for one in world.workers.values())]:
            store.down = store.forgetful = False
        for worker in world.workers.values():
            worker.loop.frozen = False
        world.start()
        self._note("healed")
