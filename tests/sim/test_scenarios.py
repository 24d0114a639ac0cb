"""Whatever befalls it, an installation keeps its promises: scenarios by seed, in virtual time.

A failing one is played again by ``pytest tests/sim --seed N``.
"""

import os
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from itertools import count
from pathlib import Path

import pytest

from tests.sim.conftest import SEEDS
from tests.sim.story import CLAIMS, LIFE, MEDIA, SUPERVISOR, kind_of, play, seconds_under_faults


def test_no_fault_breaks_an_invariant(seeds: range, record_property: Callable[[str, object], None]) -> None:
    """None of those that `watch` and `story` check on every message, on every run, and each second."""
    begun = time.process_time()
    outcomes = [play(seed) for seed in seeds]
    simulated: defaultdict[str, float] = defaultdict(float)
    for outcome in outcomes:
        simulated[f"hours of {outcome.kind}"] += outcome.seconds / 3600
        simulated["messages"] += outcome.messages
        simulated["kills"] += outcome.kills
    simulated["seconds of CPU"] = time.process_time() - begun
    record_property("simulated", dict(simulated))
    failed = [outcome for outcome in outcomes if outcome.violations]
    assert not failed, "\n\n".join(map(str, failed))


def test_a_run_is_long_enough() -> None:
    """Five hours of media at message rate, a hundred of supervisors, lives and claims."""
    hours: defaultdict[str, float] = defaultdict(float)
    for seed in range(SEEDS):
        hours[kind_of(seed).name] += seconds_under_faults(seed) / 3600
    assert hours[MEDIA.name] >= 5
    assert hours[SUPERVISOR.name] + hours[LIFE.name] + hours[CLAIMS.name] >= 100


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_nothing_runs_twice_over_ten_thousand_kills(record_property: Callable[[str, object], None]) -> None:
    """Agents on one store, killed at random moments among callers that change their minds."""
    kills = 0
    for seed in (seed for seed in count() if kind_of(seed) is CLAIMS):
        outcome = play(seed)
        assert not outcome.violations, str(outcome)
        kills += outcome.kills
        if kills >= 10_000:
            break
    record_property("simulated", {"kills": kills})


_TRACE = "from tests.sim.story import play; print([(o.digest, o.seconds, o.messages) for o in map(play, {seeds})])"


def test_a_scenario_is_played_again_exactly() -> None:
    """One of each kind, also by another process, in which sets have another order."""
    seeds = [0, 1, 3, 11]
    assert [kind_of(seed) for seed in seeds] == [MEDIA, SUPERVISOR, CLAIMS, LIFE]
    played = [
        subprocess.run(
            [sys.executable, "-c", _TRACE.format(seeds=seeds)],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            cwd=Path(__file__).parents[2],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for hash_seed in ("1", "2")
    ]
    assert played[0] == played[1]
