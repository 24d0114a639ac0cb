"""Where an output should end by now."""

import pytest

from penstock.media.pace import MOST_LEAD, Pace


def test_the_pace_is_that_of_the_wall_since_the_output_began() -> None:
    """Until it begins anew."""
    pace = Pace()
    assert pace.due(5) is None
    pace.follow(10, 400)
    assert pace.due(13) == 3400
    pace.forget()
    assert pace.due(13) is None


def test_the_pace_does_not_follow_an_output_that_falls_behind() -> None:
    """A few seconds that a source has lost are made good at its next loss."""
    pace = Pace()
    pace.follow(0, 0)
    for at in range(1, 60):
        pace.follow(at, 1000 * at - 3000)
    due = pace.due(60)
    assert due is not None
    assert due == pytest.approx(60_000, abs=100)


@pytest.mark.parametrize("rate", [1.0002, 0.9998])
def test_an_encoder_whose_clock_is_a_little_off_sets_the_pace(rate: float) -> None:
    """After a day it is 17 s away from ours: a loss then must neither wait so long nor skip so much."""
    pace = Pace()
    for at in range(0, 86_400, 10):
        pace.follow(at, 1000 * at * rate)
    due = pace.due(86_400)
    assert due is not None
    assert due == pytest.approx(86_400_000 * rate, abs=50)


def test_what_a_splice_adds_is_not_forgiven() -> None:
    """However long the source stays: the next one would add to it."""
    pace = Pace()
    pace.follow(0, 0)
    pace.splice()
    for at in range(1, 86_400, 10):
        pace.follow(at, 1000 * at + 800)
    due = pace.due(86_400)
    assert due is not None
    assert due == pytest.approx(86_400_000, abs=1)


def test_an_output_is_never_farther_ahead_than_it_may_be() -> None:
    """Else it would stand still at the next loss: a source has put its clock forward a little."""
    pace = Pace()
    pace.follow(0, 0)
    pace.follow(1, 1000 + 1900)
    assert pace.due(1) == 1000 + 1900 - MOST_LEAD
