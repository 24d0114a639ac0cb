"""The simulation finds what it looks for: defects planted into the product are caught."""

from collections.abc import Callable, Mapping
from typing import Any

import pytest
from msgspec.structs import replace

from penstock.media import clocks, headers, packet
from penstock.media import relay as relays
from penstock.media.headers import Headers
from penstock.media.relay import Relay
from penstock.media.rtmp import client, transport
from penstock.media.slate import Slate
from penstock.media.stream import Stream
from penstock.media.supervisor import Backoff
from penstock.media.timeline import Timeline
from penstock.tasks.model import State, Task
from penstock.worker import engine as engines
from penstock.worker.agent import Agent
from penstock.worker.engine import Engine
from tests.sim.story import CLAIMS, LIFE, MEDIA, Kind, play
from tests.sim.world import World

Plant = Callable[[pytest.MonkeyPatch], None]

#: Scenarios in which a planted defect must show.
ENOUGH = range(24, 64)


def no_squeeze(patch: pytest.MonkeyPatch) -> None:
    """Frames go out at their own DTS, whatever went out before."""
    patch.setattr(Timeline, "_video_dts", property(lambda _: None, lambda *_: None), raising=False)


def lost_relation(patch: pytest.MonkeyPatch) -> None:
    """Each kind has a place of its own after a splice: the sound is moved by 100 ms."""
    send = Timeline._send_audio
    patch.setattr(Timeline, "_send_audio", lambda self, time, payload: send(self, time + 100 * self.jumps, payload))
    begin = Timeline._begin

    def later(self: Timeline, *message: Any) -> None:
        begin(self, *message)
        self._clocks[packet.AUDIO].skip += 100

    patch.setattr(Timeline, "_begin", later)


def no_healing(patch: pytest.MonkeyPatch) -> None:
    """A clock that jumps takes the output along."""
    patch.setattr(clocks, "MAX_STEP_FORWARD", 1 << 60)
    patch.setattr(clocks, "MAX_STEP_BACK", 1 << 60)


def no_silence(patch: pytest.MonkeyPatch) -> None:
    """Sound that is missing stays missing."""
    patch.setattr(Timeline, "_fill", lambda *_: None)


def no_break(patch: pytest.MonkeyPatch) -> None:
    """Codecs change under way."""
    patch.setattr(headers, "incompatibility", lambda *_: "")


def old_headers(patch: pytest.MonkeyPatch) -> None:
    """Headers that were sent once are not sent again."""
    send = Headers.send

    def once(self: Headers, type_: int, dts: int, payload: bytes = b"") -> None:
        if type_ not in self.sent:
            send(self, type_, dts, payload)

    patch.setattr(Headers, "send", once)


def join_anywhere(patch: pytest.MonkeyPatch) -> None:
    """A receiver begins with whatever comes."""
    patch.setattr(Stream, "_joint", lambda *_: 0)


def believed_active(patch: pytest.MonkeyPatch) -> None:
    """What was once delivered counts for a minute."""
    patch.setattr(relays, "ACTIVE", 60.0)


def never_active(patch: pytest.MonkeyPatch) -> None:
    """What is delivered is not noticed."""
    observe = Engine._observe

    def inactive(self: Engine, key: int, run: Any) -> Any:
        seen = observe(self, key, run)
        return replace(seen, state=State.INACTIVE) if seen.state is State.ACTIVE else seen

    patch.setattr(Engine, "_observe", inactive)


def shown_secrets(patch: pytest.MonkeyPatch) -> None:
    """Errors show the URL."""
    patch.setattr(engines, "_masked", lambda url: url)


def quoted_key(patch: pytest.MonkeyPatch) -> None:
    """Errors show what a server says, which quotes the stream key."""
    for module in (client, transport):
        patch.setattr(module, "without_key", lambda text, _: text)


def silent_errors(patch: pytest.MonkeyPatch) -> None:
    """Nobody says what is wrong."""
    patch.setattr(Engine, "_error", lambda *_: "")


def lost_change(patch: pytest.MonkeyPatch) -> None:
    """A worker that runs a task looks at it no more."""
    start = Agent._start

    def once(self: Agent, task: Task) -> None:
        if task.key not in self._engine.running():
            start(self, task)

    patch.setattr(Agent, "_start", once)


def lost_lock(patch: pytest.MonkeyPatch) -> None:
    """A worker that is frozen counts as dead."""

    def alive(self: World, incarnation: str) -> bool:
        return incarnation in self.workers and not self.workers[incarnation].loop.frozen

    patch.setattr(World, "alive", alive)


def early_release(patch: pytest.MonkeyPatch) -> None:
    """A task is given up before it is stopped."""
    drain = Agent.drain

    async def release_first(self: Agent) -> None:
        def release_all(tx: Any) -> None:
            for task in tx.owned(self._id):
                self._release(tx, task)

        await self._attempt(self._store.write(release_all))
        await drain(self)

    patch.setattr(Agent, "drain", release_first)


def no_retry(patch: pytest.MonkeyPatch) -> None:
    """Whoever failed a few times waits for ever."""
    delay = Backoff.delay
    patch.setattr(Backoff, "delay", lambda self, healthy: delay(self, healthy) + (1e4 if self._failures > 3 else 0))


def runaway_hold(patch: pytest.MonkeyPatch) -> None:
    """The silence while there is no source runs faster than the wall."""
    hold = Timeline.hold
    patch.setattr(Timeline, "hold", lambda self, until: hold(self, until + 20_000))


def wrong_receiver(patch: pytest.MonkeyPatch) -> None:
    """A sink that goes takes along what is known of the one in its place."""
    connected = Relay._sink_connected

    def forgetful(self: Relay, sink: Any, connection: Any, receiver: Any) -> None:
        connected(self, sink, connection, receiver)
        if len(self._receivers) > 1:
            self._receivers.clear()

    patch.setattr(Relay, "_sink_connected", forgetful)


def no_slate(patch: pytest.MonkeyPatch) -> None:
    """A slate is made, and never comes in."""
    standing = Slate.standing
    patch.setattr(Slate, "standing", lambda self, lead: standing(self, lead)._replace(ready=False))


def bare_slate(patch: pytest.MonkeyPatch) -> None:
    """Its pictures come under the header of the source."""
    begin = Slate.go_on_air
    patch.setattr(Slate, "go_on_air", lambda self, lead: begin(self, lead)[1:])


def stale_slate(patch: pytest.MonkeyPatch) -> None:
    """The last picture is that of the first loss, however often there is another."""
    patch.setattr(Slate, "_drop", lambda _: None)


DEFECTS: Mapping[Plant, tuple[Kind, str]] = {
    no_squeeze: (MEDIA, "does not rise"),
    lost_relation: (MEDIA, "ms apart"),
    no_healing: (MEDIA, "lead of"),
    no_silence: (MEDIA, "but sound until"),
    no_break: (MEDIA, "codec changes"),
    old_headers: (MEDIA, "under another header"),
    join_anywhere: (MEDIA, "without the one before"),
    believed_active: (LIFE, "is ACTIVE, but"),
    never_active: (LIFE, "is INACTIVE, but"),
    shown_secrets: (LIFE, "shows a secret"),
    quoted_key: (LIFE, "shows a secret"),
    silent_errors: (LIFE, "does not say why"),
    lost_change: (LIFE, "not recovered"),
    lost_lock: (CLAIMS, "and runs in"),
    early_release: (CLAIMS, "and runs in"),
    no_retry: (LIFE, "not recovered"),
    runaway_hold: (MEDIA, "lead of"),
    no_slate: (MEDIA, "gets no pictures, although there is a slate"),
    bare_slate: (MEDIA, "a slate made for"),
    stale_slate: (MEDIA, "was the last"),
    wrong_receiver: (LIFE, "is INACTIVE, but"),
}


@pytest.mark.parametrize("plant", DEFECTS, ids=lambda plant: plant.__name__)
def test_planted_defect_is_found(plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the invariant that it breaks, within a few scenarios."""
    kind, words = DEFECTS[plant]
    plant(monkeypatch)
    outcomes = (play(seed, kind) for seed in ENOUGH)
    assert any(words in violation for outcome in outcomes for violation in outcome.violations)
