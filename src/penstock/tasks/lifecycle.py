"""The life of a task: one table of states and causes. Nothing else decides a state.

::

    created                     ┌──────────────── a worker has it ────────────────┐
       │                        │                                                 │
       ▼   ───── claimed ─────► │  STARTING ──┬── media flows ──► ACTIVE ◄──┐     │
    WAITING                     │     ▲       │                     │ media │media│
     │  ▲  ◄──── released ───── │     │       │                     ▼ lost  │flows│
     │  │                       │     │       └── media lost ──► INACTIVE ──┘     │
     │  │                       │     └── restarted ── from ACTIVE or INACTIVE    │
     │  │                       └─────────────────────────────────────────────────┘
     │ enabled                     │ paused   ▲
    paused                         │          │ resumed, to STARTING
     ▼  │                          ▼          │
    PAUSED ───────────────────────────────────┘

    all of these but PAUSED ─── suspended ───► SUSPENDED ─── enabled, resumed: as from PAUSED
    any but DELETED ─── ended ───► ENDED ─── renewed ───► WAITING
    any ─── deleted ───► DELETED ─── released ───► no row

WAITING and ENDED have no owner. STARTING, ACTIVE and INACTIVE have one, which may be dead. PAUSED, SUSPENDED
and DELETED have one until it has let go.
"""

from collections.abc import Mapping
from enum import StrEnum

from penstock.errors import Conflict
from penstock.tasks.model import State


class Cause(StrEnum):
    """Why a state changes."""

    #: A worker took the task.
    CLAIMED = "claimed"
    #: The sink's socket took bytes and media time advanced.
    MEDIA_FLOWS = "media flows"
    #: Neither has happened for 3 s.
    MEDIA_LOST = "media lost"
    #: Its worker begins the run anew.
    RESTARTED = "restarted"
    PAUSED = "paused"
    #: Its account's service is not active any more.
    SUSPENDED = "suspended"
    #: Enabled, or its service is active again, and no worker has it.
    ENABLED = "enabled"
    #: The same before its worker had let go of the task.
    RESUMED = "resumed"
    #: Its worker gave it up, or died.
    RELEASED = "released"
    #: Its end time passed, or it has delivered all there was.
    ENDED = "ended"
    #: Its end time moved into the future.
    RENEWED = "renewed"
    DELETED = "deleted"


#: Where a new task begins.
INITIAL = State.WAITING

_AT_REST: Mapping[Cause, State] = {
    Cause.PAUSED: State.PAUSED,
    Cause.ENDED: State.ENDED,
    Cause.DELETED: State.DELETED,
}

_RUNNING: Mapping[Cause, State] = {
    **_AT_REST,
    Cause.MEDIA_FLOWS: State.ACTIVE,
    Cause.MEDIA_LOST: State.INACTIVE,
    Cause.RESTARTED: State.STARTING,
    Cause.RELEASED: State.WAITING,
    Cause.SUSPENDED: State.SUSPENDED,
}

#: A cause that changes nothing is not listed, unless it may come again: pause a paused task.
TRANSITIONS: Mapping[State, Mapping[Cause, State]] = {
    State.WAITING: {
        **_AT_REST,
        Cause.ENABLED: State.WAITING,
        Cause.CLAIMED: State.STARTING,
        Cause.SUSPENDED: State.SUSPENDED,
    },
    State.STARTING: {**_RUNNING, Cause.RESUMED: State.STARTING},
    State.ACTIVE: {**_RUNNING, Cause.RESUMED: State.ACTIVE},
    State.INACTIVE: {**_RUNNING, Cause.RESUMED: State.INACTIVE},
    State.PAUSED: {
        **_AT_REST,
        Cause.ENABLED: State.WAITING,
        Cause.RESUMED: State.STARTING,
        Cause.RELEASED: State.PAUSED,
    },
    State.SUSPENDED: {
        **_AT_REST,
        Cause.ENABLED: State.WAITING,
        Cause.RESUMED: State.STARTING,
        Cause.RELEASED: State.SUSPENDED,
    },
    State.ENDED: {Cause.RENEWED: State.WAITING, Cause.DELETED: State.DELETED},
    State.DELETED: {Cause.DELETED: State.DELETED, Cause.RELEASED: State.DELETED},
}

#: What a worker's report of a state says has happened.
REPORTS: Mapping[State, Cause] = {
    State.STARTING: Cause.RESTARTED,
    State.ACTIVE: Cause.MEDIA_FLOWS,
    State.INACTIVE: Cause.MEDIA_LOST,
}

#: Names of events that come with no change of state.
CREATED, MODIFIED = "task.created", "task.modified"

#: The name of the event that each cause leaves in a task's history.
EVENTS: Mapping[Cause, str] = {
    Cause.CLAIMED: "task.claimed",
    Cause.MEDIA_FLOWS: "task.active",
    Cause.MEDIA_LOST: "task.inactive",
    Cause.RESTARTED: "task.restarted",
    Cause.PAUSED: "task.paused",
    Cause.SUSPENDED: "task.suspended",
    Cause.ENABLED: "task.enabled",
    Cause.RESUMED: "task.enabled",
    Cause.RELEASED: "task.released",
    Cause.ENDED: "task.ended",
    Cause.RENEWED: "task.renewed",
    Cause.DELETED: "task.deleted",
}


def after(state: State, cause: Cause) -> State:
    """The state that `cause` leads to. Raise `Conflict` where the table knows no way."""
    try:
        return TRANSITIONS[state][cause]
    except KeyError:
        raise Conflict(f"A task that is {state.value} cannot be {cause.value}.") from None


def allowed(state: State, cause: Cause) -> bool:
    """Whether the table knows a way."""
    return cause in TRANSITIONS[state]
