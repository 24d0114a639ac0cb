"""Whatever befalls it, an installation keeps its promises: scenarios by seed, in virtual time.

A failing one is played again by ``pytest tests/sim --seed N``.
"""

from tests.sim.story import play


def test_no_fault_breaks_an_invariant(seeds: range) -> None:
    """None of those that `watch` and `story` check on every message, on every run, and each second."""
    failed = [outcome for outcome in map(play, seeds) if outcome.violations]
    assert not failed, "\n\n".join(map(str, failed))
