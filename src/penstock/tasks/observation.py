"""What an observation is worth: of which run it is, how fresh, and what is wrong. Pure, for every family."""

from penstock.tasks import times
from penstock.tasks.model import Observed, State, Task

#: An observation proves life for this long, in ms.
FRESH = 3000
#: A task that waits longer than this for a worker, in ms, says so.
PATIENCE = 3000


def newest(first: Observed | None, second: Observed | None) -> Observed | None:
    """The observation of the later run, and within one run the later one."""
    if first is None or second is None:
        return first or second
    return max(first, second, key=lambda one: (one.epoch, one.at))


def of_this_run(task: Task, observed: Observed | None) -> Observed | None:
    """The observation, unless it is of an earlier run."""
    return observed if observed is not None and observed.epoch == task.epoch else None


def is_fresh(task: Task, observed: Observed | None, now: int) -> bool:
    """Whether an observation of this run says what is true now: a row that nobody owns delivers nothing."""
    return observed is not None and task.owner is not None and now - observed.at <= FRESH


def trouble(task: Task, observed: Observed | None, now: int, waiting: str) -> str:
    """What is wrong with a run that should deliver: also a source that is gone while its sink is kept alive.

    `observed` is of this run. `waiting` is why nobody takes a task that is due, if that is known.
    """
    if task.state in (State.PAUSED, State.ENDED, State.DELETED):
        return ""
    if task.state is State.SUSPENDED:
        return f"{times.text(task.state_at)} task: its account's service is not active"
    if now < task.start_at or (task.end_at is not None and now >= task.end_at):
        return ""
    if task.owner is None:
        since = max(task.state_at, task.start_at)
        reason = waiting or "waiting for a worker"
        return f"{times.text(since)} task: {reason}" if now - since > PATIENCE else ""
    if observed is None:
        late = now - task.state_at > PATIENCE
        return f"{times.text(task.state_at)} task: no report from its worker yet" if late else ""
    if now - observed.at > FRESH:
        return f"{times.text(observed.at)} task: no report from its worker since then"
    return observed.error
