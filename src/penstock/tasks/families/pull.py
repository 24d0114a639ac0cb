"""The family ``pull``: takes a live source, or files one after another, and pushes it on, from its start time to its
end time or, of files, to the end of the last round.

All here is pure: what a caller asks for (`PullSpec`, `PullChange`; `pull_rules` says what is wrong with it), what a
worker should run (`plan`) and what is truly going on (`run_status`).
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import msgspec

from penstock.log import mask_url
from penstock.media.plan import EndRules, Plan, Playlist, Position, Sink, SlateMode, Source
from penstock.tasks import observation, times
from penstock.tasks.model import Observed, Playback, State, Struct, Task

FAMILY = "pull"
#: Where the family's own numbers begin.
FIRST_NUMBER = 10001

SOURCE, BACKUP, SINK, BACKUP_SINK = "source", "backup", "sink", "sink.backup"
#: How the word of ExtraCmd begins that says what is shown while there is no source.
SLATE = "slate="

#: SourceType of a live source and of files, and VodRefreshType of files that go on where they are.
LIVE, FILES, CONTINUE = "PullLivePushLive", "PullVodPushLive", "ContinueBreakPoint"
#: Create's FileIndex and OffsetTime hold for a task that starts within so many ms.
START_VALID = 24 * 3600 * times.SECOND


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
    #: Words, of which ``slate=MODE`` is followed; there is no region to ignore.
    extra_cmd: str = ""
    comment: str = ""
    #: What is pulled while the source is not to be had: a live source or a file; both empty: nothing.
    backup_source_type: str = ""
    backup_source_url: str = ""
    #: A second destination, which gets the same; empty: none.
    backup_to_url: str = ""
    watermark_list: tuple[Watermark, ...] = ()
    record_template_id: str = ""
    transcode_template_name: str = ""
    #: How often the run was begun anew: the plan's generation.
    restarts: int = 0
    #: How often another place in the files was asked for than the one where they are: the playlist's.
    moved: int = 0


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

    def moves_media(self) -> bool:
        """Whether a source or a destination is to change."""
        urls = (self.source_urls, self.backup_source_url, self.backup_vod_url, self.to_url, self.backup_to_url)
        return any(url is not None for url in urls)


class RunStatus(Struct, kw_only=True):
    """What can truthfully be said about a task's run."""

    #: A fresh observation says that media flows.
    active: bool
    #: The caller's own URL of the source on air, with its secrets; empty: none, or not known now.
    file_url: str
    #: Of files: that of the file which follows; empty: none does.
    next_file_url: str = ""
    #: Whole seconds of media delivered in this run, to the destination that got most; of files: the place in the file.
    offset_s: int
    #: Length of the file in whole seconds; 0: not known, or a live source.
    duration_s: int = 0
    #: When the last observation of this run was made, or the one that `playback` is from; None: never.
    report_at: int | None
    #: Rounds of the files that are complete; a live source has none.
    looped: int = 0
    #: Where in its files the task is or, if it does not run, was; None: it has played none, or has a live source.
    playback: Playback | None
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
    leaves these as they are. An empty BackupSourceType takes the backup away; BackupVodUrl puts a
    file in its place, an empty one takes that away. Other files begin with their first,
    unless FileIndex names one of them.
    """
    known = set(PullSpec.__struct_fields__)
    values = {name: value for name, value in change.given().items() if name in known}
    if change.to_url:
        values |= {"domain_name": "", "app_name": "", "stream_name": "", "push_args": ""}
    if change.backup_source_type == "" and not change.backup_source_url:
        values |= {"backup_source_url": ""}
    if change.backup_vod_url:
        values |= {"backup_source_type": FILES, "backup_source_url": change.backup_vod_url}
    elif change.backup_vod_url == "" and spec.backup_source_type == FILES and change.backup_source_type is None:
        values |= {"backup_source_type": "", "backup_source_url": ""}
    if change.file_index is not None:
        values["moved"] = spec.moved + 1
    elif change.source_urls not in (None, spec.source_urls):
        values |= {"file_index": None, "offset_time": None}
    return msgspec.structs.replace(spec, **values)


def restarted(spec: PullSpec, *, over: bool = False) -> PullSpec:
    """The spec of a run that begins anew. Files go on where they are if VodRefreshType says ContinueBreakPoint.

    `over`: the last round was played, there is nothing to go on with.
    """
    spec = msgspec.structs.replace(spec, restarts=spec.restarts + 1)
    return spec if spec.vod_refresh_type == CONTINUE and not over else from_the_beginning(spec)


def from_the_beginning(spec: PullSpec) -> PullSpec:
    """The spec of files that are played from the first one on."""
    return msgspec.structs.replace(spec, moved=spec.moved + 1, file_index=None, offset_time=None)


def plan(task: Task) -> Plan:
    """What a worker should run for this task."""
    spec = decode(task.spec)
    files = spec.source_type == FILES
    sources: list[Source | Playlist] = [_playlist(spec, task) if files else Source(id=SOURCE, url=spec.source_urls[0])]
    if spec.backup_source_url:
        is_file, url = spec.backup_source_type == FILES, spec.backup_source_url
        sources.append(Playlist(id=BACKUP, urls=(url,)) if is_file else Source(id=BACKUP, url=url))
    sinks = [Sink(id=SINK, url=destination(spec))]
    if spec.backup_to_url:
        sinks.append(Sink(id=BACKUP_SINK, url=spec.backup_to_url))
    return Plan(
        sources=tuple(sources),
        sinks=tuple(sinks),
        slate=slate(spec),
        end=EndRules(end_at=task.end_at),
        generation=spec.restarts,
    )


def slate(spec: PullSpec) -> SlateMode | None:
    """What ExtraCmd says of the slate, the last time; None: nothing. Raise `ValueError` if there is no such mode.

    Its words are separated by spaces or commas.
    """
    words = spec.extra_cmd.replace(",", " ").split()
    modes = [word.removeprefix(SLATE) for word in words if word.startswith(SLATE)]
    return msgspec.convert(modes[-1], SlateMode) if modes else None


def _playlist(spec: PullSpec, task: Task) -> Playlist:
    """The files of a spec, in order."""
    start = Position()
    if spec.file_index is not None and not _is_stale(spec, task):
        start = Position(item=spec.file_index - 1, offset_ms=(spec.offset_time or 0) * times.SECOND)
    return Playlist(
        id=SOURCE,
        urls=spec.source_urls,
        rounds=None if spec.vod_loop_times < 0 else max(1, spec.vod_loop_times),
        start=start,
        moved=spec.moved,
        finish=spec.vod_refresh_type == CONTINUE,
        local=spec.vod_local_mode == 1,
    )


def _is_stale(spec: PullSpec, task: Task) -> bool:
    """Whether the place that Create named is void: the task starts too late for it."""
    return spec.moved == 0 and task.start_at - task.created_at > START_VALID


def destination(spec: PullSpec) -> str:
    """The URL that is pushed to."""
    url = spec.to_url or f"rtmp://{spec.domain_name}/{spec.app_name}/{spec.stream_name}"
    arguments = spec.push_args.lstrip("?&")
    if not arguments:
        return url
    return f"{url}{'&' if '?' in url else '?'}{arguments}"


def run_status(task: Task, spec: PullSpec, observed: Observed | None, now: int, *, waiting: str = "") -> RunStatus:
    """What the observation `observed` (the newest there is) says about the task at `now`.

    One of an earlier run, or of a task that nobody owns, says nothing about media that flows now. `waiting` is
    why nobody takes a task that is due, if that is known.
    """
    playback = _playback(spec, observed)
    told = observed if playback else None
    observed = observation.of_this_run(task, observed)
    fresh = observation.is_fresh(task, observed, now)
    on_air = observed.on_air if fresh and observed else ""
    return RunStatus(
        active=fresh and observed is not None and observed.state is State.ACTIVE,
        **_of_files(spec, playback, on_air) if spec.source_type == FILES else _of_live(spec, observed, on_air),
        report_at=seen.at if (seen := observed or told) else None,
        playback=playback,
        error=observation.trouble(task, observed, now, waiting),
        observed=observed,
    )


def _of_live(spec: PullSpec, observed: Observed | None, on_air: str) -> dict[str, Any]:
    """What is on air of live sources, and how much of it has been delivered."""
    media_ms = max((sink.media_ms for sink in observed.sinks), default=0) if observed else 0
    url = {SOURCE: spec.source_urls[0], BACKUP: spec.backup_source_url}.get(on_air, "")
    return {"file_url": url, "offset_s": media_ms // times.SECOND}


def _of_files(spec: PullSpec, playback: Playback | None, on_air: str) -> dict[str, Any]:
    """Which file is on air, and how far it is."""
    if playback is None:
        return {"file_url": "", "offset_s": 0}
    urls, here, following = spec.source_urls, playback.url, playback.next_url
    return {
        "file_url": _own_url(urls, playback.item, here) if on_air == SOURCE else "",
        "next_file_url": _own_url(urls, playback.item + 1, following) if on_air == SOURCE else "",
        "offset_s": playback.offset_ms // times.SECOND,
        "duration_s": round((playback.duration_ms or 0) / times.SECOND),
        "looped": playback.rounds,
    }


def _playback(spec: PullSpec, observed: Observed | None) -> Playback | None:
    """Where the task is in its files: also what an earlier run said, until this one has told."""
    playback = observed.playback if observed else None
    if spec.source_type != FILES or playback is None or playback.moved != spec.moved:
        return None
    return playback


def _own_url(urls: Sequence[str], at: int, masked: str) -> str:
    """The caller's own URL of a file that was reported `masked`; `at` is its place in the list, as far as is known.

    A file that is played to its end though the list has changed may be in it no more: its URL stays masked.
    """
    likely = [urls[at % len(urls)], *urls] if masked else []
    return next((url for url in likely if mask_url(url) == masked), masked)
