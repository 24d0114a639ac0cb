"""When a child is started again, and when it counts as wedged."""

from penstock.parent.policy import Damper, Silence


def test_first_death_costs_no_time_and_further_ones_ever_more() -> None:
    damper = Damper()
    pauses = [damper.died(lived=0.1) for _ in range(8)]
    assert pauses == [0, 0.2, 0.4, 0.8, 1.6, 3.2, 5, 5]


def test_a_healthy_life_makes_the_next_death_a_first_one() -> None:
    damper = Damper()
    pauses = [damper.died(lived=lived) for lived in (0.1, 0.1, 9.9, 10.0, 0.1)]
    assert pauses == [0, 0.2, 0.4, 0, 0.2]


def silent_for(silence: Silence, start: float, seconds: float, every: float = 0.5) -> float | None:
    """When a child that says nothing is given up, judged regularly; None: it is not."""
    now = start
    while now < start + seconds:
        now += every
        if silence.too_long(now, every=every):
            return now
    return None


def test_child_that_falls_silent_is_given_up_after_the_limit() -> None:
    silence = Silence(10, now=0)
    silence.heard(0.2)
    assert silent_for(silence, 0, 60) == 10.5


def test_child_that_speaks_is_never_given_up() -> None:
    silence = Silence(2, now=0)
    for second in range(100):
        silence.heard(second)
        assert silent_for(silence, second, 1) is None


def test_child_that_has_not_spoken_yet_may_take_longer_to_load() -> None:
    assert silent_for(Silence(2, now=0), 0, 60) == 30.5
    assert silent_for(Silence(45, now=0), 0, 60) == 45.5


def test_child_is_not_blamed_for_a_parent_that_slept() -> None:
    silence = Silence(2, now=0)
    silence.heard(0.5)
    assert silent_for(silence, 0, 1.5) is None
    assert not silence.too_long(100, every=0.5)
    assert silent_for(silence, 100, 60) == 101.0
