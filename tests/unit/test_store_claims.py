"""Who runs a task: claims, fences and sweeps, on a real SQLite file."""

import pytest

from penstock.store import schema
from penstock.store.sql import SqlStore
from penstock.store.tx import SqlTx
from penstock.tasks.model import Desired, State, Task
from tests.unit.making import (
    DAY,
    HOUR,
    NOW,
    add_task,
    claim,
    event_names,
    observe,
    read_task,
)


class TestClaims:
    """Who gets a task."""

    async def test_claim_raises_the_epoch_and_leaves_an_event(self, store: SqlStore, account: int) -> None:
        key = add_task(store, account, "a").key
        [task] = claim(store, "w-1", now=NOW + 5)
        assert (task.owner, task.epoch, task.state, task.state_at) == ("w-1", 1, State.STARTING, NOW + 5)
        assert task == read_task(store, key)
        [line] = store.read_now(lambda tx: tx.events(key))
        assert (line.name, line.by, line.text) == ("task.claimed", "w-1", "taken by w-1, epoch 1")

    async def test_task_that_is_taken_is_not_given_to_another(self, store: SqlStore, account: int) -> None:
        add_task(store, account, "a")
        claim(store, "w-1")
        assert claim(store, "w-2") == []

    async def test_those_due_longest_come_first_and_only_as_many_as_asked(self, store: SqlStore, account: int) -> None:
        for name, due in [("late", NOW), ("early", NOW - HOUR), ("later", NOW + 1)]:
            add_task(store, account, name, start_at=due)
        assert [task.id for task in claim(store, "w-1", limit=1)] == ["early"]
        assert [task.id for task in claim(store, "w-1")] == ["late"]
        assert claim(store, "w-1", now=NOW + 1, limit=0) == []

    async def test_paused_ended_and_deleted_tasks_are_not_given(self, store: SqlStore, account: int) -> None:
        paused, deleted = add_task(store, account, "a"), add_task(store, account, "b")
        add_task(store, account, "c", end_at=NOW)

        def work(tx: SqlTx) -> None:
            tx.change_task(paused.key, at=NOW, by="", desired=Desired.PAUSE, state=State.PAUSED)
            tx.change_task(deleted.key, at=NOW, by="", desired=Desired.DELETE, state=State.DELETED)

        store.write_now(work)
        assert claim(store, "w-1") == []

    async def test_task_without_an_end_is_given(self, store: SqlStore, account: int) -> None:
        add_task(store, account, "a", end_at=None)
        assert len(claim(store, "w-1", now=NOW + 1000 * DAY)) == 1

    async def test_task_of_a_dead_worker_is_given_at_once_with_a_higher_epoch(
        self, store: SqlStore, account: int
    ) -> None:
        key = add_task(store, account, "a").key
        claim(store, "w-1")
        [task] = claim(store, "w-2", dead={"w-1"})
        assert (task.owner, task.epoch, task.state) == ("w-2", 2, State.STARTING)
        assert event_names(store, key) == ["task.claimed", "task.released", "task.claimed"]

    async def test_tasks_of_one_affinity_go_to_the_worker_that_has_one(self, store: SqlStore, account: int) -> None:
        for name, affinity in [("a", "x"), ("b", "x"), ("c", "y"), ("d", ""), ("e", "x")]:
            add_task(store, account, name, affinity=affinity, start_at=NOW + (name == "e"))
        assert [task.id for task in claim(store, "w-1", limit=1)] == ["a"]
        # The others of its affinity do not stand in the way of those behind them.
        assert [task.id for task in claim(store, "w-2", limit=2)] == ["c", "d"]
        assert [task.id for task in claim(store, "w-1", now=NOW + 1)] == ["b", "e"]

    async def test_tasks_of_an_affinity_follow_each_other_when_their_worker_dies(
        self, store: SqlStore, account: int
    ) -> None:
        for name in ("a", "b"):
            add_task(store, account, name, affinity="x")
        claim(store, "w-1")
        assert [task.id for task in claim(store, "w-2", dead={"w-1"}, limit=1)] == ["a"]
        assert claim(store, "w-3") == []
        assert [task.id for task in claim(store, "w-2")] == ["b"]

    async def test_affinity_is_not_stored_in_clear(self, store: SqlStore, account: int) -> None:
        keys = [add_task(store, account, name, affinity="play.example/secret").key for name in ("a", "b")]
        first, second = (read_task(store, key).affinity for key in keys)
        assert first == second
        assert "secret" not in first

    async def test_what_does_not_fit_keeps_none_behind_it_waiting(self, store: SqlStore, account: int) -> None:
        for number in range(230):
            add_task(store, account, f"large-{number}")
        for name in ("small", "smaller"):
            add_task(store, account, name, start_at=NOW + 1)
        asked: list[str] = []

        def fits(task: Task) -> bool:
            asked.append(task.id)
            return task.id.startswith("small")

        taken = store.write_now(lambda tx: tx.claim("w-1", dead=(), now=NOW + 1, limit=2, fits=fits))
        assert [task.id for task in taken] == ["small", "smaller"]
        assert len(asked) == len(set(asked)) == 232

    async def test_owners_of_all_rows_are_known(self, store: SqlStore, account: int) -> None:
        assert store.read_now(lambda tx: tx.claimable_owners()) == []
        for name in ("a", "b", "c"):
            add_task(store, account, name)
        claim(store, "w-2", limit=2)
        [task] = claim(store, "w-1")
        store.write_now(lambda tx: tx.change_task(task.key, at=NOW, by="", desired=Desired.DELETE, state=State.DELETED))
        assert store.read_now(lambda tx: tx.claimable_owners()) == ["w-1", "w-2"]

    async def test_owned_rows_are_those_of_one_worker_whatever_is_desired(self, store: SqlStore, account: int) -> None:
        for name in ("a", "b", "c"):
            add_task(store, account, name)
        mine = claim(store, "w-1", limit=2)
        claim(store, "w-2")
        store.write_now(
            lambda tx: tx.change_task(mine[0].key, at=NOW, by="", desired=Desired.PAUSE, state=State.PAUSED)
        )
        owned = store.read_now(lambda tx: tx.owned("w-1"))
        assert [(task.key, task.desired) for task in owned] == [
            (mine[0].key, Desired.PAUSE),
            (mine[1].key, Desired.ENABLE),
        ]


class TestFence:
    """A worker's write holds only while owner and epoch do."""

    @pytest.fixture
    def key(self, store: SqlStore, account: int) -> int:
        """A task that w-1 had in epoch 1, and w-2 has in epoch 2."""
        key = add_task(store, account, "a").key
        claim(store, "w-1")
        claim(store, "w-2", dead={"w-1"})
        return key

    @pytest.mark.parametrize(("owner", "epoch"), [("w-1", 1), ("w-1", 2), ("w-2", 1), ("w-2", 3)])
    async def test_nobody_else_writes(self, store: SqlStore, key: int, owner: str, epoch: int) -> None:
        before, history = read_task(store, key), event_names(store, key)

        def work(tx: SqlTx) -> list[int]:
            return [
                tx.set_state(key, owner=owner, epoch=epoch, state=State.ACTIVE, at=NOW),
                tx.release(key, owner=owner, epoch=epoch, state=State.WAITING, at=NOW),
                tx.checkpoint(owner, [observe(key, epoch)]),
            ]

        assert store.write_now(work) == [False, False, 0]
        assert read_task(store, key) == before
        assert event_names(store, key) == history

    async def test_states_are_written_with_their_time_and_reason(self, store: SqlStore, key: int) -> None:
        def report(state: State, at: int, text: str = "") -> bool:
            return store.write_now(lambda tx: tx.set_state(key, owner="w-2", epoch=2, state=state, at=at, text=text))

        assert report(State.ACTIVE, NOW + 1)
        assert report(State.INACTIVE, NOW + 2, "source: connection refused")
        assert report(State.INACTIVE, NOW + 3)
        task = read_task(store, key)
        assert (task.state, task.state_at, task.updated_at, task.revision) == (State.INACTIVE, NOW + 2, NOW, 1)
        last = store.read_now(lambda tx: tx.last_events(key, 2))
        assert [(line.name, line.text, line.by) for line in last] == [
            ("task.active", "", "w-2"),
            ("task.inactive", "source: connection refused", "w-2"),
        ]

    @pytest.mark.parametrize(("desired", "state"), [("pause", State.PAUSED), ("delete", State.DELETED)])
    async def test_report_about_a_task_that_is_to_stop_is_no_fence_and_changes_nothing(
        self, store: SqlStore, key: int, desired: str, state: State
    ) -> None:
        store.write_now(lambda tx: tx.change_task(key, at=NOW, by="", desired=Desired(desired), state=state))
        assert store.write_now(lambda tx: tx.set_state(key, owner="w-2", epoch=2, state=State.ACTIVE, at=NOW))
        assert [task.state for task in store.read_now(lambda tx: tx.owned("w-2"))] == [state]

    async def test_status_is_stored_and_read_with_the_task(self, store: SqlStore, key: int) -> None:
        for at in (NOW, NOW + 2000):
            seen = observe(key, 2, at=at)
            written = [seen, observe(99, 1)]
            assert store.write_now(lambda tx: tx.checkpoint("w-2", written)) == 1  # noqa: B023 - called at once
            assert read_task(store, key).observed == seen

    async def test_released_task_waits_for_the_next_worker(self, store: SqlStore, key: int) -> None:
        assert store.write_now(lambda tx: tx.release(key, owner="w-2", epoch=2, state=State.WAITING, at=NOW + 1))
        task = read_task(store, key)
        assert (task.owner, task.state, task.state_at, task.epoch) == (None, State.WAITING, NOW + 1, 2)
        assert event_names(store, key)[-1] == "task.released"
        assert claim(store, "w-3")[0].epoch == 3

    @pytest.mark.parametrize(("revision", "state"), [(None, State.ENDED), (1, State.ENDED), (2, State.WAITING)])
    async def test_end_is_believed_unless_the_task_has_changed_meanwhile(
        self, store: SqlStore, key: int, revision: int | None, state: State
    ) -> None:
        store.write_now(lambda tx: tx.release(key, owner="w-2", epoch=2, state=State.ENDED, at=NOW, revision=revision))
        task = read_task(store, key)
        assert (task.state, task.owner) == (state, None)
        assert bool(claim(store, "w-3")) == (state is State.WAITING)

    async def test_row_that_is_to_be_deleted_goes_when_it_is_released(self, store: SqlStore, key: int) -> None:
        store.write_now(lambda tx: tx.checkpoint("w-2", [observe(key, 2)]))
        store.write_now(lambda tx: tx.change_task(key, at=NOW, by="", desired=Desired.DELETE, state=State.DELETED))
        assert store.write_now(lambda tx: tx.release(key, owner="w-2", epoch=2, state=State.ENDED, at=NOW, revision=2))
        with store._engine.connect() as connection:
            for table in (schema.task, schema.checkpoint, schema.event):
                assert connection.execute(table.select()).all() == []


class TestSweep:
    """Rows that no living worker owns are settled."""

    async def test_nothing_to_settle_changes_nothing(self, store: SqlStore, account: int) -> None:
        add_task(store, account, "a")
        claim(store, "w-1")
        assert store.write_now(lambda tx: tx.sweep(NOW, dead=())) == []

    async def test_tasks_past_their_end_are_ended_waiting_or_paused(self, store: SqlStore, account: int) -> None:
        waiting, paused = add_task(store, account, "a"), add_task(store, account, "b")
        store.write_now(lambda tx: tx.change_task(paused.key, at=NOW, by="", desired=Desired.PAUSE, state=State.PAUSED))
        settled = store.write_now(lambda tx: tx.sweep(NOW + DAY, dead=()))
        assert [(task.key, task.state) for task in settled] == [
            (waiting.key, State.ENDED),
            (paused.key, State.ENDED),
        ]
        assert read_task(store, paused.key).desired is Desired.PAUSE
        assert event_names(store, waiting.key) == ["task.ended"]

    async def test_living_workers_task_is_left_to_it_past_its_end(self, store: SqlStore, account: int) -> None:
        add_task(store, account, "a")
        claim(store, "w-1")
        assert store.write_now(lambda tx: tx.sweep(NOW + DAY, dead={"w-2"})) == []

    async def test_dead_workers_tasks_wait_end_stay_paused_or_go(self, store: SqlStore, account: int) -> None:
        waiting = add_task(store, account, "a", end_at=NOW + 2 * DAY)
        ended, paused, deleted = (add_task(store, account, name) for name in "bcd")
        claim(store, "w-1")

        def change(tx: SqlTx) -> None:
            tx.change_task(paused.key, at=NOW, by="", desired=Desired.PAUSE, state=State.PAUSED, end_at=NOW + 2 * DAY)
            tx.change_task(deleted.key, at=NOW, by="", desired=Desired.DELETE, state=State.DELETED)

        store.write_now(change)
        settled = store.write_now(lambda tx: tx.sweep(NOW + DAY, dead={"w-1"}))
        expected = {
            waiting.key: State.WAITING,
            ended.key: State.ENDED,
            paused.key: State.PAUSED,
            deleted.key: State.DELETED,
        }
        assert {task.key: task.state for task in settled} == expected
        assert {task.owner for task in settled} == {None}
        rows = store.read_now(lambda tx: tx.tasks(None, None))
        assert {task.key for task in rows} == {waiting.key, ended.key, paused.key}

    async def test_row_to_be_deleted_that_nobody_owns_goes(self, store: SqlStore, account: int) -> None:
        key = add_task(store, account, "a").key
        store.write_now(lambda tx: tx.change_task(key, at=NOW, by="", desired=Desired.DELETE, state=State.DELETED))
        [task] = store.write_now(lambda tx: tx.sweep(NOW, dead=()))
        assert task.state is State.DELETED
        assert store.write_now(lambda tx: tx.sweep(NOW, dead=())) == []
