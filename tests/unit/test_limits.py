"""Rates and turns: what one caller asks too much costs nobody else."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.api import limits
from penstock.api.limits import Rates, TooManyWaiting, TooOften, Turns


class Clock:
    """Seconds, as a test sets them."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def taken(rates: Rates, who: str, per_second: int, calls: int) -> int:
    """How many of so many calls may be made now."""
    made = 0
    for _ in range(calls):
        try:
            rates.take(who, per_second)
        except TooOften:
            continue
        made += 1
    return made


def test_a_seconds_worth_may_be_called_at_once_and_then_as_time_goes_by(clock: Clock) -> None:
    rates = Rates(1, now=clock)

    assert taken(rates, "a", 30, 100) == 30
    clock.now += 0.1
    assert taken(rates, "a", 30, 100) == 3
    clock.now += 3600
    assert taken(rates, "a", 30, 100) == 30


def test_each_caller_has_a_rate_of_its_own(clock: Clock) -> None:
    rates = Rates(1, now=clock)

    assert [taken(rates, who, 20, 50) for who in "abc"] == [20, 20, 20]


def test_the_refusal_tells_how_often_was_called_and_how_often_may_be(clock: Clock) -> None:
    rates = Rates(1, now=clock)
    taken(rates, "a", 20, 24)
    with pytest.raises(TooOften) as error:
        rates.take("a", 20)

    assert (error.value.calls, error.value.limit) == (25, 20)


@pytest.mark.parametrize(("factor", "may"), [(2, 60), (0.5, 15), (0.001, 1), (0, 1000)])
def test_a_factor_changes_all_rates_and_zero_switches_them_off(clock: Clock, factor: float, may: int) -> None:
    assert taken(Rates(factor, now=clock), "a", 30, 1000) == may


@given(steps=st.lists(st.floats(0, 5), max_size=60), per_second=st.integers(1, 50))
def test_no_pattern_of_calls_gets_more_than_its_rate(steps: list[float], per_second: int) -> None:
    clock = Clock()
    rates, began, made = Rates(1, now=clock), clock.now, 0
    for step in steps:
        clock.now += step
        made += taken(rates, "a", per_second, 2 * per_second)

    assert made <= per_second * (1 + clock.now - began) + 1e-6


def test_callers_who_call_no_more_are_forgotten(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MANY_BUCKETS", 100)
    rates = Rates(1, now=clock)
    for number in range(1000):
        taken(rates, str(number), 20, 1)
        clock.now += 0.05

    assert len(rates) <= 100


async def test_a_caller_has_few_calls_under_way_and_its_others_wait_in_order() -> None:
    turns = Turns(at_once=2, waiting=100)
    under_way: list[int] = []
    ended: list[int] = []
    go_on = asyncio.Event()

    async def call(number: int) -> None:
        async with turns.turn("a"):
            under_way.append(number)
            await go_on.wait()
            ended.append(number)

    calls = [asyncio.create_task(call(number)) for number in range(6)]
    await asyncio.sleep(0)
    assert under_way == [0, 1]
    async with turns.turn("b"):  # does not wait
        pass
    go_on.set()
    await asyncio.gather(*calls)

    assert (under_way, ended) == (list(range(6)), list(range(6)))
    assert len(turns) == 0


async def test_a_caller_with_too_many_waiting_is_refused() -> None:
    turns = Turns(at_once=1, waiting=2)
    go_on = asyncio.Event()

    async def call() -> None:
        async with turns.turn("a"):
            await go_on.wait()

    calls = [asyncio.create_task(call()) for _ in range(3)]
    await asyncio.sleep(0)
    with pytest.raises(TooManyWaiting):
        turns.turn("a")
    go_on.set()
    await asyncio.gather(*calls)

    async with turns.turn("a"):
        pass


@pytest.mark.parametrize("when", ["waiting", "under way"])
async def test_a_call_that_is_given_up_gives_its_turn_up(when: str) -> None:
    turns = Turns(at_once=1, waiting=2)

    async def call() -> None:
        async with turns.turn("a"):
            await asyncio.Event().wait()

    calls = [asyncio.create_task(call()) for _ in range(2)]
    await asyncio.sleep(0)
    for one in reversed(calls) if when == "waiting" else calls:
        one.cancel()
        await asyncio.sleep(0)
    await asyncio.gather(*calls, return_exceptions=True)

    assert len(turns) == 0
    async with asyncio.timeout(1), turns.turn("a"):
        pass
