"""A stall is judged by the source's own rhythm."""

import random

import pytest

from penstock.media.cadence import LEAST, MOST, Cadence


def played(cadence: Cadence, pauses: list[float], start: float = 100.0) -> float:
    """Move media time on after each pause; return when it last moved."""
    now = start
    cadence.moved(now)
    for pause in pauses:
        now += pause
        cadence.moved(now)
    return now


def test_a_new_source_has_the_longest_limit() -> None:
    """Until its rhythm is known."""
    cadence = Cadence()
    assert cadence.limit == MOST

    played(cadence, [0.04] * 50)

    assert cadence.limit == MOST


def test_a_steady_source_is_given_up_soon() -> None:
    """25 frames a second, served each 40 ms."""
    cadence = Cadence()

    played(cadence, [0.04] * 200)

    assert cadence.limit == LEAST


def test_bursts_raise_the_limit_up_to_the_most() -> None:
    """A source that sends twice a second may pause for two seconds; one that sends each second for three."""
    cadence = Cadence()
    now = played(cadence, [0.5] * 20)
    assert cadence.limit == pytest.approx(2)

    played(cadence, [1.0] * 5, now)

    assert cadence.limit == MOST


def test_a_rhythm_is_forgotten() -> None:
    """A pause that has not been seen for a minute counts no more."""
    cadence = Cadence()
    now = played(cadence, [0.4] * 20)

    played(cadence, [0.04] * 1600, now)

    assert cadence.limit == LEAST


def test_the_pause_before_a_new_connection_is_not_the_sources() -> None:
    """And the rhythm stays known."""
    cadence = Cadence()
    now = played(cadence, [0.04] * 200)
    cadence.begin()

    played(cadence, [0.04] * 3, now + 60)

    assert cadence.limit == LEAST


def test_an_hour_of_jitter_makes_no_false_stall() -> None:
    """40 ms frames, each late by up to 200 ms: the silence never reaches the limit of that moment."""
    rng, cadence = random.Random(1), Cadence()
    arrivals = sorted(at * 0.04 + rng.uniform(0, 0.2) for at in range(90_000))
    before = arrivals[0]

    for now in arrivals:
        assert now - before < cadence.limit
        cadence.moved(now)
        before = now


def test_a_source_that_is_lost_after_each_step_keeps_the_longest_limit() -> None:
    """There are no pauses to learn from: those between its connections are not its own."""
    cadence = Cadence()
    for second in range(0, 60, 10):
        cadence.begin()
        cadence.moved(second)
        assert cadence.limit == MOST
