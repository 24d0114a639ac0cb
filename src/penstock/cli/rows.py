"""Tasks, their parts and their events, for people (words) and for scripts (JSON); secrets masked."""

# ruff: noqa: PLC0415 - heavy parts are loaded when they are needed, so that every command is quick

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

    from penstock.tasks.model import Event, Observed
    from penstock.tasks.service import PullView

#: What a worker that died may have left in the store as it last was.
_RUNNING = ("starting", "active", "inactive")


def event_row(event: "Event") -> "dict[str, str]":
    """An event for people and scripts."""
    return {"at": iso(event.at), "name": event.name, "text": event.text, "by": event.by}


def row(view: "PullView", now: int) -> "dict[str, object]":
    """A task for people and scripts: times in ISO 8601 or in the unit that the name says; secrets masked."""
    from penstock.log import mask_url
    from penstock.tasks.families import pull

    task, run, observed, plan = view.task, view.run, view.run.observed, pull.plan(view.task)
    state = task.state.value
    if state in _RUNNING:
        state = "active" if run.active else "starting" if state == "starting" else "inactive"
    sinks = observed.sinks if observed else ()
    running = _running(view)
    return {
        "id": task.id,
        "family": task.family,
        "state": state,
        "media_ms": max((sink.media_ms for sink in sinks), default=0),
        "bitrate": max((sink.bitrate for sink in sinks), default=0) if run.active else 0,
        "uptime_s": max(0, now - running.started_at) // 1000 if running else 0,
        "source": mask_url(run.file_url or plan.sources[0].url, hint=True),
        "files": file_row(view),
        "on_air": running.on_air if running else "",
        "on_air_since": iso(running.on_air_since) if running and running.on_air_since is not None else None,
        "lead_ms": running.lead_ms if running else None,
        "switches": dict(running.switches) if running else {},
        "destination": mask_url(plan.sinks[0].url, hint=True),
        "sources": node_rows(view, "sources"),
        "sinks": node_rows(view, "sinks"),
        "children": [f"{node.id}: {node.child}" for node in (*plan.sources, *plan.sinks) if node.child],
        "cost": plan.cost,
        "error": run.error,
        "start_at": iso(task.start_at),
        "end_at": iso(task.end_at) if task.end_at is not None else None,
        "owner": task.owner,
        "epoch": task.epoch,
    }


def _running(view: "PullView") -> "Observed | None":
    """What was observed of the task, if it is one that runs."""
    return view.run.observed if view.task.state.value in _RUNNING else None


def file_row(view: "PullView") -> "dict[str, object] | None":
    """Where a task is in its files, or was; None: it has a live source, or has played none."""
    playback, spec = view.run.playback, view.spec
    if playback is None:
        return None
    return {
        "file": playback.item + 1,
        "files": len(spec.source_urls),
        "url": playback.url,
        "offset_ms": playback.offset_ms,
        "duration_ms": playback.duration_ms,
        "next_url": playback.next_url,
        "looped": playback.rounds,
        "rounds": max(1, spec.vod_loop_times) if spec.vod_loop_times >= 0 else None,
    }


def node_rows(view: "PullView", side: Literal["sources", "sinks"]) -> "list[dict[str, object]]":
    """Each of a task's sources or sinks, as it was last seen in this run; ``idle`` if it does not run."""
    from penstock.log import mask_url
    from penstock.tasks.families import pull
    from penstock.tasks.model import NodeStatus

    running = _running(view)
    seen = {node.id: node for node in getattr(running, side, ())}
    rows: list[dict[str, object]] = []
    for planned in getattr(pull.plan(view.task), side):
        url = mask_url(planned.url, hint=True)
        node = seen.get(planned.id) or NodeStatus(id=planned.id, url=url, state="idle", since=view.task.state_at)
        rows.append(
            {
                "id": node.id,
                "state": node.state,
                "since": iso(node.since),
                "media_ms": node.media_ms,
                "bitrate": node.bitrate,
                "bytes": node.bytes,
                "video": node.video,
                "audio": node.audio,
                "keyframes": node.keyframes,
                "dropped": node.dropped,
                "attempts": node.attempts,
                "url": url,
                "error": node.error,
            }
        )
    return rows


def cell(task: "Mapping[str, object]", column: str) -> str:
    """One value of a `row`, or of a source or sink in it, in a person's words."""
    if column == "media time":
        return span(int(str(task["media_ms"])) // 1000)
    if column == "bitrate":
        return f"{int(str(task['bitrate'])) / 1e6:.2f} Mbit/s" if task["bitrate"] else "-"
    if column == "uptime":
        return span(int(str(task["uptime_s"])))
    if column == "on air":
        return on_air(task)
    if column == "file":
        return place(task["files"]) if isinstance(task["files"], dict) else ""
    if column == "children":
        return "; ".join(map(str, task["children"])) if isinstance(task["children"], list) else ""
    return "" if task[column] is None else str(task[column])


def on_air(task: "Mapping[str, object]") -> str:
    """Which source is on air, since when, how far ahead of the wall, and why others came before: ``backup since …``."""
    if not task["on_air"]:
        return ""
    words = [f"{task['on_air']} since {task['on_air_since']}"]
    if task["lead_ms"] is not None:
        words.append(f"lead {int(str(task['lead_ms'])) / 1000:+.2f} s")
    if isinstance(switches := task["switches"], dict) and switches:
        words.append("switched: " + ", ".join(f"{cause} {number}" for cause, number in switches.items()))
    return "; ".join(words)


def place(files: "Mapping[str, Any]") -> str:
    """A `file_row` in a person's words: ``2 of 3, 0:12 of 1:00, round 3 of 5: http://h/b.mp4``."""
    if is_played(files):
        return rounds(files)
    return f"{files['file']} of {files['files']}, {offset(files)}, {rounds(files)}: {files['url']}"


def is_played(files: "Mapping[str, Any]") -> bool:
    """Whether the last round is over."""
    return files["rounds"] is not None and bool(files["looped"] >= files["rounds"])


def offset(files: "Mapping[str, Any]") -> str:
    """``0:12 of 1:00``; ``0:12``: of a file whose length nobody knows."""
    duration = files["duration_ms"]
    return length(files["offset_ms"] // 1000) + (f" of {length(duration // 1000)}" if duration is not None else "")


def rounds(files: "Mapping[str, Any]") -> str:
    """``round 3 of 5``; ``round 3``: of files that are played for ever; ``5 rounds played``."""
    last = files["rounds"]
    if is_played(files):
        return f"{files['looped']} round{'' if files['looped'] == 1 else 's'} played"
    return f"round {files['looped'] + 1}" + (f" of {last}" if last is not None else "")


def span(seconds: int) -> str:
    """A length of time, or a hyphen for none."""
    return length(seconds) if seconds > 0 else "-"


def length(seconds: int) -> str:
    """A length of time: ``0:05``, ``1:02:03``, ``3d 4:05:06``."""
    minutes, second = divmod(seconds, 60)
    hours, minute = divmod(minutes, 60)
    days, hour = divmod(hours, 24)
    if not hours:
        return f"{minute}:{second:02}"
    return f"{f'{days}d ' if days else ''}{hour}:{minute:02}:{second:02}"


def iso(at: int) -> str:
    return datetime.fromtimestamp(at / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
