"""Many workers on one database: nobody gets what another has, and nothing acknowledged is lost."""

import itertools
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import hypothesis.strategies as st
from hypothesis import HealthCheck, given, settings

from penstock.store.sql import SqlStore
from penstock.store.tx import SqlTx
from penstock.tasks import lifecycle
from penstock.tasks.lifecycle import Cause
from penstock.tasks.model import Desired, State, Task
from tests.unit.making import HOUR, NOW, add_account, add_task, claim, observe
from tests.unit.place import Place

WORKERS = ["w-1", "w-2", "w-3"]


def test_racing_workers_get_every_task_once(place: Place) -> None:
    store = place.open()
    account = add_account(store)
    for number in range(60):
        add_task(store, account, str(number))

    def work(owner: str) -> list[int]:
        mine = place.open()
        keys: list[int] = []
        while claimed := claim(mine, owner, limit=3):
            keys += [task.key for task in claimed]
        mine.close()
        return keys

    with ThreadPoolExecutor(len(WORKERS)) as pool:
        shares = list(pool.map(work, WORKERS))
    everything = [key for share in shares for key in share]
    assert (len(everything), len(set(everything))) == (60, 60)
    rows = store.read_now(lambda tx: tx.tasks(None, None))
    assert {task.key: task.owner for task in rows} == {
        key: owner for owner, share in zip(WORKERS, shares, strict=True) for key in share
    }
    assert {task.epoch for task in rows} == {1}
    store.close()


WRITER = """
import sys
from pathlib import Path
from penstock.store.sql import open_store
from tests.unit.making import add_account, add_task

store = open_store(sys.argv[1], Path(sys.argv[2]), None, migrate=True, inline=True)
account = add_account(store)
for number in range(1_000_000):
    add_task(store, account, str(number))
    print(number, flush=True)
"""


def test_killed_writer_loses_nothing_that_it_was_told_is_written(place: Place) -> None:
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITER, place.url, place.data], stdout=subprocess.PIPE, cwd=Path(__file__).parents[2]
    )
    assert writer.stdout is not None
    with writer:
        acknowledged = [int(writer.stdout.readline()) for _ in range(50)]
        writer.send_signal(signal.SIGKILL)
        acknowledged += [int(line) for line in writer.stdout]
    assert writer.returncode == -signal.SIGKILL
    store = place.open()
    rows = store.read_now(lambda tx: tx.tasks(None, None))
    # The one after the last may have been written and not told.
    assert len(rows) - len(acknowledged) in (0, 1)
    assert {int(task.id) for task in rows} == set(range(len(rows)))
    add_task(store, rows[0].account_id, "next")
    store.close()


def report(state: State) -> Callable[[SqlTx, str, Task, int], bool]:
    """A worker's report of a state."""
    return lambda tx, owner, task, at: tx.set_state(task.key, owner=owner, epoch=task.epoch, state=state, at=at)


def release(state: State) -> Callable[[SqlTx, str, Task, int], bool]:
    """A worker's giving up."""
    return lambda tx, owner, task, at: tx.release(
        task.key, owner=owner, epoch=task.epoch, state=state, at=at, revision=task.revision
    )


#: All that a worker may write about a row.
WRITES: list[Callable[[SqlTx, str, Task, int], bool | int]] = [
    report(State.STARTING),
    report(State.ACTIVE),
    report(State.INACTIVE),
    release(State.WAITING),
    release(State.ENDED),
    lambda tx, owner, task, at: tx.checkpoint(owner, [observe(task.key, task.epoch, at=at)]),
]


class World:
    """Callers and two workers on two stores; workers die and come back under a new name."""

    def __init__(self, place: Place) -> None:
        self.stores = [place.open(), place.open()]
        self.now = NOW
        self.names = itertools.count()
        self.alive = ["w-a", "w-b"]
        self.dead: set[str] = set()
        #: What each worker believes to hold: it may be long out of date.
        self.believed: list[tuple[str, Task]] = []
        #: Who truly got each epoch of each row.
        self.claims: dict[tuple[int, int], str] = {}
        account = add_account(self.stores[0])
        for due in (-1, -1, 1):
            times = {"start_at": NOW + due * HOUR, "end_at": NOW + 5 * HOUR}
            add_task(self.stores[0], account, f"t{next(self.names)}", **times)

    def rows(self) -> dict[int, Task]:
        """All rows, those to be deleted too."""

        def work(tx: SqlTx) -> list[Task]:
            return [*tx.tasks(None, None), *(one for owner in tx.claimable_owners() for one in tx.owned(owner))]

        return {task.key: task for task in self.stores[0].read_now(work)}

    def take(self, store: SqlStore, number: int) -> None:
        """A worker claims, and nobody ever got that row in that epoch."""
        owner = self.alive[number % 2]
        for task in claim(store, owner, now=self.now, limit=number % 4, dead=self.dead):
            assert (task.key, task.epoch) not in self.claims
            self.claims[task.key, task.epoch] = owner
            self.believed.append((owner, task))

    def write(self, store: SqlStore, number: int) -> None:
        """A worker writes what it believes; that is done if, and only if, it still holds the row."""
        if not self.believed:
            return
        owner, task = self.believed[-1 - number % min(4, len(self.believed))]
        work = WRITES[number % len(WRITES)]
        before = self.rows()
        row = before.get(task.key)
        holds = row is not None and (row.owner, row.epoch) == (owner, task.epoch)
        assert bool(store.write_now(lambda tx: work(tx, owner, task, self.now))) == holds
        if not holds:
            assert self.rows() == before

    def die(self, store: SqlStore, number: int) -> None:
        """A worker dies."""
        self.dead.add(self.alive[number % 2])
        self.alive[number % 2] = f"w-{next(self.names)}"

    def ask(self, store: SqlStore, number: int) -> None:
        """A caller pauses, enables or deletes a task that has not ended."""
        visible = store.read_now(lambda tx: tx.tasks(None, None))
        able = [task for task in visible if task.state is not State.ENDED]
        if not able:
            return
        task = able[number % len(able)]
        enable = Cause.RESUMED if task.owner else Cause.ENABLED
        desired, cause = [
            *[(Desired.PAUSE, Cause.PAUSED), (Desired.ENABLE, enable)] * 2,
            (Desired.DELETE, Cause.DELETED),
        ][number % 5]
        state = lifecycle.after(task.state, cause)
        store.write_now(lambda tx: tx.change_task(task.key, at=self.now, by="caller", desired=desired, state=state))

    def sweep(self, store: SqlStore, number: int) -> None:
        """Time passes, and no row is left to the dead."""
        self.now += number % 2 * HOUR
        store.write_now(lambda tx: tx.sweep(self.now, dead=self.dead))
        for task in self.rows().values():
            assert task.owner is None or task.owner in self.alive
            assert task.owner is not None or task.desired is not Desired.DELETE

    def check(self) -> None:
        """States keep their promises."""
        for task in self.rows().values():
            owned = task.owner is not None
            if owned:
                assert self.claims[task.key, task.epoch] == task.owner
            match task.state:
                case State.WAITING:
                    assert (owned, task.desired) == (False, Desired.ENABLE)
                case State.STARTING | State.ACTIVE | State.INACTIVE:
                    assert (owned, task.desired) == (True, Desired.ENABLE)
                case State.PAUSED:
                    assert task.desired is Desired.PAUSE
                case State.ENDED:
                    assert not owned
                case State.DELETED:
                    assert task.desired is Desired.DELETE


Step = Callable[[World, SqlStore, int], None]
STEPS: list[Step] = [*[World.take] * 3, *[World.write] * 6, World.die, World.ask, World.sweep]
#: What is done, on which store, to which of the rows.
MOVES = st.tuples(st.sampled_from(STEPS), st.integers(0, 1), st.integers(0, 59))


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(MOVES, min_size=30, max_size=60))
def test_no_order_of_events_gives_a_row_to_two(place: Place, steps: list[tuple[Step, int, int]]) -> None:
    with tempfile.TemporaryDirectory() as data:
        world = World(place.emptied(Path(data)))
        for step, store, number in steps:
            step(world, world.stores[store], number)
            world.check()
        for store_to_close in world.stores:
            store_to_close.close()
