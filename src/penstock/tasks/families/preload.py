"""The family ``preload``: keeps one stream warm on every edge node of an area, from its start time to its end time.

All here is pure: what is wrong with a play URL (`check`), what a worker should run (`plan`) and what is truly going
on (`warmth`). The task's deadline is its end: what is not warm by then has failed.
"""

import re
from collections.abc import Sequence
from enum import StrEnum
from typing import Literal
from urllib.parse import SplitResult

import msgspec

from penstock.errors import InvalidSourceUrl, InvalidTaskTime
from penstock.media.plan import EndRules, Hold, Plan, cost_of
from penstock.tasks import observation, times
from penstock.tasks.addresses import check_stream, split_host, split_url
from penstock.tasks.model import Area, Edge, HoldStatus, Observed, State, Struct, Task

FAMILY = "preload"

#: Ports where an address names none, by the scheme of the play URL.
PORTS = {"rtmp": 1935, "http": 80, "https": 443}
#: Longest time from start to end, and how long a task runs if its end is not given, in ms.
MAX_SPAN, DEFAULT_SPAN = 6 * times.HOUR, times.HOUR
#: How far in the past a start may lie, in ms: clocks differ, and calls take time.
LATENESS = times.MINUTE

#: What was last seen so long before the end, in ms, is believed to have been true at the end.
LAST_WORD = 10 * times.SECOND
#: The state of a hold that is truly warm.
WARM = "flowing"

Protocol = Literal["rtmp", "flv", "hls"]
_PLACE = re.compile(r"\{(path|app|stream)\}")


class PreloadSpec(Struct):
    """What is kept of a task beside its row."""

    #: The caller's, with its secrets.
    play_url: str
    area: Area


class Phase(StrEnum):
    """Where a preload is, by the vendor's words."""

    #: Its start time has not come.
    PENDING = "pending"
    #: Not every edge is warm.
    PRELOADING = "preloading"
    #: Every edge is warm; after the end: every edge was warm until then.
    COMPLETE = "complete"
    #: The end has come, and some edge was not warm.
    FAILED = "failed"


class Warmth(Struct):
    """What can truthfully be said about a preload."""

    phase: Phase
    #: Whole percent of the edges that are warm now; after the end: that were warm then.
    process: int
    #: In the order of the plan.
    holds: tuple[HoldStatus, ...]
    #: Why it is not complete, secrets masked; empty: it is, or it is not due.
    error: str


_DECODER = msgspec.json.Decoder(PreloadSpec)


def encode(spec: PreloadSpec) -> bytes:
    """The spec as it is stored."""
    return msgspec.json.encode(spec)


def decode(spec: bytes) -> PreloadSpec:
    """The stored spec."""
    return _DECODER.decode(spec)


# What may be asked for


def check(play_url: str, domain: str, edges: Sequence[Edge], *, hls: bool) -> None:
    """Raise `InvalidSourceUrl` for what cannot be preloaded. `edges` serve the area; `hls`: playlists may be."""
    try:
        parts = _split(play_url)
        protocol = protocol_of(parts)
        if (parts.hostname or "").removesuffix(".") != domain:
            raise ValueError("its host is not DomainName")
        if protocol == "hls" and not hls:
            raise ValueError("HLS is switched off (preload.hls)")
        if not any(address_of(edge, parts.scheme) for edge in edges):
            raise ValueError(f"no edge node of the area serves {parts.scheme.upper()}")
    except ValueError as error:
        raise InvalidSourceUrl(f"PlayUrl: {error}.") from None


def protocol_of(parts: SplitResult) -> Protocol:
    """How a play URL is watched. Raise `ValueError`."""
    if parts.scheme == "rtmp":
        check_stream(parts)
        return "rtmp"
    if parts.path.endswith(".flv"):
        return "flv"
    if parts.path.endswith(".m3u8"):
        return "hls"
    raise ValueError("its path ends neither in .flv nor in .m3u8")


def affinity(play_url: str) -> str:
    """What tasks have in common that one viewer on each edge can serve: the stream, whatever its token."""
    parts = _split(play_url)
    return f"preload {parts.hostname}{parts.path}"


def span(start: str, end: str, *, now: int) -> tuple[int, int]:
    """Start and end in Unix ms; empty: not given. Raise `InvalidTaskTime`."""
    start_at = _time("PreloadedStartTime", start) if start else now
    end_at = _time("PreloadedEndTime", end) if end else start_at + DEFAULT_SPAN
    if start_at < now - LATENESS:
        raise InvalidTaskTime("PreloadedStartTime must not lie in the past.")
    if end_at <= max(start_at, now):
        raise InvalidTaskTime("PreloadedEndTime must be later than PreloadedStartTime and the current time.")
    if end_at - start_at > MAX_SPAN:
        raise InvalidTaskTime(f"PreloadedEndTime must be within {MAX_SPAN // times.HOUR} hours of PreloadedStartTime.")
    return start_at, end_at


def _time(field: str, text: str) -> int:
    try:
        return times.parse_utc(text)
    except ValueError as error:
        raise InvalidTaskTime(f"{field}: {error}.") from None


# What is run


def plan(task: Task, edges: Sequence[Edge]) -> Plan:
    """What a worker should run for this task; `edges` are those that serve its area now."""
    spec = decode(task.spec)
    parts = _split(spec.play_url)
    protocol = protocol_of(parts)
    holds = (_hold(edge, spec.play_url, parts, protocol) for edge in edges)
    return Plan(holds=tuple(hold for hold in holds if hold), end=EndRules(end_at=task.end_at))


def cost(spec: PreloadSpec, edges: Sequence[Edge]) -> int:
    """That of the plan, in the units of a worker's capacity."""
    scheme = _split(spec.play_url).scheme
    return cost_of(sum(bool(address_of(edge, scheme)) for edge in edges))


def hold(edge: Edge, play_url: str) -> Hold:
    """What a viewer of this URL watches on an edge. Raise `InvalidSourceUrl` if it serves no such stream."""
    try:
        parts = _split(play_url)
        found = _hold(edge, play_url, parts, protocol_of(parts))
        if found is None:
            raise ValueError(f"the edge does not serve {parts.scheme.upper()}")
    except ValueError as error:
        raise InvalidSourceUrl(f"PlayUrl: {error}.") from None
    return found


def address_of(edge: Edge, scheme: str) -> str:
    """``HOST[:PORT]`` where an edge serves play URLs of a scheme; empty: it does not."""
    address: str = getattr(edge, scheme)  # they are named alike
    return address


def _hold(edge: Edge, url: str, parts: SplitResult, protocol: Protocol) -> Hold | None:
    if not (address := address_of(edge, parts.scheme)):
        return None
    host, port = split_host(address)
    return Hold(
        id=f"{edge.name}/{protocol}",
        edge=edge.name,
        area=edge.area,
        url=url,
        protocol=protocol,
        tls=parts.scheme == "https",
        host=host,
        port=port or PORTS[parts.scheme],
        vhost=edge.host or parts.netloc.lower().removesuffix(f":{PORTS[parts.scheme]}"),
        path=_path(edge.path, parts.path),
        query="&".join(filter(None, [parts.query, edge.query])),
        concurrency=edge.concurrency,
    )


def _path(template: str, path: str) -> str:
    """What a viewer asks for on an edge."""
    app, _, name = path.removeprefix("/").rpartition("/")
    places = {"path": path, "app": app, "stream": name.removesuffix(".flv").removesuffix(".m3u8")}
    return _PLACE.sub(lambda found: places[found[1]], template)


def _split(url: str) -> SplitResult:
    """Raise `ValueError`."""
    parts = split_url(url, {"rtmp", "http", "https"})
    if parts.username is not None:
        raise ValueError("it holds a user name")
    return parts


# What is going on


def warmth(task: Task, observed: Observed | None, now: int, *, waiting: str = "") -> Warmth:
    """What is true of a task at `now`, from what its worker last reported.

    An observation of an earlier run says nothing; one that is stale, or of a task that nobody owns, says nothing about
    what is warm now. `waiting` is why nobody takes a task that is due, if that is known.
    """
    observed = observation.of_this_run(task, observed)
    holds = observed.holds if observed else ()
    ended = task.state is State.ENDED or (task.end_at is not None and now >= task.end_at)
    if ended:
        believed = observed is not None and observed.at >= (task.end_at or now) - LAST_WORD
    else:
        believed = observation.is_fresh(task, observed, now)
    warm = sum(hold.state == WARM for hold in holds) if believed else 0
    complete = bool(holds) and warm == len(holds)
    return Warmth(
        phase=_phase(complete=complete, ended=ended, due=now >= task.start_at),
        process=100 * warm // len(holds) if holds else 0,
        holds=holds,
        error="" if complete else observation.trouble(task, observed, now, waiting) or _error(observed),
    )


def _phase(*, complete: bool, ended: bool, due: bool) -> Phase:
    if complete:
        return Phase.COMPLETE
    if ended:
        return Phase.FAILED
    return Phase.PRELOADING if due else Phase.PENDING


def _error(observed: Observed | None) -> str:
    if observed and not observed.holds:
        return "no edge node of its area serves this stream"
    return "; ".join(f"{hold.id}: {hold.error}" for hold in observed.holds if hold.error) if observed else ""
