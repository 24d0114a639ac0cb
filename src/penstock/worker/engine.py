"""Makes what runs equal the plans that the worker was given, and says what they do."""

import asyncio
import random
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

import msgspec
import structlog
from msgspec.structs import replace

from penstock.log import mask_text, mask_url
from penstock.media.packet import AUDIO, VIDEO
from penstock.media.plan import Plan, SlateMode
from penstock.media.pump import Pump
from penstock.media.relay import SPAN, Relay
from penstock.media.still import Stills
from penstock.media.supervisor import NodeState, Supervisor
from penstock.media.transport import Transports
from penstock.media.warming import Viewer, Viewers, Warming
from penstock.tasks.model import HoldStatus, NodeStatus, Observed, Playback, State
from penstock.tasks.ports import Clock
from penstock.tasks.times import text as time_text
from penstock.worker.playback import playback_of, resumption

log = structlog.get_logger()

#: Seconds between two measurements of all relays.
SAMPLE = 0.25
#: What a run waits for is said after so many seconds in which it delivered nothing.
PATIENCE = 3.0
#: Failing nodes that one line tells of; each is told of in its own status.
MOST_ERRORS = 5
#: Seconds that a stopped relay may take to unpublish.
GOODBYE = 2.0

#: What it means that a node has got no farther, by side and state.
_WAITING = {
    ("source", NodeState.CONNECTING): "still connecting",
    ("source", NodeState.CONNECTED): "connected, no media yet",
    ("sink", NodeState.IDLE): "not connected before the source's first keyframe",
    ("sink", NodeState.CONNECTING): "still connecting",
    ("sink", NodeState.CONNECTED): "connected, nothing delivered yet",
    ("sink", NodeState.FLOWING): "takes nothing any more",
}

OnEvent = Callable[[int, str, str], None]

#: The URLs of all that runs are shown several times a second.
_masked = lru_cache(4096)(mask_url)


class EngineConfig(msgspec.Struct, frozen=True, kw_only=True):
    """What the engine is told by the settings; times in seconds."""

    #: How long sinks stay connected without a source.
    sink_hold: float = 30.0
    #: How long a source may be silent before it has stalled; 0: as its own rhythm says, 0.5 to 3 s.
    source_stall: float = 0.0
    #: How long a preferred source must be healthy before it is on air again.
    source_return_after: float = 10.0
    #: What is shown while no source is there, where a task does not say.
    slate: SlateMode = "off"
    #: After this much media a sink is connected anew, with a clock that begins at 0.
    sink_span: float = SPAN


class _Run:
    """One task that runs here."""

    def __init__(self, epoch: int, plan: Plan, work: Relay | Warming, now: int) -> None:
        self.epoch = epoch
        self.plan = plan
        self.work = work
        #: Its work is being closed, to begin anew with the plan as it then is.
        self.renewing = False
        self.begin(now)

    def begin(self, now: int) -> None:
        """Count from now."""
        self.started_at = self.since = now
        self.state = State.STARTING


class Engine:
    """Runs plans by task key, on a pump of its own.

    `transports` are those that plans may name, `viewers` those who hold streams on edges, `stills` makes slates.
    `on_event(task_key, name, text)` takes what happens, secrets masked.
    """

    def __init__(
        self,
        config: EngineConfig,
        pump: Pump,
        transports: Transports,
        viewers: Viewers,
        *,
        stills: Stills | None = None,
        clock: Clock,
        rng: random.Random,
        on_event: OnEvent,
    ) -> None:
        self._config = config
        self._pump = pump
        self._transports = transports
        self._viewers = viewers
        self._stills = stills
        self._clock = clock
        self._rng = rng
        self._on_event = on_event
        self._runs: dict[int, _Run] = {}
        self._closing: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Begin to serve."""
        self._loop = asyncio.get_running_loop()
        self._sampler = self._loop.create_task(self._sample(), name="engine sampler")

    async def close(self) -> None:
        """Stop everything in order."""
        await asyncio.gather(*(self.stop(key) for key in list(self._runs)))
        if self._closing:
            await asyncio.wait(self._closing, timeout=GOODBYE)
        self._sampler.cancel()
        self._pump.close()

    def run(self, key: int, epoch: int, plan: Plan, playback: Playback | None = None) -> None:
        """Start a task, or apply the difference between the plan that runs and this one.

        A playlist that starts goes on at `playback`, if that is about the same list.
        """
        run = self._runs.get(key)
        if run is None:
            self._runs[key] = _Run(epoch, plan, self._begin(key, plan, playback), self._clock())
            return
        run.epoch = epoch
        old, run.plan = run.plan, plan
        if run.renewing:
            return
        if plan.generation != old.generation:
            run.renewing = True
            run.begin(self._clock())
            self._later(self._renew(key, run))
            return
        for node in run.work.apply(plan):
            self._later(node.close())

    async def _renew(self, key: int, run: _Run) -> None:
        """Close both sides in order, then begin anew, unless the task was stopped meanwhile."""
        playback = playback_of(run.plan, run.work) if isinstance(run.work, Relay) else None
        await asyncio.wait([self._later(run.work.close())], timeout=GOODBYE)
        run.renewing = False
        if self._runs.get(key) is run:
            run.work = self._begin(key, run.plan, playback)

    def _begin(self, key: int, plan: Plan, playback: Playback | None) -> Relay | Warming:
        def on_event(name: str, text: str) -> None:
            self._on_event(key, name, mask_text(text))

        if not plan.sources:
            return Warming(plan, viewers=self._viewers, task=key, on_event=on_event)
        return Relay(
            plan,
            transports=self._transports,
            pump=self._pump,
            hold=self._config.sink_hold,
            stall=self._config.source_stall,
            return_after=self._config.source_return_after,
            span=self._config.sink_span,
            slate=self._config.slate,
            stills=self._stills,
            rng=self._rng,
            on_event=on_event,
            resume=resumption(plan, playback),
        )

    async def stop(self, key: int) -> None:
        """End a task's media in order, within 2 s. A task that does not run here is none of our business."""
        run = self._runs.pop(key, None)
        if run is not None:
            await asyncio.wait([self._later(run.work.close())], timeout=GOODBYE)

    def running(self) -> Mapping[int, int]:
        """Return the epoch under which each task runs."""
        return {key: run.epoch for key, run in self._runs.items()}

    def states(self) -> Mapping[int, tuple[int, State]]:
        """Return the epoch and the state of each task now."""
        for run in self._runs.values():
            self._settle(run)
        return {key: (run.epoch, run.state) for key, run in self._runs.items()}

    def finished(self) -> Sequence[int]:
        """Return the tasks that have delivered all there was."""
        runs = ((key, run) for key, run in self._runs.items() if not run.renewing)
        return [key for key, run in runs if isinstance(run.work, Relay) and run.work.finished]

    def observed(self, key: int) -> Observed | None:
        """Return what is measured of a task now; None if it does not run here."""
        run = self._runs.get(key)
        return None if run is None else self._observe(key, run)

    def snapshot(self) -> list[Observed]:
        """Return what is measured of every task now."""
        return [self._observe(key, run) for key, run in self._runs.items()]

    def _later(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = self._loop.create_task(work)
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)
        return task

    async def _sample(self) -> None:
        while True:
            for key, run in list(self._runs.items()):
                try:
                    run.work.sample()
                    self._settle(run)
                except Exception:
                    log.exception("a task could not be measured", task=key)
            self._pump.flush()
            await asyncio.sleep(SAMPLE)

    def _settle(self, run: _Run) -> None:
        """Find out whether the run delivers."""
        if run.renewing:
            return
        if run.work.is_delivering():
            state = State.ACTIVE
        elif run.state is State.STARTING and not run.work.failing:
            state = State.STARTING
        else:
            state = State.INACTIVE
        if state is not run.state:
            run.state = state
            run.since = self._clock()

    # -- in the model's words

    def _observe(self, key: int, run: _Run) -> Observed:
        self._settle(run)
        work = run.work
        observed = Observed(
            key=key,
            epoch=run.epoch,
            state=run.state,
            at=self._clock(),
            started_at=run.started_at,
            since=run.since,
            error=self._error(run),
        )
        if isinstance(work, Warming):
            return replace(observed, holds=tuple(self._hold(id_, viewer) for id_, viewer in work.viewers.items()))
        return replace(
            observed,
            sources=tuple(self._node(source) for source in work.sources),
            sinks=tuple(self._node(sink) for sink in work.sinks.values()),
            on_air=work.on_air,
            on_air_since=self._wall(work.on_air_since) if work.on_air else None,
            lead_ms=None if (lead := work.lead) is None else round(lead),
            switches={cause.value: number for cause, number in work.switches.counts.items()},
            playback=playback_of(run.plan, work),
            finished=work.finished,
        )

    def _hold(self, id_: str, viewer: Viewer) -> HoldStatus:
        node = viewer.supervisor
        return HoldStatus(
            id=id_,
            edge=viewer.hold.edge,
            area=viewer.hold.area,
            state=NodeState.IDLE if viewer.waiting else node.state,
            since=self._wall(node.since),
            attempts=node.attempts,
            reconnects=viewer.reconnects,
            bytes=node.meter.bytes,
            cold_ms=viewer.cold_ms,
            warm_ms=viewer.warm_ms,
            error=mask_text(node.error or viewer.waiting),
        )

    def _node(self, node: Supervisor) -> NodeStatus:
        meter = node.meter
        return NodeStatus(
            id=node.id,
            url=_masked(node.url),
            state=node.state,
            since=self._wall(node.since),
            attempts=node.attempts,
            bytes=meter.bytes,
            bitrate=meter.bitrate,
            media_ms=meter.media_ms,
            video=meter.video,
            audio=meter.audio,
            keyframes=meter.keyframes,
            dropped=meter.dropped,
            progress_at=None if meter.progress_at is None else self._wall(meter.progress_at),
            video_codec=meter.codecs[VIDEO],
            audio_codec=meter.codecs[AUDIO],
            error=mask_text(node.error) if node.error else "",
        )

    def _error(self, run: _Run) -> str:
        """Say when, which side, what, where, what next; empty while all nodes are well."""
        nodes = run.work.nodes
        failing = [node for node in nodes if node.error]
        failures = [self._failure(node) for node in failing[:MOST_ERRORS]]
        if len(failing) > MOST_ERRORS:
            failures.append(f"and {len(failing) - MOST_ERRORS} more")
        if not nodes:
            failures.append("no edge node serves this area")
        failures += self._returning(run.work)
        if run.state is State.ACTIVE:
            failures += filter(None, map(self._waits, self._left_behind(run.work)))
        elif not failures and self._clock() - run.since > PATIENCE * 1000:
            failures += list(filter(None, map(self._waits, nodes)))[:1]
        return "; ".join(failures)

    def _returning(self, work: Relay | Warming) -> Iterator[str]:
        """Sources that are well again, and not on air yet."""
        if isinstance(work, Relay):
            for source, left in work.returning:
                when = "at its next keyframe" if left is not None else "when the file has been played"
                if left is not None and left > 0:
                    when = f"in {left:.0f} s"
                yield f"{self._told(source, source.since, 'healthy again')}, on air {when}"

    def _left_behind(self, work: Relay | Warming) -> Iterator[Supervisor]:
        """Sinks that get nothing while another one does."""
        if isinstance(work, Relay):
            for sink in work.sinks.values():
                if not (sink.error or work.delivers(sink)) and self._loop.time() - _moved_at(sink) > PATIENCE:
                    yield sink

    def _waits(self, node: Supervisor) -> str:
        """What a node waits for that has not failed; empty: nothing."""
        what = _WAITING.get((node.side, node.state))
        return self._told(node, _moved_at(node), what) if what else ""

    def _failure(self, node: Supervisor) -> str:
        left = node.retry_at - self._loop.time()
        after = f"in {left:.0f} s" if node.state is NodeState.RETRYING else "under way"
        return f"{self._told(node, node.error_at, mask_text(node.error))}, retry {node.attempts} {after}"

    def _told(self, node: Supervisor, at: float, what: str) -> str:
        who = f"{node.side} {node.id}" if node.side == "hold" else node.id
        return f"{time_text(self._wall(at))} {who}: {what} ({_masked(node.url)})"

    def _wall(self, at: float) -> int:
        """Turn loop time (s) into Unix milliseconds."""
        return self._clock() - round((self._loop.time() - at) * 1000)


def _moved_at(node: Supervisor) -> float:
    """Since when a node has got no farther (loop time)."""
    return max(node.since, node.meter.progress_at or 0.0)
