"""What the API counts, and what the workers and the hub carry, for Prometheus.

No label names a task, a stream or an account, so that their number does not matter.
"""

from collections.abc import Callable, Iterator
from functools import lru_cache

from prometheus_client import CollectorRegistry, Counter, GCCollector, Histogram, PlatformCollector, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector

from penstock.tasks.model import HubStatus, Load, State

#: Upper bounds of the latency's buckets, in seconds.
BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 60)
#: The label of an action, or a service, that does not exist: what callers make up is no label.
NONE = "none"
CONTENT_TYPE = CONTENT_TYPE_LATEST


#: The states of tasks that a worker runs.
RUNNING = (State.STARTING, State.ACTIVE, State.INACTIVE)


class Carried(Collector):
    """What all workers carry when somebody asks."""

    def __init__(self, load: Callable[[], Load]) -> None:
        self._load = load

    def collect(self) -> Iterator[GaugeMetricFamily]:
        load = self._load()
        yield GaugeMetricFamily("penstock_workers", "Workers that report", value=load.workers)
        yield GaugeMetricFamily("penstock_capacity", "Cost units that all workers can run", value=load.capacity)
        yield GaugeMetricFamily("penstock_capacity_used", "Cost units that they run", value=load.used)
        tasks = GaugeMetricFamily("penstock_tasks", "Tasks that run, by state", labels=["state"])
        for state in RUNNING:
            tasks.add_metric([state.value], load.states.get(state, 0))
        yield tasks
        playlists = GaugeMetricFamily("penstock_playlists", "Tasks that play files, by state", labels=["state"])
        for state, number in load.playlists.items():
            playlists.add_metric([state.value], number)
        yield playlists
        on_air = GaugeMetricFamily("penstock_on_air", "Tasks that run, by the source on air", labels=["source"])
        for id_, number in load.on_air.items():
            on_air.add_metric([id_], number)
        yield on_air
        switches = GaugeMetricFamily(
            "penstock_switches",
            "How often another source came on air in the tasks that run, by cause",
            labels=["cause"],
        )
        for cause, number in load.switches.items():
            switches.add_metric([cause], number)
        yield switches
        sinks = GaugeMetricFamily("penstock_sinks", "Destinations of tasks that run", labels=["sink", "state"])
        bitrate = GaugeMetricFamily("penstock_sinks_bitrate", "Bits that they take a second", labels=["sink"])
        for id_, same in load.sinks.items():
            for name, number in same.states.items():
                sinks.add_metric([id_, name], number)
            bitrate.add_metric([id_], same.bitrate)
        yield sinks
        yield bitrate


class Streamed(Collector):
    """What the hub carries when somebody asks; nothing while there is none."""

    def __init__(self, hub: Callable[[], HubStatus | None]) -> None:
        self._hub = hub

    def collect(self) -> Iterator[Metric]:
        hub = self._hub()
        if hub is None:
            return
        players = sum(len(stream.players) for stream in hub.streams)
        yield GaugeMetricFamily("penstock_hub_streams", "Streams that are published to the hub", len(hub.streams))
        yield GaugeMetricFamily("penstock_hub_players", "Players of all its streams", players)
        yield CounterMetricFamily("penstock_hub_received_bytes", "Bytes from its publishers", hub.received)
        yield CounterMetricFamily("penstock_hub_sent_bytes", "Bytes to its players", hub.sent)
        yield CounterMetricFamily("penstock_hub_dropped_messages", "Messages that slow players lost", hub.dropped)


class Metrics:
    """Of one API process, and what `load` says of the workers and `hub` of the hub."""

    def __init__(self, load: Callable[[], Load], hub: Callable[[], HubStatus | None] = lambda: None) -> None:
        self._registry = CollectorRegistry()
        for collector in (ProcessCollector, PlatformCollector, GCCollector):
            collector(registry=self._registry)
        self._registry.register(Carried(load))
        self._registry.register(Streamed(hub))
        self._calls = Counter(
            "penstock_api_calls",
            "Calls that were answered, by the vendor's code; ok: without error",
            ["service", "action", "code"],
            registry=self._registry,
        )
        self._seconds = Histogram(
            "penstock_api_call_seconds",
            "From the head of a call to its answer",
            ["service", "action"],
            buckets=BUCKETS,
            registry=self._registry,
        )
        self._limited = Counter(
            "penstock_api_limited",
            "Calls that were refused by a limit: rate, queue (of one caller), size (of the request)",
            ["service", "action", "limit"],
            registry=self._registry,
        )
        # A child is looked up by its labels, which costs more than to count; there are few of them.
        self._call = lru_cache(maxsize=None)(self._calls.labels)
        self._second = lru_cache(maxsize=None)(self._seconds.labels)

    def called(self, service: str, action: str, code: str, seconds: float, *, limit: str = "") -> None:
        """Count a call. `service` empty: there is no such action; `limit` is the one that refused it."""
        service, action = (service, action) if service else (NONE, NONE)
        self._call(service, action, code or "ok").inc()
        self._second(service, action).observe(seconds)
        if limit:
            self._limited.labels(service, action, limit).inc()

    def text(self) -> bytes:
        """All of them, in Prometheus' text format."""
        return generate_latest(self._registry)
