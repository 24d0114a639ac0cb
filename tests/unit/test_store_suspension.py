"""Tasks of a service that is not active: kept from running, and let run again."""

from penstock.store.sql import SqlStore
from penstock.tasks.model import Desired, State
from tests.unit.making import (
    DAY,
    NOW,
    add_account,
    add_task,
    claim,
    event_names,
    observe,
    read_task,
)


def suspend(store: SqlStore, account: int) -> int:
    return store.write_now(lambda tx: tx.suspend(account, "pull", at=NOW + 1, by="admin", text="live is frozen"))


def reinstate(store: SqlStore, account: int) -> int:
    return store.write_now(lambda tx: tx.reinstate(account, "pull", at=NOW + 2, by="admin", text="live is active"))


def test_waiting_task_is_suspended_with_its_reason_and_not_given_to_a_worker(store: SqlStore, account: int) -> None:
    task = add_task(store, account, "a")
    assert suspend(store, account) == 1
    suspended = read_task(store, task.key)
    assert (suspended.state, suspended.state_at, suspended.desired) == (State.SUSPENDED, NOW + 1, Desired.ENABLE)
    assert (suspended.updated_at, suspended.revision) == (task.updated_at, task.revision)
    assert claim(store, "w-1") == []
    [event] = store.read_now(lambda tx: tx.events(task.key))
    assert (event.name, event.by, event.text) == ("task.suspended", "admin", "live is frozen")


def test_suspended_task_waits_for_a_worker_again_when_it_is_reinstated(store: SqlStore, account: int) -> None:
    key = add_task(store, account, "a").key
    suspend(store, account)
    assert reinstate(store, account) == 1
    assert read_task(store, key).state is State.WAITING
    assert [task.key for task in claim(store, "w-1")] == [key]
    assert event_names(store, key) == ["task.suspended", "task.enabled", "task.claimed"]


def test_running_task_stays_its_workers_until_that_lets_go(store: SqlStore, account: int) -> None:
    key = add_task(store, account, "a").key
    claim(store, "w-1")
    suspend(store, account)
    assert [task.state for task in store.read_now(lambda tx: tx.owned("w-1"))] == [State.SUSPENDED]
    assert store.write_now(lambda tx: tx.set_state(key, owner="w-1", epoch=1, state=State.ACTIVE, at=NOW))
    assert store.write_now(lambda tx: tx.checkpoint("w-1", [observe(key, 1)])) == 1
    assert store.write_now(lambda tx: tx.release(key, owner="w-1", epoch=1, state=State.WAITING, at=NOW))
    released = read_task(store, key)
    assert (released.state, released.owner) == (State.SUSPENDED, None)


def test_task_reinstated_before_its_worker_let_go_starts_anew_there(store: SqlStore, account: int) -> None:
    key = add_task(store, account, "a").key
    claim(store, "w-1")
    suspend(store, account)
    reinstate(store, account)
    task = read_task(store, key)
    assert (task.state, task.owner) == (State.STARTING, "w-1")


def test_task_of_a_worker_that_died_stays_suspended(store: SqlStore, account: int) -> None:
    key = add_task(store, account, "a").key
    claim(store, "w-1")
    suspend(store, account)
    assert claim(store, "w-2", dead={"w-1"}) == []
    task = read_task(store, key)
    assert (task.state, task.owner) == (State.SUSPENDED, None)


def test_paused_and_ended_tasks_stay_what_they_are(store: SqlStore, account: int) -> None:
    paused, ended = add_task(store, account, "a"), add_task(store, account, "b", end_at=NOW)
    store.write_now(lambda tx: tx.change_task(paused.key, at=NOW, by="", desired=Desired.PAUSE, state=State.PAUSED))
    store.write_now(lambda tx: tx.sweep(NOW, dead=()))
    assert (suspend(store, account), reinstate(store, account)) == (0, 0)
    assert [read_task(store, task.key).state for task in (paused, ended)] == [State.PAUSED, State.ENDED]


def test_suspended_task_ends_when_its_time_has_come(store: SqlStore, account: int) -> None:
    key = add_task(store, account, "a").key
    suspend(store, account)
    store.write_now(lambda tx: tx.sweep(NOW + DAY, dead=()))
    assert read_task(store, key).state is State.ENDED
    assert reinstate(store, account) == 0


def test_other_accounts_and_other_families_go_on(store: SqlStore, account: int) -> None:
    others = [add_task(store, account, "a", family="link"), add_task(store, add_account(store, "other"), "a")]
    add_task(store, account, "a")
    assert suspend(store, account) == 1
    assert [read_task(store, task.key).state for task in others] == [State.WAITING] * 2


def test_task_to_be_deleted_still_goes(store: SqlStore, account: int) -> None:
    key = add_task(store, account, "a").key
    claim(store, "w-1")
    store.write_now(lambda tx: tx.change_task(key, at=NOW, by="", desired=Desired.DELETE, state=State.DELETED))
    assert suspend(store, account) == 0
    store.write_now(lambda tx: tx.release(key, owner="w-1", epoch=1, state=State.WAITING, at=NOW))
    assert store.read_now(lambda tx: tx.task_by_key(key)) is None


def test_suspending_twice_says_nothing_the_second_time(store: SqlStore, account: int) -> None:
    key = add_task(store, account, "a").key
    assert (suspend(store, account), suspend(store, account)) == (1, 0)
    assert event_names(store, key) == ["task.suspended"]
