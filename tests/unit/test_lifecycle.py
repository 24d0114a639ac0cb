"""The table of states and causes is whole, and says what the states promise."""

from collections.abc import Iterator

import pytest

from penstock.errors import Conflict
from penstock.tasks import lifecycle
from penstock.tasks.lifecycle import TRANSITIONS, Cause
from penstock.tasks.model import State


def reachable(state: State, seen: set[State]) -> Iterator[State]:
    """All states that a task in this state can come to."""
    if state not in seen:
        seen.add(state)
        yield state
        for following in TRANSITIONS[state].values():
            yield from reachable(following, seen)


def test_table_has_a_line_for_every_state() -> None:
    assert set(State) == set(TRANSITIONS)


def test_every_state_can_be_reached_by_a_new_task() -> None:
    assert set(State) == set(reachable(lifecycle.INITIAL, set()))


def test_every_cause_leads_somewhere_and_has_an_event() -> None:
    assert set(Cause) == {cause for line in TRANSITIONS.values() for cause in line}
    assert set(Cause) == set(lifecycle.EVENTS)


def test_nothing_leads_out_of_deleted() -> None:
    assert {State.DELETED} == set(reachable(State.DELETED, set()))


@pytest.mark.parametrize("state", State)
def test_every_task_can_be_deleted(state: State) -> None:
    assert lifecycle.after(state, Cause.DELETED) is State.DELETED


@pytest.mark.parametrize("state", [state for state in State if state is not State.DELETED])
def test_every_task_can_run_again(state: State) -> None:
    assert State.ACTIVE in set(reachable(state, set()))


def test_only_a_waiting_task_is_claimed() -> None:
    assert [state for state in State if lifecycle.allowed(state, Cause.CLAIMED)] == [State.WAITING]


@pytest.mark.parametrize("cause", [Cause.MEDIA_FLOWS, Cause.MEDIA_LOST, Cause.RESTARTED])
def test_a_report_changes_the_state_of_running_tasks_alone(cause: Cause) -> None:
    running = {State.STARTING, State.ACTIVE, State.INACTIVE}
    assert {state for state in State if lifecycle.allowed(state, cause)} == running


@pytest.mark.parametrize("state", [State.WAITING, State.ENDED])
def test_a_task_that_a_worker_lets_go_had_a_worker(state: State) -> None:
    assert not lifecycle.allowed(state, Cause.RELEASED)


def test_a_paused_task_stays_paused_when_its_worker_lets_go() -> None:
    assert lifecycle.after(State.PAUSED, Cause.RELEASED) is State.PAUSED


def test_what_the_table_does_not_know_is_a_conflict_that_says_so() -> None:
    with pytest.raises(Conflict, match="A task that is ended cannot be paused"):
        lifecycle.after(State.ENDED, Cause.PAUSED)
