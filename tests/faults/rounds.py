"""One round: processes of a server are killed or stand still, all is awaited to be well again, and what it cost."""

import os
import random
import signal
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from tests.e2e.running import is_running, leave, until, until_gone
from tests.faults.callers import ACTIVE, Asker, Changer
from tests.faults.fleet import GAP, OUTSIDE, Delivery, Fleet, Relay

#: Promised, in seconds: until what was hit delivers again; from the next start until everything delivers. What stands
#: still has to be found by the watchdog first.
BACK, START = 3.0, 5.0
#: A process that has lived so long is replaced at once, in seconds.
HEALTHY = 10.0
#: Nobody sees to a parent that stands still; it does so for some seconds.
STANDS = (1.0, 3.0)
#: Between the two faults of a pair there are at most so many seconds.
APART = 0.5

SIGNALS = {"kill": signal.SIGKILL, "stop": signal.SIGSTOP}


class Fault(NamedTuple):
    """What is done to which part: ``parent``, ``api``, ``hub``, the ``worker`` with the most relays, the ``other``."""

    how: str
    part: str

    def __str__(self) -> str:
        return f"{self.how} {self.part}"


class Cost(NamedTuple):
    """What a round took. Of each figure the worst that any relay had to bear; pictures and seconds."""

    #: Of relays that none of the processes carried.
    lost_elsewhere: int
    lost: int
    back: float
    #: What was promised for `back`.
    promised: float
    #: Until the API answered, and said what is.
    truth: float
    #: How often it said of a task that it runs, when it did not.
    lies: int
    changes: int
    lost_changes: int
    double_runs: int


class Round:
    """One round on a fleet; `rng` decides the moments."""

    def __init__(self, fleet: Fleet, faults: Sequence[Fault], rng: random.Random, *, watchdog: float) -> None:
        self._fleet, self._faults, self._rng, self._watchdog = fleet, faults, rng, watchdog
        self._server = server = fleet.server
        self._pids = {"parent": server.process.pid, "api": server.pid_of("api"), "hub": server.pid_of("hub")}
        self._runners = fleet.runners()
        carrying = Counter(self._runners.values())
        self._pids["other"], self._pids["worker"] = sorted(server.pids["workers"], key=lambda pid: carrying[pid])
        #: Processes that will be gone.
        self._doomed = {self._pids[fault.part] for fault in faults if fault != Fault("stop", "parent")}
        self._promised = BACK

    def play(self) -> Cost:
        """Play it. Fails if something never comes back."""
        fleet = self._fleet
        children = [self._pids[fault.part] for fault in self._faults if fault.part != "parent"]
        until(lambda: all(age(pid) > HEALTHY for pid in children), what="they have lived enough")
        carried = self._carried()
        fleet.mark()
        # Without the hub its relays may seem to deliver: the kernel takes bytes for it, silence is sent in its place.
        asked = [relay for relay in fleet.relays if not relay.by_hub][:: OUTSIDE // 5]
        if all(fault.part != "hub" for fault in self._faults):
            asked += [relay for relay in fleet.relays if relay.by_hub]
        with Asker(fleet, asked) as asker, Changer(fleet) as changer:
            time.sleep(self._rng.uniform(0.3, 1.0))
            until(lambda: asker.right > 0, what=f"the API says what is, not {asker.last}")
            hit_at = self._hit()
            until(lambda: not any(map(is_running, self._doomed)), what="they are gone")
            for pid in self._doomed:
                self._server.until_replaced(pid)
            replaced_at = time.monotonic()
            until(lambda: fleet.delivers(replaced_at), what=f"all deliver:\n{self._server.log}")
            asker.right = 0
            until(lambda: asker.right > len(asked), what=f"the API says what is, not {asker.last}")
        found = {relay: fleet.delivery(relay) for relay in fleet.relays}
        return Cost(
            lost_elsewhere=max([0, *(found[relay].lost for relay in fleet.relays if relay not in carried)]),
            lost=max(delivery.lost for delivery in found.values()),
            back=max(self._back(found[relay], hit_at if relay in carried else None) for relay in fleet.relays),
            promised=self._promised,
            truth=asker.right_since - hit_at,
            lies=len(asker.lies),
            changes=changer.acknowledged,
            lost_changes=len(changer.lost()),
            double_runs=sum(delivery.doubles for delivery in found.values()),
        )

    @staticmethod
    def _back(found: Delivery, hit_at: float | None) -> float:
        """After how many seconds media was back; where nothing was hit (None), how long it was away."""
        if found.pause <= GAP:
            return 0.0
        return found.pause if hit_at is None else found.back_at - hit_at

    def _carried(self) -> set[Relay]:
        """The relays that lose something."""
        if self._pids["parent"] in self._doomed:
            return set(self._runners)
        hub = self._pids["hub"] in self._doomed
        return {relay for relay, pid in self._runners.items() if pid in self._doomed or (hub and relay.by_hub)}

    def _hit(self) -> float:
        """Do it; returns the moment (s) from which everything has to come back."""
        for number, fault in enumerate(self._faults):
            time.sleep(self._rng.uniform(0, APART) if number else 0)
            with suppress(ProcessLookupError):  # the parent took it along
                os.kill(self._pids[fault.part], SIGNALS[fault.how])
        hit_at = time.monotonic()
        if Fault("kill", "parent") in self._faults:
            self._server.process.wait()
            until_gone(self._pids.values())
            hit_at, self._promised = time.monotonic(), START
            self._server.start()
            return hit_at
        if any(fault.how == "stop" for fault in self._faults if fault.part != "parent"):
            self._promised += self._watchdog
        if Fault("stop", "parent") in self._faults:
            stands = self._rng.uniform(*STANDS)
            time.sleep(stands)
            os.kill(self._pids["parent"], signal.SIGCONT)
            self._promised += stands
        return hit_at


def age(pid: int) -> float:
    """How long a process has lived, in seconds."""
    ticks = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
    return time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")


def judge(cost: Cost, *, patience: float) -> None:
    """Hold the promises; those in seconds times `patience`, and times the work that waits for each of the cores."""
    patience *= leave()
    assert (cost.lost_elsewhere, cost.lies, cost.lost_changes, cost.double_runs) == (0, 0, 0, 0), cost
    assert cost.changes > 0, cost
    assert cost.back <= cost.promised * patience, cost
    assert cost.truth <= (cost.promised + ACTIVE) * patience, cost
