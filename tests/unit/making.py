"""Small builders with defaults for the tests of the core and of the store."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from penstock.store.sql import SqlStore, open_store
from penstock.store.tx import SqlTx
from penstock.tasks.families import pull
from penstock.tasks.families.pull import PullSpec
from penstock.tasks.model import Desired, NodeStatus, Observed, State, Task

T = TypeVar("T")

#: A moment, in Unix ms: 2026-01-31T10:00:00Z.
NOW = 1_769_853_600_000
HOUR = 3_600_000
DAY = 24 * HOUR
#: What names a destination by its parts, and a live backup, in a spec.
PARTS = {"to_url": "", "domain_name": "push.example", "app_name": "live", "stream_name": "a"}
LIVE_BACKUP = {"backup_source_type": "PullLivePushLive", "backup_source_url": "rtmp://b.example/live/b?token=s3cret"}


def open_new(data: Path) -> SqlStore:
    """A store of its own that runs in the caller's thread."""
    return open_store("", data, None, migrate=True, inline=True)


def make_spec(**fields: Any) -> PullSpec:
    """A spec that may be created at NOW, but for what is given."""
    values: dict[str, Any] = {
        "source_type": "PullLivePushLive",
        "source_urls": ("rtmp://source.example/live/a?token=s3cret",),
        "to_url": "rtmp://sink.example/live/key",
        "start_time": "2026-01-31T10:00:00Z",
        "end_time": "2026-01-31T12:00:00Z",
    }
    return PullSpec(**values | fields)


def make_task(**fields: Any) -> Task:
    """A row that a worker runs, but for what is given."""
    values: dict[str, Any] = {
        "key": 1,
        "account_id": 1,
        "family": "pull",
        "id": "10001",
        "spec": pull.encode(make_spec()),
        "desired": Desired.ENABLE,
        "state": State.ACTIVE,
        "state_at": NOW,
        "revision": 1,
        "start_at": NOW - HOUR,
        "end_at": NOW + HOUR,
        "region": "",
        "created_at": NOW - HOUR,
        "created_by": "",
        "updated_at": NOW - HOUR,
        "updated_by": "",
        "owner": "w-1",
        "epoch": 3,
        "observed": None,
    }
    return Task(**values | fields)


def add_account(store: SqlStore, name: str = "demo", task_limit: int = 1000) -> int:
    """A new account's id."""
    return store.write_now(lambda tx: tx.add_account(name, task_limit=task_limit)).id


def add_task(store: SqlStore, account_id: int, id: str, **fields: Any) -> Task:
    """A row as Create leaves it at NOW, due at once, but for what is given."""
    values: dict[str, Any] = {
        "family": pull.FAMILY,
        "spec": pull.encode(make_spec()),
        "state": State.WAITING,
        "start_at": NOW,
        "end_at": NOW + DAY,
        "region": "ap-guangzhou",
        "at": NOW,
        "by": "operator",
    }
    return store.write_now(lambda tx: tx.insert_task(account_id=account_id, id=id, **values | fields))


def read_task(store: SqlStore, key: int) -> Task:
    """The row as it is now; it must be there."""
    task = store.read_now(lambda tx: tx.task_by_key(key))
    assert task is not None
    return task


def event_names(store: SqlStore, key: int) -> list[str]:
    """The names of a task's events, oldest first."""
    return [event.name for event in store.read_now(lambda tx: tx.events(key))]


def observe(key: int, epoch: int, **fields: Any) -> Observed:
    """A task that has been delivering for a minute, measured at NOW, but for what is given."""
    values: dict[str, Any] = {
        "state": State.ACTIVE,
        "at": NOW,
        "started_at": NOW - 60_000,
        "since": NOW - 59_000,
        "sources": (node("source"),),
        "sinks": (node("sink"),),
        "on_air": "source",
    }
    return Observed(key=key, epoch=epoch, **values | fields)


def node(id: str, **fields: Any) -> NodeStatus:
    """A source or sink with 59.5 s of media."""
    values: dict[str, Any] = {"url": "rtmp://h/live/***", "state": "flowing", "since": NOW, "media_ms": 59_500}
    return NodeStatus(id=id, **values | fields)


def claim(store: SqlStore, owner: str, *, now: int = NOW, limit: int = 100, dead: Any = ()) -> list[Task]:
    """What this worker gets."""
    work: Callable[[SqlTx], list[Task]] = lambda tx: list(tx.claim(owner, dead=dead, now=now, limit=limit))  # noqa: E731
    return store.write_now(work)
