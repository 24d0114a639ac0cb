"""Fifty relays under one server, and what their destinations get."""

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from itertools import pairwise
from typing import Any, NamedTuple, Self
from urllib.parse import urlsplit

from tests.e2e.cloud import Cloud
from tests.e2e.running import PenstockServer, until
from tests.faults.outside import Counter, Programme, Shown
from tests.rtmp_peer import PeerThread

#: Relays from outside to outside, from the hub to outside, and from outside to the hub.
OUTSIDE, FROM_HUB, TO_HUB = 40, 5, 5
#: Seconds without a picture after which something is wrong.
GAP = 0.4


class Relay(NamedTuple):
    """A task. `name` is its stream's at the destination; `by_hub`: its source or its destination is our hub."""

    name: str
    task_id: str
    by_hub: bool


class Delivery(NamedTuple):
    """What a destination got from one moment on."""

    #: Pictures that never came.
    lost: int
    #: The longest time (s) without a picture, and when the first one came after it.
    pause: float
    back_at: float
    #: How often an older connection went on beside a newer one.
    doubles: int


class Fleet:
    """The relays, and the world around them."""

    def __init__(
        self,
        server: PenstockServer,
        *,
        outside: int = OUTSIDE,
        from_hub: int = FROM_HUB,
        to_hub: int = TO_HUB,
        watchdog: float = 10,
    ) -> None:
        """`watchdog` is the server's, in seconds."""
        self.server, self.watchdog = server, watchdog
        self._sizes = outside, from_hub, to_hub
        server.command("account", "limit", "demo", "tasks", "100000")
        self.cloud = self.client()
        self.relays: list[Relay] = []
        self._resources = ExitStack()
        self._from: Mapping[str, int] = {}

    def client(self) -> Cloud:
        """The SDK; each thread wants its own."""
        keys = self.server.account()
        return Cloud(self.server.http, keys["secret_id"], keys["secret_key"])

    def __enter__(self) -> Self:
        origin = self._resources.enter_context(PeerThread(Programme))
        sink = self._resources.enter_context(PeerThread(Counter))
        self._counter = sink.peer
        hub = f"{self.server.rtmp}/live"
        port = urlsplit(hub).port or 0
        self._origin, self._outside = origin.url, sink.url.rpartition("/")[0]
        for number in range(self._sizes[0]):
            self._relay(f"out-{number}", self._origin, self._outside)
        for number in range(self._sizes[1]):
            origin.call(partial(origin.peer.publish, port, f"in-{number}"))
            self._relay(f"from-{number}", f"{hub}/in-{number}", self._outside, by_hub=True)
        for number in range(self._sizes[2]):
            sink.call(partial(sink.peer.play, port, f"to-{number}"))
            self._relay(f"to-{number}", self._origin, hub, by_hub=True)
        until(self.delivers, what="all deliver")
        until(self.is_active, what="the API says so")
        return self

    def __exit__(self, *_: object) -> None:
        self._resources.close()

    def _relay(self, name: str, source: str, where: str, *, by_hub: bool = False) -> None:
        self.relays.append(Relay(name, self.cloud.create(source, f"{where}/{name}"), by_hub))

    def create(self, name: str, **values: Any) -> Relay:
        """One more task from outside to outside, which may not run now; `relays` does not have it."""
        return Relay(name, self.cloud.create(self._origin, f"{self._outside}/{name}", **values), by_hub=False)

    def runners(self) -> Mapping[Relay, int]:
        """The process that runs each relay."""
        tasks = {task["id"]: task for task in json.loads(self.server.command("task", "list", "--json").stdout)}
        locks = {path.stem: int(path.read_text()) for path in (self.server.data / "run").glob("*.lock")}
        return {relay: locks[tasks[relay.task_id]["owner"]] for relay in self.relays}

    def is_active(self) -> bool:
        """Whether the API says of all that they run."""
        return all(self.cloud.run_status(relay.task_id) == "active" for relay in self.relays)

    def last(self, relay: Relay, *, before: float) -> float:
        """When (s) the newest picture came that came before this."""
        return next((shown.at for shown in reversed(self._counter.shown[relay.name]) if shown.at < before), 0.0)

    def delivers(self, since: float = 0.0) -> bool:
        """Whether pictures arrive everywhere, and have done so since."""
        now = time.monotonic()
        return all(max(since, now - GAP) < self.last(relay, before=now) for relay in self.relays)

    @contextmanager
    def undisturbed(self) -> Iterator[None]:
        """Every picture of every relay arrives in spite of what is done meanwhile."""
        self.mark()
        yield
        done_at = time.monotonic()
        until(lambda: self.delivers(done_at), what="all deliver")
        lost = {relay: self.delivery(relay).lost for relay in self.relays if self.delivery(relay).lost}
        assert not lost, (lost, [self.server.task(relay.task_id)["events"] for relay in lost])

    def mark(self) -> None:
        """`delivery` looks at what came from now on."""
        self._from = {relay.name: len(self._counter.shown[relay.name]) - 1 for relay in self.relays}

    def delivery(self, relay: Relay) -> Delivery:
        """What has come since `mark`, and the picture before."""
        shown = list(self._counter.shown[relay.name])[self._from[relay.name] :]
        numbers = {picture.number for picture in shown}
        pauses = [(after.at - before.at, after.at) for before, after in pairwise(shown)]
        return Delivery(
            max(numbers) - min(numbers) + 1 - len(numbers), *max(pauses, default=(0.0, 0.0)), doubles=_returns(shown)
        )


def small(server: PenstockServer) -> Fleet:
    """Six relays, of every kind, for faults that hit no process."""
    return Fleet(server, outside=4, from_hub=1, to_hub=1)


def _returns(shown: list[Shown]) -> int:
    """How often a connection delivers that another one had followed already."""
    left: set[int] = set()
    returns = 0
    for before, after in pairwise(shown):
        if after.connection is not before.connection:
            left.add(id(before.connection))
            returns += id(after.connection) in left
    return returns
