"""The verbs of one transaction, on whichever database SQLAlchemy speaks to."""

import zlib
from collections.abc import Callable, Collection, Iterable, Sequence
from itertools import islice
from typing import Any

import msgspec
from sqlalchemy import (
    ColumnElement,
    Select,
    bindparam,
    delete,
    func,
    insert,
    literal_column,
    select,
    tuple_,
    update,
)
from sqlalchemy.dialects.postgresql import insert as upsert  # SQLite's is the same

from penstock.errors import InvalidTaskId, TaskNotFound
from penstock.store import schema
from penstock.store.prepared import Prepared, keep
from penstock.store.reading import OF_ACCOUNT, OF_FAMILY, TASKS, SqlReading, spec_context
from penstock.store.schema import checkpoint, event, task
from penstock.tasks import lifecycle
from penstock.tasks.lifecycle import Cause
from penstock.tasks.model import Desired, Event, Observed, State, Task

_DAY = 86_400_000
#: How long events and ended tasks are kept, in ms.
KEEP = 30 * _DAY
KEEP_EVENTS = 10_000

#: Tasks that a claim looks at together, when the first ones did not fit.
MANY = 100
#: Who is named by the events of rows that the passing of time settles.
_CLOCK = "clock"

_ROW = Prepared(TASKS.where(task.c.key == bindparam("key")))


def _tethered(affinity: "ColumnElement[str]") -> "Select[Any]":
    """Tasks of an affinity that other workers run."""
    other = task.alias("other")
    return select(other.c.key).where(
        other.c.owner.is_not(None),
        other.c.affinity != literal_column("''"),
        other.c.affinity == affinity,
        other.c.owner != bindparam("owner"),
    )


# What every worker asks every two seconds.
_OWNER = task.c.owner == bindparam("owner")
_OWNERS = Prepared(select(task.c.owner).where(schema.OWNED).distinct().order_by(task.c.owner))
_OWNED = Prepared(TASKS.where(schema.OWNED, _OWNER).order_by(task.c.key))
_HELD = Prepared(TASKS.where(task.c.key == bindparam("key"), _OWNER, task.c.epoch == bindparam("epoch")), keeps=task)
_EPOCHS = Prepared(select(task.c.key, task.c.epoch).where(schema.OWNED, _OWNER))
# Whatever another transaction has in its hands now is left to it, or to the next time.
_DOOMED = Prepared(TASKS.where(schema.DOOMED, task.c.owner.is_(None)).order_by(task.c.key), keeps=task, skips=True)
_OVERDUE = Prepared(
    TASKS.where(schema.MAY_END, task.c.end_at <= bindparam("now")).order_by(task.c.key), keeps=task, skips=True
)
_ELSEWHERE = Prepared(_tethered(bindparam("affinity")))
_DUE = Prepared(
    TASKS.where(
        schema.WAITING,
        task.c.desired == literal_column(f"'{Desired.ENABLE}'"),
        task.c.start_at <= bindparam("now"),
        task.c.end_at.is_(None) | (task.c.end_at > bindparam("now")),
        tuple_(task.c.start_at, task.c.key) > tuple_(bindparam("start_at"), bindparam("key")),
        ~_tethered(task.c.affinity).exists(),
    )
    .order_by(task.c.start_at, task.c.key)
    .limit(bindparam("limit")),
    keeps=task,
    skips=True,
)
_CHECKPOINT = upsert(checkpoint)
_CHECKPOINT = _CHECKPOINT.on_conflict_do_update(
    index_elements=[checkpoint.c.task_key],
    set_={name: _CHECKPOINT.excluded[name] for name in ("epoch", "at", "observed")},
    where=checkpoint.c.epoch <= _CHECKPOINT.excluded.epoch,
)
_EVENT_FIELDS = ("at", "name", "text", "by")
#: An event of a task that is still there. Its row is kept, so that events are committed in the order of their ids.
_ADD_EVENT = insert(event).from_select(
    ["task_key", *_EVENT_FIELDS],
    keep(
        select(task.c.key, *(bindparam(f"event_{name}", type_=event.c[name].type) for name in _EVENT_FIELDS)).where(
            task.c.key == bindparam("event_task")
        ),
        task,
    ),
)


class SqlTx(SqlReading):
    """`penstock.tasks.ports.Tx` on one connection; see there for what each verb promises."""

    # tasks, as the API sees them

    def next_task_number(self, family: str, first: int) -> int:
        return self._next(f"task.{family}", first)

    def insert_task(
        self,
        *,
        account_id: int,
        family: str,
        id: str,
        spec: bytes,
        state: State,
        start_at: int,
        end_at: int | None,
        region: str,
        at: int,
        by: str,
        domain: str = "",
        affinity: str = "",
    ) -> Task:
        values = {
            "account_id": account_id,
            "family": family,
            "id": id,
            "spec": self._sealer.seal(spec, spec_context(account_id, family, id)),
            "desired": Desired.ENABLE.value,
            "state": state.value,
            "state_at": at,
            "revision": 1,
            "start_at": start_at,
            "end_at": end_at,
            "region": region,
            "created_at": at,
            "created_by": by,
            "updated_at": at,
            "updated_by": by,
            "epoch": 0,
            "domain": domain,
            "affinity": affinity and self._sealer.mark(affinity),
        }
        if self.task(account_id, family, id):
            raise InvalidTaskId(f"TaskId {id} belongs to another task.")
        key = self._db.execute(insert(task).returning(task.c.key), values).scalar_one()
        return self._task_of_key(key)

    def change_task(
        self,
        key: int,
        *,
        at: int,
        by: str,
        spec: bytes | None = None,
        desired: Desired | None = None,
        state: State | None = None,
        start_at: int | None = None,
        end_at: int | None = None,
    ) -> Task:
        before = self.task_by_key(key)
        if before is None:
            raise TaskNotFound
        given = {"desired": desired, "state": state, "start_at": start_at, "end_at": end_at}
        values: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
        if spec is not None:
            values["spec"] = self._sealer.seal(spec, spec_context(before.account_id, before.family, before.id))
        if state is not None and state is not before.state:
            values["state_at"] = at
        values |= {"revision": before.revision + 1, "updated_at": at, "updated_by": by}
        self._db.execute(update(task).where(task.c.key == key).values(values))
        return self._task_of_key(key)

    def remove_task(self, key: int) -> None:
        self._db.execute(delete(task).where(task.c.key == key))

    def suspend(self, account_id: int, family: str, *, at: int, by: str, text: str) -> int:
        running = [one for one in self._of(account_id, family) if lifecycle.allowed(one.state, Cause.SUSPENDED)]
        for one in running:
            self._move(one, Cause.SUSPENDED, at=at, by=by, text=text)
        return len(running)

    def reinstate(self, account_id: int, family: str, *, at: int, by: str, text: str) -> int:
        suspended = self._of(account_id, family, task.c.state == State.SUSPENDED.value)
        for one in suspended:
            self._move(one, Cause.ENABLED if one.owner is None else Cause.RESUMED, at=at, by=by, text=text)
        return len(suspended)

    # tasks, as a worker sees them

    def claimable_owners(self) -> Sequence[str]:
        return [owner for (owner,) in _OWNERS.rows(self._db)]

    def claim(
        self,
        owner: str,
        *,
        dead: Collection[str],
        now: int,
        limit: int,
        fits: Callable[[Task], bool] = lambda _: True,
    ) -> Sequence[Task]:
        self._bury(dead, now)
        taken: list[Task] = []
        start_at, key = -1, -1
        while len(taken) < limit:
            # Nobody else can take what is looked at here: more is only if something did not fit.
            page = limit if key < 0 else MANY
            due = self._those(_DUE, owner=owner, now=now, limit=page, start_at=start_at, key=key)
            if not due:
                break
            start_at, key = due[-1].start_at, due[-1].key
            free = (one for one in due if self._is_free(one, owner) and fits(one))
            taken += [self._take(one, owner, now) for one in islice(free, limit - len(taken))]
        return taken

    def owned(self, owner: str) -> Sequence[Task]:
        return self._those(_OWNED, owner=owner)

    def set_state(self, key: int, *, owner: str, epoch: int, state: State, at: int, text: str = "") -> bool:
        held = self._held(key, owner, epoch)
        if held is None:
            return False
        cause = lifecycle.REPORTS[state]
        if held.state is not state and lifecycle.allowed(held.state, cause):
            self._move(held, cause, at=at, by=owner, text=text)
        return True

    def release(
        self,
        key: int,
        *,
        owner: str,
        epoch: int,
        state: State,
        at: int,
        revision: int | None = None,
        text: str = "",
    ) -> bool:
        held = self._held(key, owner, epoch)
        if held is None:
            return False
        believed = state is State.ENDED and revision in (None, held.revision)
        if believed and lifecycle.allowed(held.state, Cause.ENDED):
            self._move(held, Cause.ENDED, at=at, by=owner, text=text or "came to its end", owner=None)
        else:
            self._let_go(held, at=at, by=owner, text=text or f"given up by {owner}")
        return True

    def checkpoint(self, owner: str, observed: Iterable[Observed]) -> int:
        held: dict[int, int] = dict(map(tuple, _EPOCHS.rows(self._db, owner=owner)))
        values = [
            {"task_key": one.key, "epoch": one.epoch, "at": one.at, "observed": msgspec.json.encode(one)}
            for one in observed
            if held.get(one.key) == one.epoch
        ]
        if values:
            self._db.execute(_CHECKPOINT, values)
        return len(values)

    def sweep(self, now: int, *, dead: Collection[str]) -> Sequence[Task]:
        settled = {one.key: one for one in self._bury(dead, now)}
        for one in self._those(_DOOMED):
            settled[one.key] = self._let_go(one, at=now, by=_CLOCK, text="")
        for one in self._those(_OVERDUE, now=now):
            settled[one.key] = self._move(one, Cause.ENDED, at=now, by=_CLOCK, text="its end time has passed")
        return list(settled.values())

    def prune(self, now: int) -> int:
        old = select(event.c.id).where(event.c.at < now - KEEP).limit(5000)
        gone = self._db.execute(delete(event).where(event.c.id.in_(old))).rowcount
        crowded = select(event.c.task_key).group_by(event.c.task_key).having(func.count() > KEEP_EVENTS).limit(10)
        for key in list(self._db.execute(crowded).scalars()):
            newest_first = select(event.c.id).where(event.c.task_key == key).order_by(event.c.id.desc())
            surplus = newest_first.offset(KEEP_EVENTS).limit(5000)
            gone += self._db.execute(delete(event).where(event.c.id.in_(surplus))).rowcount
        ended = select(task.c.key).where(schema.ENDED, task.c.state_at < now - KEEP).limit(10)
        return gone + self._db.execute(delete(task).where(task.c.key.in_(ended))).rowcount

    # history

    def add_event(self, task_key: int, *, at: int, name: str, text: str, by: str) -> None:
        values = {"event_at": at, "event_name": name, "event_text": text, "event_by": by}
        self._db.execute(_ADD_EVENT, {"event_task": task_key, **values})

    def events(self, task_key: int, *, after: int = 0, limit: int = 100) -> Sequence[Event]:
        query = select(event).where(event.c.task_key == task_key, event.c.id > after)
        return self._events(query.order_by(event.c.id).limit(limit))

    def last_events(self, task_key: int, limit: int) -> Sequence[Event]:
        query = select(event).where(event.c.task_key == task_key).order_by(event.c.id.desc()).limit(limit)
        return self._events(query)[::-1]

    # how it is done

    def _bury(self, dead: Collection[str], now: int) -> list[Task]:
        """Let go of all that dead owners hold."""
        if not dead:
            return []
        held = self._all(keep(TASKS.where(schema.OWNED, task.c.owner.in_(dead)), task, skips=True).order_by(task.c.key))
        return [self._let_go(one, at=now, by=_CLOCK, text=f"its worker {one.owner} has died") for one in held]

    def _is_free(self, one: Task, owner: str) -> bool:
        """Whether no other worker runs one of its affinity, or is about to."""
        if not one.affinity:
            return True
        return self._lock(f"affinity {one.affinity}") and not _ELSEWHERE.rows(
            self._db, affinity=one.affinity, owner=owner
        )

    def _lock(self, name: str) -> bool:
        """Hold a name until this transaction ends, unless another one does. SQLite lets one write at a time."""
        if self._db.dialect.name == "sqlite":
            return True
        return bool(self._db.execute(select(func.pg_try_advisory_xact_lock(zlib.crc32(name.encode())))).scalar_one())

    def _take(self, one: Task, owner: str, now: int) -> Task:
        epoch = one.epoch + 1
        text = f"taken by {owner}, epoch {epoch}"
        return self._move(one, Cause.CLAIMED, at=now, by=owner, text=text, owner=owner, epoch=epoch)

    def _held(self, key: int, owner: str, epoch: int) -> Task | None:
        """The row, if this owner still holds it in this epoch."""
        return next(iter(self._those(_HELD, key=key, owner=owner, epoch=epoch)), None)

    def _let_go(self, held: Task, *, at: int, by: str, text: str) -> Task:
        """Nobody runs it any more; a row that is to be deleted goes."""
        if held.desired is Desired.DELETE:
            self.remove_task(held.key)
            return msgspec.structs.replace(held, owner=None)
        return self._move(held, Cause.RELEASED, at=at, by=by, text=text, owner=None)

    def _move(self, before: Task, cause: Cause, *, at: int, by: str, text: str, **values: Any) -> Task:
        """Change the state and what goes with it, and write the event."""
        state = lifecycle.after(before.state, cause)
        moved = values if state is before.state else values | {"state": state, "state_at": at}
        if moved:
            self._db.execute(update(task).where(task.c.key == before.key).values(moved))
        self.add_event(before.key, at=at, name=lifecycle.EVENTS[cause], text=text, by=by)
        return msgspec.structs.replace(before, **moved)

    def _task_of_key(self, key: int) -> Task:
        [found] = self._those(_ROW, key=key)
        return found

    def _of(self, account_id: int, family: str, *conditions: ColumnElement[bool]) -> list[Task]:
        query = TASKS.where(schema.VISIBLE, OF_ACCOUNT, OF_FAMILY, *conditions).order_by(task.c.key)
        return self._all(keep(query, task), account_id=account_id, family=family)

    def _events(self, query: "Select[Any]") -> list[Event]:
        return [Event(**row) for row in self._db.execute(query).mappings()]
