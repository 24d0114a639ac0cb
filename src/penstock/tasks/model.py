"""The nouns: account, key, task (desired + observed + events). Frozen data, no I/O.

Times named ``*_at`` are Unix milliseconds (int). Text times exist only in a family's spec, as the caller gave them.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import dataclass_transform

import msgspec


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(msgspec.field,))
class Struct(msgspec.Struct, frozen=True, kw_only=True):
    """Base of the model's immutable records."""


class ServiceName(StrEnum):
    """A vendor's service, as an account has it."""

    LIVE = "live"
    MDC = "mdc"
    TRTC = "trtc"
    TIW = "tiw"
    PRELOAD = "preload"


class ServiceState(StrEnum):
    """What an account may do with a service: all while it is active, else nothing, and why."""

    ACTIVE = "active"
    #: It was never activated.
    INACTIVE = "inactive"
    #: It is stopped until the account is topped up.
    ARREARS = "arrears"
    FROZEN = "frozen"
    #: The account is forbidden to use it.
    BLOCKED = "blocked"
    #: The account itself has switched it off.
    DISABLED = "disabled"


class Account(Struct):
    """Who owns tasks and keys."""

    id: int
    name: str
    #: Tencent's AppId of the account: decimal, unique.
    app_id: int
    #: Live pull tasks that may exist at once (``LimitTaskNum``).
    task_limit: int
    #: The states of those services that are not active.
    suspended: Mapping[ServiceName, ServiceState] = msgspec.field(default_factory=dict)

    def service(self, name: ServiceName) -> ServiceState:
        """The state of one service."""
        return self.suspended.get(name, ServiceState.ACTIVE)


class AccessKey(Struct):
    """A key pair that signs API calls."""

    secret_id: str
    #: In clear only in memory; sealed in the store.
    secret_key: str
    account_id: int
    enabled: bool = True


class SdkApp(Struct):
    """An application (SdkAppId) of an account, for rooms and whiteboards."""

    sdk_app_id: int
    secret_key: str
    account_id: int


class Area(StrEnum):
    """Where an audience is."""

    DOMESTIC = "domestic"
    OVERSEAS = "overseas"
    GLOBAL = "global"


class Domain(Struct):
    """A domain that belongs to an account."""

    #: In lower case, unique over all accounts.
    name: str
    account_id: int
    #: Where its audience is, when a call does not say.
    area: Area


class EdgeOrigin(StrEnum):
    """Who registered an edge node, and so who takes it out."""

    COMMAND = "command"
    #: The configuration file.
    FILE = "file"


class Edge(Struct):
    """An edge node of the operator's, as its viewers reach it."""

    name: str
    #: Whom it serves; ``global``: everybody.
    area: Area
    #: For people and scripts; nothing is decided by them.
    labels: Mapping[str, str] = msgspec.field(default_factory=dict)
    #: ``HOST:PORT`` of RTMP, and of HTTP and HTTPS (FLV and HLS); empty: not served.
    rtmp: str = ""
    http: str = ""
    https: str = ""
    #: The host that a viewer names there (``Host``, or RTMP's vhost); empty: that of the play URL.
    host: str = ""
    #: What a viewer asks for there, made of ``{path}`` (the play URL's own, slash and all), ``{app}`` and ``{stream}``.
    path: str = "{path}"
    #: Added to the play URL's query, a token for instance: ``key=value``; sealed in the store.
    query: str = ""
    #: Streams that one worker may hold there at once; 0: no limit.
    concurrency: int = 0
    origin: EdgeOrigin = EdgeOrigin.COMMAND


class Desired(StrEnum):
    """What the API last asked for."""

    ENABLE = "enable"
    PAUSE = "pause"
    #: Invisible to every call; the row goes when no worker owns it.
    DELETE = "delete"


class State(StrEnum):
    """Where a task is in its life; moved only by `penstock.tasks.lifecycle`."""

    #: No worker runs it: not due yet, no capacity, or its worker has died.
    WAITING = "waiting"
    #: A worker owns it and connects; nothing has been delivered since the claim.
    STARTING = "starting"
    #: Within the last 3 s the sink's socket took bytes and media time advanced; of holds: one at least is warm.
    ACTIVE = "active"
    #: A worker owns it and retries; nothing is delivered.
    INACTIVE = "inactive"
    PAUSED = "paused"
    #: Its account's service is not active.
    SUSPENDED = "suspended"
    #: Its end time has passed; the row stays and counts.
    ENDED = "ended"
    DELETED = "deleted"


class Task(Struct):
    """One row: what is wanted, who runs it, what was last seen."""

    #: The row's own number, unique over all accounts and families.
    key: int
    account_id: int
    family: str
    #: The TaskId that callers see, unique per account and family among undeleted rows.
    id: str
    #: The family's spec as JSON; sealed in the store, since URLs carry keys.
    spec: bytes
    desired: Desired
    state: State
    #: When `state` last changed.
    state_at: int
    #: Raised by each change of spec, desired, start_at or end_at.
    revision: int
    start_at: int
    #: None: runs until deleted.
    end_at: int | None
    region: str
    created_at: int
    created_by: str
    #: Moved by API calls only.
    updated_at: int
    updated_by: str
    #: Incarnation of the worker that runs it.
    owner: str | None
    #: Raised by every claim; a worker's write carries it.
    epoch: int
    #: The last stored status; the live one travels by the run sockets.
    observed: "Observed | None"
    #: The account's domain that it belongs to; empty: none in particular.
    domain: str = ""
    #: A worker that runs one task of an affinity runs all of them; empty: it may run anywhere.
    affinity: str = ""


class NodeStatus(Struct):
    """What was measured of one source or sink."""

    id: str
    #: Secrets masked.
    url: str
    #: ``idle``, ``connecting``, ``connected`` (no media yet), ``flowing``, ``retrying``.
    state: str
    #: When `state` last changed.
    since: int
    #: Connections tried since the run began.
    attempts: int = 0
    #: Media bytes over all connections of this run.
    bytes: int = 0
    #: Over the last full second or more; bits per second.
    bitrate: int = 0
    #: Media time of this run, in ms: how far DTS has advanced.
    media_ms: int = 0
    video: int = 0
    audio: int = 0
    keyframes: int = 0
    #: Messages dropped because a sink was too slow.
    dropped: int = 0
    #: When bytes last moved with media time; None: never.
    progress_at: int | None = None
    #: FFmpeg's names: ``h264``, ``hevc``, ``aac``; empty: not seen.
    video_codec: str = ""
    audio_codec: str = ""
    error: str = ""


class HoldStatus(Struct):
    """What was measured of one stream on one edge node."""

    #: That of the plan's hold: ``EDGE/PROTOCOL``.
    id: str
    edge: str
    area: str
    #: ``idle`` (waits for its turn), ``connecting``, ``connected`` (no media yet), ``flowing`` (truly warm now),
    #: ``retrying``.
    state: str
    #: When `state` last changed.
    since: int
    #: Connections tried since the run began.
    attempts: int = 0
    #: Connections that were warm and were lost.
    reconnects: int = 0
    #: Media bytes over all connections of this run.
    bytes: int = 0
    #: From the first connection to its first keyframe, in ms; None: none has come yet.
    cold_ms: int | None = None
    #: The same for a viewer who came when the stream was warm; None: not measured yet.
    warm_ms: int | None = None
    #: Why it is not warm, secrets masked; empty when healthy.
    error: str = ""


class Playback(Struct):
    """Where a playlist is. What a worker that takes the task over goes on from."""

    #: Index of the file on air, from 0.
    item: int
    #: Its URL, secrets masked.
    url: str
    #: Media time in the file, in ms.
    offset_ms: int
    #: How long the file is, in ms; None: not known.
    duration_ms: int | None
    #: Rounds that are complete.
    rounds: int
    #: The URL of the file that follows, secrets masked; empty: none does.
    next_url: str
    #: That of the `Playlist` that this is about.
    moved: int = 0


class Observed(Struct):
    """A task's status as its worker measured it."""

    key: int
    epoch: int
    state: State
    #: When this was measured.
    at: int
    #: When the worker began this run.
    started_at: int
    #: Since when `state` holds.
    since: int
    sources: tuple[NodeStatus, ...] = ()
    sinks: tuple[NodeStatus, ...] = ()
    holds: tuple[HoldStatus, ...] = ()
    #: Id of the source that is on air; empty: none.
    on_air: str = ""
    #: Since when it is; None: none is.
    on_air_since: int | None = None
    #: How far the output is ahead of the wall clock, in ms; None: it has not begun.
    lead_ms: int | None = None
    #: How often another source came on air in this run, by cause: ``closed``, ``stalled``, ``failed``, ``returned``,
    #: ``changed``.
    switches: Mapping[str, int] = msgspec.field(default_factory=dict)
    #: Of a playlist; None: the source is none, or nothing has been on air yet.
    playback: Playback | None = None
    #: Whether a playlist's last round is over, and with it the task.
    finished: bool = False
    #: What is wrong, for ErrorInfo; empty when healthy.
    error: str = ""


class Load(Struct):
    """What all living workers carry together."""

    workers: int
    #: Cost units: in use, and in all.
    used: int
    capacity: int
    #: How many of the tasks that run are in each state.
    states: Mapping[State, int]
    #: How many of those that play files are.
    playlists: Mapping[State, int] = msgspec.field(default_factory=dict)
    #: How many of them have each source on air, by its id.
    on_air: Mapping[str, int] = msgspec.field(default_factory=dict)
    #: How often another source came on air in those runs, by cause.
    switches: Mapping[str, int] = msgspec.field(default_factory=dict)
    #: The destinations of all tasks that run, by the sink's id.
    sinks: Mapping[str, "SinkLoad"] = msgspec.field(default_factory=dict)


class SinkLoad(Struct):
    """What the sinks of one id carry together."""

    #: How many of them are in each state of `NodeStatus`.
    states: Mapping[str, int]
    #: Bits per second.
    bitrate: int


class PlayerInfo(Struct):
    """What the hub measured of one player of a stream."""

    #: Its address.
    client: str
    #: ``rtmp`` or ``http-flv``.
    protocol: str
    since: int
    #: Bytes that its socket took.
    bytes: int
    #: Bits per second over the last two seconds.
    bitrate: int
    #: Messages that it lost, because it was too slow.
    dropped: int


class StreamInfo(Struct):
    """What the hub measured of one stream. Times are Unix milliseconds."""

    account_id: int
    app: str
    stream: str
    #: Key of the task that publishes it; None: an encoder does.
    task_key: int | None
    #: The publisher's address.
    client: str
    since: int
    #: Bytes that the publisher sent.
    bytes: int
    #: Bits per second over the last two seconds.
    bitrate: int
    media_ms: int
    video: int
    audio: int
    keyframes: int
    #: FFmpeg's names; empty: not seen.
    video_codec: str
    audio_codec: str
    #: Messages that slow players lost, also those that have left.
    dropped: int
    #: Who plays it now.
    players: tuple[PlayerInfo, ...]


class HubStatus(Struct):
    """What the hub measured: the streams that are live, and totals since it began."""

    streams: tuple[StreamInfo, ...] = ()
    #: Bytes from publishers, and to players.
    received: int = 0
    sent: int = 0
    #: Messages that slow players lost.
    dropped: int = 0


class Event(Struct):
    """One line of a task's history."""

    id: int
    task_key: int
    at: int
    #: A stable name, e.g. ``task.created``, ``source.lost``; see `penstock.tasks.lifecycle`.
    name: str
    #: A sentence for people; secrets masked.
    text: str
    #: Who or what caused it: an operator's name, a worker's incarnation, ``clock``.
    by: str
