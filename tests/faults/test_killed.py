"""Processes that are killed (SIGKILL) or stand still (SIGSTOP), alone and in pairs, at random moments under 50 relays.

Every relay's pictures are counted, the API is asked and told to change things all the while.
"""

import random
from collections.abc import Callable, Sequence
from itertools import combinations, product

import pytest

from tests.faults.fleet import Fleet
from tests.faults.rounds import Fault, Round, judge

Record = Callable[[str, object], None]

PARTS = ("parent", "api", "hub", "worker", "other")
KILL, STOP = "kill", "stop"

#: Twenty rounds; whatever is hit twice has lived for ten seconds in between.
ROUNDS = [
    [Fault(KILL, "api")],
    [Fault(KILL, "hub")],
    [Fault(KILL, "worker")],
    [Fault(STOP, "parent")],
    [Fault(STOP, "api")],
    [Fault(STOP, "hub")],
    [Fault(STOP, "worker")],
    [Fault(KILL, "worker"), Fault(KILL, "other")],
    [Fault(KILL, "api"), Fault(KILL, "hub")],
    [Fault(STOP, "parent"), Fault(KILL, "worker")],
    [Fault(STOP, "hub"), Fault(KILL, "other")],
    [Fault(STOP, "api"), Fault(STOP, "worker")],
    [Fault(STOP, "parent"), Fault(KILL, "hub")],
    [Fault(KILL, "api"), Fault(KILL, "other")],
    [Fault(KILL, "hub"), Fault(KILL, "worker")],
    [Fault(STOP, "hub"), Fault(KILL, "api")],
    [Fault(KILL, "other"), Fault(STOP, "worker")],
    [Fault(KILL, "api"), Fault(KILL, "worker")],
    [Fault(KILL, "parent"), Fault(STOP, "worker")],
    [Fault(KILL, "parent")],
]
ANY = [[Fault(how, part)] for how, part in product((KILL, STOP), PARTS)] + [
    [Fault(one_how, one), Fault(other_how, other)]
    for one, other in combinations(PARTS, 2)
    for one_how, other_how in product((KILL, STOP), repeat=2)
]


def name(faults: Sequence[Fault]) -> str:
    return ", ".join(map(str, faults))


def play(fleet: Fleet, faults: Sequence[Fault], request: pytest.FixtureRequest, *, patience: float) -> None:
    """Play one round and judge it; its moments are those of `--seed`."""
    seed: int = request.config.getoption("seed") or random.randrange(10**6)
    print(f"the moments of this round: --seed {seed}")
    cost = Round(fleet, faults, random.Random(seed), watchdog=fleet.watchdog).play()
    request.node.user_properties.append(("fault", (name(faults), cost._asdict())))
    judge(cost, patience=patience)


@pytest.mark.xdist_group("fleet")
@pytest.mark.parametrize("fleet", [5], indirect=True, ids=["watchdog 5 s"])
@pytest.mark.parametrize("faults", ROUNDS, ids=name)
def test_nothing_that_dies_takes_anything_along(
    fleet: Fleet, faults: Sequence[Fault], request: pytest.FixtureRequest
) -> None:
    """A watchdog that waits less long than usual spares time; the machine runs other tests besides."""
    play(fleet, faults, request, patience=2)


@pytest.mark.soak
@pytest.mark.parametrize("fleet", [10], indirect=True, ids=["watchdog 10 s"])
@pytest.mark.parametrize("faults", ANY, ids=name)
def test_whatever_dies_takes_nothing_along(
    fleet: Fleet, faults: Sequence[Fault], request: pytest.FixtureRequest
) -> None:
    """All pairs, with the settings that everybody has."""
    play(fleet, faults, request, patience=1)
