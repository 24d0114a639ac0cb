"""The family ``pull``: takes a live source and pushes it to RTMP, from its start time to its end time.

All here is pure: what a caller asks for (`PullSpec`, `PullChange`), what is wrong with it (`check`, `span`),
what a worker should run (`plan`) and what is truly going on (`run_status`).
"""

from collections.abc import Iterable, Mapping
from typing import Any, Literal
from urllib.parse import SplitResult

import msgspec

from penstock.errors import (
    InvalidBackupToUrl,
    InvalidCallbackUrl,
    InvalidField,
    InvalidSourceUrl,
    InvalidTaskTime,
    InvalidToUrl,
    Unsupported,
)
from penstock.media.plan import EndRules, Plan, Sink, Source
from penstock.tasks import observation, times
from penstock.tasks.addresses import MAX_URL, check_stream, split_host, split_url
from penstock.tasks.model import Observed, State, Struct, Task

FAMILY = "pull"
#: Where the family's own numbers begin.
FIRST_NUMBER = 10001

SOURCE, SINK, BACKUP_SINK = "source", "sink", "sink.backup"

SOURCE_TYPES = frozenset({"PullLivePushLive", "PullVodPushLive", "PullPicPushLive"})
CALLBACK_EVENTS = frozenset(
    {"TaskStart", "TaskExit", "VodSourceFileStart", "VodSourceFileFinish", "ResetTaskConfig", "TaskAlarm"}
)
REFRESH_TYPES = frozenset({"", "ImmediateNewSource", "ContinueBreakPoint"})

#: The vendor documents all of these; the next two say which of them this build speaks.
SOURCE_SCHEMES = frozenset({"http", "https", "rtmp", "rtmps", "rtsp", "srt"})
SINK_SCHEMES = frozenset({"rtmp", "rtmps", "rtsp", "rtp", "srt"})
SERVED_SOURCES = frozenset({"http", "https", "rtmp", "rtmps", "rtsp"})
SERVED_SINKS = frozenset({"rtmp", "rtmps"})
_PORTS = {"rtmp": 1935, "rtmps": 443}

#: Longest comment, in bytes of UTF-8.
MAX_COMMENT = 512


class Watermark(Struct):
    """A picture over the video; positions and sizes in percent of the video's, 0 of a size: natural."""

    picture_url: str
    x_position: int = 0
    y_position: int = 0
    width: int = 0
    height: int = 0
    #: 0 top left, 1 top right, 2 bottom right, 3 bottom left.
    location: int = 0


class PullSpec(Struct, kw_only=True):
    """What Create carries and Describe gives back, by the vendor's names. Empty or None: not given."""

    source_type: str
    source_urls: tuple[str, ...]
    #: These three name the destination, or else `to_url` does.
    domain_name: str = ""
    app_name: str = ""
    stream_name: str = ""
    #: Query parameters that are sent with the destination's stream name.
    push_args: str = ""
    to_url: str = ""
    #: As the caller wrote them.
    start_time: str
    end_time: str
    #: Kept and given back; nothing is called yet.
    callback_url: str = ""
    callback_events: tuple[str, ...] = ()
    #: These three mean something for files alone.
    vod_loop_times: int = -1
    vod_refresh_type: str = ""
    vod_local_mode: int = 0
    file_index: int | None = None
    offset_time: int | None = None
    #: Kept; there is no region to ignore.
    extra_cmd: str = ""
    comment: str = ""
    backup_source_type: str = ""
    backup_source_url: str = ""
    #: A second destination, which gets the same; empty: none.
    backup_to_url: str = ""
    watermark_list: tuple[Watermark, ...] = ()
    record_template_id: str = ""
    transcode_template_name: str = ""
    #: How often the run was begun anew: the plan's generation.
    restarts: int = 0


class PullChange(Struct):
    """What Modify carries. None: leave as it is; empty: clear."""

    status: Literal["enable", "pause"] | None = None
    source_urls: tuple[str, ...] | None = None
    to_url: str | None = None
    start_time: str | None = None
    end_time: str | None = None
    comment: str | None = None
    callback_url: str | None = None
    callback_events: tuple[str, ...] | None = None
    vod_loop_times: int | None = None
    vod_refresh_type: str | None = None
    vod_local_mode: int | None = None
    file_index: int | None = None
    offset_time: int | None = None
    backup_source_type: str | None = None
    backup_source_url: str | None = None
    backup_to_url: str | None = None
    backup_vod_url: str | None = None
    watermark_list: tuple[Watermark, ...] | None = None

    def given(self) -> Mapping[str, Any]:
        """The fields that are to change, by name."""
        values = msgspec.structs.asdict(self)
        return {name: value for name, value in values.items() if value is not None}


class RunStatus(Struct):
    """What can truthfully be said about a task's run."""

    #: A fresh observation says that media flows.
    active: bool
    #: The caller's own URL of the source on air, with its secrets; empty: none, or not known now.
    file_url: str
    #: Whole seconds of media delivered in this run, to the destination that got most.
    offset_s: int
    #: When the last observation of this run was made; None: never.
    report_at: int | None
    #: A live source does not loop.
    looped: int
    #: What is wrong, since when and where, secrets masked; empty when healthy or not meant to run.
    error: str
    #: What this was concluded from; None: nothing was observed of this run.
    observed: Observed | None


_DECODER = msgspec.json.Decoder(PullSpec)


def encode(spec: PullSpec) -> bytes:
    """The spec as it is stored."""
    return msgspec.json.encode(spec)


def decode(spec: bytes) -> PullSpec:
    """The stored spec."""
    return _DECODER.decode(spec)


def apply(spec: PullSpec, change: PullChange) -> PullSpec:
    """The spec after a change.

    A ToUrl is a whole destination: it replaces DomainName, AppName, StreamName and PushArgs. An empty one
    leaves these as they are.
    """
    if change.backup_vod_url:
        raise Unsupported("BackupVodUrl (a file as slate) is not served yet.")
    known = set(PullSpec.__struct_fields__)
    values = {name: value for name, value in change.given().items() if name in known}
    if change.to_url:
        values |= {"domain_name": "", "app_name": "", "stream_name": "", "push_args": ""}
    return msgspec.structs.replace(spec, **values)


def restarted(spec: PullSpec) -> PullSpec:
    """The spec of a run that begins anew."""
    return msgspec.structs.replace(spec, restarts=spec.restarts + 1)


def plan(task: Task) -> Plan:
    """What a worker should run for this task."""
    spec = decode(task.spec)
    sinks = [Sink(id=SINK, url=destination(spec))]
    if spec.backup_to_url:
        sinks.append(Sink(id=BACKUP_SINK, url=spec.backup_to_url))
    return Plan(
        sources=(Source(id=SOURCE, url=spec.source_urls[0]),),
        sinks=tuple(sinks),
        end=EndRules(end_at=task.end_at),
        generation=spec.restarts,
    )


def destination(spec: PullSpec) -> str:
    """The URL that is pushed to."""
    url = spec.to_url or f"rtmp://{spec.domain_name}/{spec.app_name}/{spec.stream_name}"
    arguments = spec.push_args.lstrip("?&")
    if not arguments:
        return url
    return f"{url}{'&' if '?' in url else '?'}{arguments}"


# What may be asked for


def check(spec: PullSpec) -> None:
    """Raise a `Refused` for the first thing that is wrong with a spec, its times aside."""
    _check_served(spec)
    if len(spec.source_urls) != 1:
        raise InvalidSourceUrl("SourceUrls: PullLivePushLive takes exactly one URL.")
    source_address(spec)
    destination_address(spec)
    backup_destination_address(spec)
    callback_address(spec)
    _check_values(spec)


def source_address(spec: PullSpec) -> tuple[str, int | None]:
    """Host and port of the source. Raise `InvalidSourceUrl`, or `Unsupported` for its protocol."""
    try:
        parts = split_url(spec.source_urls[0], SOURCE_SCHEMES)
        _check_protocol("SourceUrls", parts, SERVED_SOURCES)
    except ValueError as error:
        raise InvalidSourceUrl(f"SourceUrls: {error}.") from None
    return parts.hostname or "", parts.port


def destination_address(spec: PullSpec) -> tuple[str, int | None]:
    """Host and port of the destination. Raise `InvalidToUrl` or `InvalidField`, or `Unsupported`."""
    if spec.to_url and (spec.domain_name or spec.app_name or spec.stream_name):
        raise InvalidToUrl("With ToUrl, DomainName, AppName and StreamName must be empty.")
    if not spec.to_url:
        _check_parts(spec)
    if not spec.push_args.isprintable() or any(char in spec.push_args for char in ' \\"<>#'):
        raise InvalidField("PushArgs", "PushArgs holds a character that must not stand in a query.")
    try:
        parts = _sink_parts("ToUrl", destination(spec))
    except ValueError as error:
        raise InvalidToUrl(f"{'ToUrl' if spec.to_url else 'The destination'}: {error}.") from None
    return parts.hostname or "", parts.port


def backup_destination_address(spec: PullSpec) -> tuple[str, int | None] | None:
    """Host and port of the second destination, None without one. Raise `InvalidBackupToUrl`, or `Unsupported`."""
    if not spec.backup_to_url:
        return None
    try:
        parts = _sink_parts("BackupToUrl", spec.backup_to_url)
    except ValueError as error:
        raise InvalidBackupToUrl(f"BackupToUrl: {error}.") from None
    if _stream(parts) == _stream(_sink_parts("ToUrl", destination(spec))):
        raise InvalidBackupToUrl("BackupToUrl names the stream that the task pushes to already.")
    return parts.hostname or "", parts.port


def callback_address(spec: PullSpec) -> tuple[str, int | None] | None:
    """Host and port of the callback URL, None without one. Raise `InvalidCallbackUrl`."""
    if not spec.callback_url:
        return None
    try:
        parts = split_url(spec.callback_url, {"http", "https"})
    except ValueError as error:
        raise InvalidCallbackUrl(f"CallbackUrl: {error}.") from None
    return parts.hostname or "", parts.port


def span(spec: PullSpec, *, now: int, max_days: int) -> tuple[int, int]:
    """Start and end in Unix ms. Raise `InvalidTaskTime`. `max_days` 0: as long as you like."""
    start, end = _time("StartTime", spec.start_time), _time("EndTime", spec.end_time)
    if end <= start:
        raise InvalidTaskTime("EndTime must be later than StartTime.")
    if end <= now:
        raise InvalidTaskTime("EndTime must be later than the current time.")
    if max_days and end - start > max_days * times.DAY:
        raise InvalidTaskTime(f"EndTime must be within {max_days} days of StartTime.")
    return start, end


def _time(field: str, text: str) -> int:
    try:
        return times.parse(text)
    except ValueError as error:
        raise InvalidTaskTime(f"{field}: {error}.") from None


def _check_served(spec: PullSpec) -> None:
    """Raise for documented features that this build does not serve: none is silently ignored."""
    if spec.source_type not in SOURCE_TYPES:
        raise InvalidField("SourceType", f"SourceType must be one of {_listed(SOURCE_TYPES)}.")
    asked = {
        f"SourceType {spec.source_type}": spec.source_type != "PullLivePushLive",
        "FileIndex and OffsetTime (of files)": spec.file_index is not None or spec.offset_time is not None,
        "A backup source": spec.backup_source_type or spec.backup_source_url,
        "WatermarkList": spec.watermark_list,
        "RecordTemplateId": spec.record_template_id,
        "TranscodeTemplateName": spec.transcode_template_name,
    }
    for feature, wanted in asked.items():
        if wanted:
            raise Unsupported(f"{feature} is not served yet.")


def _check_protocol(field: str, parts: SplitResult, served: frozenset[str]) -> None:
    if parts.scheme not in served:
        raise Unsupported(f"{field}: the protocol {parts.scheme} is not served yet.")
    if parts.scheme not in ("rtmp", "rtmps"):
        return
    if parts.username is not None:
        raise Unsupported(f"{field}: user and password in an RTMP URL are not served yet.")
    check_stream(parts)


def _sink_parts(field: str, url: str) -> SplitResult:
    """The parts of a destination's URL. Raise `ValueError`, or `Unsupported` for its protocol."""
    parts = split_url(url, SINK_SCHEMES)
    _check_protocol(field, parts, SERVED_SINKS)
    return parts


def _stream(parts: SplitResult) -> tuple[str, int, str]:
    """What tells streams apart: host, port and path, without the keys."""
    return parts.hostname or "", parts.port or _PORTS[parts.scheme], parts.path


def _check_parts(spec: PullSpec) -> None:
    named = {"DomainName": spec.domain_name, "AppName": spec.app_name, "StreamName": spec.stream_name}
    for field, value in named.items():
        if not value:
            raise InvalidField(field, f"Without ToUrl, {field} must be given.")
    try:
        split_host(spec.domain_name)
    except ValueError as error:
        raise InvalidField("DomainName", f"DomainName: {error}.") from None
    for field in ("AppName", "StreamName"):
        if any(char in named[field] for char in "/?#"):
            raise InvalidField(field, f"{field} must not hold a slash, a question mark or a hash.")


def _check_values(spec: PullSpec) -> None:
    _one_of("VodRefreshType", [spec.vod_refresh_type], REFRESH_TYPES)
    _one_of("CallbackEvents", spec.callback_events, CALLBACK_EVENTS)
    if spec.vod_loop_times < -1:
        raise InvalidField("VodLoopTimes", "VodLoopTimes must be -1, 0 or more.")
    if spec.vod_local_mode not in (0, 1):
        raise InvalidField("VodLocalMode", "VodLocalMode must be 0 or 1.")
    check_text("Comment", spec.comment, MAX_COMMENT)
    check_text("ExtraCmd", spec.extra_cmd, MAX_URL)


def check_text(field: str, value: str, limit: int) -> None:
    """Raise `InvalidField` for special characters, or more than `limit` bytes of UTF-8."""
    if not value.isprintable():
        raise InvalidField(field, f"{field} holds a special character.")
    if len(value.encode()) > limit:
        raise InvalidField(field, f"{field} is longer than {limit} bytes.")


def _one_of(field: str, values: Iterable[str], allowed: frozenset[str]) -> None:
    if not allowed.issuperset(values):
        raise InvalidField(field, f"{field} must be one of {_listed(allowed - {''})}.")


def _listed(values: Iterable[str]) -> str:
    return ", ".join(sorted(values))


# What is truly going on


def run_status(task: Task, spec: PullSpec, observed: Observed | None, now: int, *, waiting: str = "") -> RunStatus:
    """What the observation `observed` (the newest there is) says about the task at `now`.

    One of an earlier run, or of a task that nobody owns, says nothing about media that flows now. `waiting` is
    why nobody takes a task that is due, if that is known.
    """
    observed = observation.of_this_run(task, observed)
    fresh = observation.is_fresh(task, observed, now)
    active = fresh and observed is not None and observed.state is State.ACTIVE
    return RunStatus(
        active=active,
        file_url=spec.source_urls[0] if fresh and observed and observed.on_air == SOURCE else "",
        offset_s=max((sink.media_ms for sink in observed.sinks), default=0) // times.SECOND if observed else 0,
        report_at=observed.at if observed else None,
        looped=0,
        error=observation.trouble(task, observed, now, waiting),
        observed=observed,
    )
