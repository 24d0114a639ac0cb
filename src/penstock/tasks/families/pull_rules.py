"""What may be asked for of a pull task. Pure: whether an address may be reached is the network policy's question."""

from collections.abc import Callable, Iterable, Sequence
from typing import get_args
from urllib.parse import SplitResult

from penstock.errors import (
    InvalidBackupToUrl,
    InvalidCallbackUrl,
    InvalidField,
    InvalidSourceUrl,
    InvalidTaskTime,
    InvalidToUrl,
    Unsupported,
)
from penstock.media import srt
from penstock.media.plan import SlateMode
from penstock.tasks import times
from penstock.tasks.addresses import MAX_URL, check_stream, split_host, split_url
from penstock.tasks.families.pull import (
    CONTINUE,
    FILES,
    LIVE,
    SLATE,
    PullChange,
    PullSpec,
    destination,
    slate,
)

SOURCE_TYPES = frozenset({LIVE, FILES, "PullPicPushLive"})
#: Most files of a task.
MAX_FILES = 30
CALLBACK_EVENTS = frozenset(
    {"TaskStart", "TaskExit", "VodSourceFileStart", "VodSourceFileFinish", "ResetTaskConfig", "TaskAlarm"}
)
REFRESH_TYPES = frozenset({"", "ImmediateNewSource", CONTINUE})

#: All that the vendor documents.
SOURCE_SCHEMES = frozenset({"http", "https", "rtmp", "rtmps", "rtsp", "srt"})
SINK_SCHEMES = frozenset({"rtmp", "rtmps", "rtsp", "rtp", "srt"})
_NO_RTP = "RTP and its session descriptions (SDP) are no source, since anybody could send the packets; SRT and RTSP are"
_PORTS = {"rtmp": 1935, "rtmps": 443, "rtsp": 554}

#: Longest comment, in bytes of UTF-8.
MAX_COMMENT = 512


def check(spec: PullSpec) -> None:
    """Raise a `Refused` for the first thing that is wrong with a spec, its times aside."""
    _check_served(spec)
    source_addresses(spec)
    backup_source_address(spec)
    destination_address(spec)
    backup_destination_address(spec)
    callback_address(spec)
    _check_values(spec)
    _check_start(spec)


def check_change(change: PullChange) -> None:
    """Raise a `Refused` if a change asks for half of a place in the files, or for two backups."""
    if (change.file_index is None) != (change.offset_time is None):
        missing, given = ("FileIndex", "OffsetTime") if change.file_index is None else ("OffsetTime", "FileIndex")
        raise InvalidField(missing, f"{given} must come with {missing}.")
    if change.backup_vod_url and (change.backup_source_type or change.backup_source_url):
        raise InvalidField("BackupVodUrl", "BackupVodUrl cannot be given with another backup source.")


def source_addresses(spec: PullSpec) -> Sequence[tuple[str, int | None]]:
    """Host and port of each source. Raise `InvalidSourceUrl`."""
    urls, most = spec.source_urls, MAX_FILES if spec.source_type == FILES else 1
    if not 1 <= len(urls) <= most:
        limit = f"1 to {most} URLs" if most > 1 else "exactly one URL"
        raise InvalidSourceUrl(f"SourceUrls: {spec.source_type} takes {limit}.")
    return [_source_address(f"SourceUrls.{at}" if most > 1 else "SourceUrls", url) for at, url in enumerate(urls)]


def backup_source_address(spec: PullSpec) -> tuple[str, int | None] | None:
    """Host and port of the backup source, None without one. Raise `InvalidSourceUrl` or `InvalidField`."""
    if bool(spec.backup_source_type) != bool(spec.backup_source_url):
        missing = "BackupSourceType" if spec.backup_source_url else "BackupSourceUrl"
        raise InvalidField(missing, f"BackupSourceType and BackupSourceUrl go together; {missing} is empty.")
    if not spec.backup_source_url:
        return None
    if spec.source_type != LIVE:
        raise InvalidField("BackupSourceType", "A backup source is for PullLivePushLive alone.")
    return _source_address("BackupSourceUrl", spec.backup_source_url)


def _source_address(field: str, url: str) -> tuple[str, int | None]:
    if _is_rtp(url):
        raise InvalidSourceUrl(f"{field}: {_NO_RTP}.")
    try:
        parts = split_url(url, SOURCE_SCHEMES)
        _check_protocol(parts)
    except ValueError as error:
        raise InvalidSourceUrl(f"{field}: {error}.") from None
    return parts.hostname or "", parts.port


def _is_rtp(url: str) -> bool:
    """Whether a URL means RTP, or the session description (RFC 8866) of some."""
    location = url.partition("?")[0].lower()
    scheme = location.partition(":")[0]
    return scheme in ("rtp", "sdp") or (scheme in ("http", "https") and location.endswith(".sdp"))


def destination_address(spec: PullSpec) -> tuple[str, int | None]:
    """Host and port of the destination. Raise `InvalidToUrl` or `InvalidField`."""
    if spec.to_url and (spec.domain_name or spec.app_name or spec.stream_name):
        raise InvalidToUrl("With ToUrl, DomainName, AppName and StreamName must be empty.")
    if not spec.to_url:
        _check_parts(spec)
    if not spec.push_args.isprintable() or any(char in spec.push_args for char in ' \\"<>#'):
        raise InvalidField("PushArgs", "PushArgs holds a character that must not stand in a query.")
    try:
        parts = _sink_parts(destination(spec))
    except ValueError as error:
        raise InvalidToUrl(f"{'ToUrl' if spec.to_url else 'The destination'}: {error}.") from None
    return parts.hostname or "", parts.port


def backup_destination_address(spec: PullSpec) -> tuple[str, int | None] | None:
    """Host and port of the second destination, None without one. Raise `InvalidBackupToUrl`."""
    if not spec.backup_to_url:
        return None
    try:
        parts = _sink_parts(spec.backup_to_url)
    except ValueError as error:
        raise InvalidBackupToUrl(f"BackupToUrl: {error}.") from None
    if _stream(parts) == _stream(_sink_parts(destination(spec))):
        raise InvalidBackupToUrl("BackupToUrl names the stream that the task pushes to already.")
    return parts.hostname or "", parts.port


def check_loop(spec: PullSpec, whose: Callable[[SplitResult], int | None]) -> None:
    """Raise `InvalidToUrl` or `InvalidBackupToUrl` if a task would push to a stream that it pulls from.

    `whose` says to which account the streams of our own hub belong that a URL means; None: it means another server.
    """

    def stream(url: str) -> tuple[object, ...]:
        parts = split_url(url, SOURCE_SCHEMES | SINK_SCHEMES)
        account = whose(parts)
        if account is None:
            return parts.scheme, *_stream(parts)
        return account, parts.path.strip("/").removesuffix(".flv" if parts.scheme == "http" else "")

    pulled = {stream(url) for url in (*spec.source_urls, spec.backup_source_url) if url}
    if stream(destination(spec)) in pulled:
        raise InvalidToUrl("The destination is a stream that the task itself pulls from.")
    if spec.backup_to_url and stream(spec.backup_to_url) in pulled:
        raise InvalidBackupToUrl("BackupToUrl is a stream that the task itself pulls from.")


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
        f"SourceType {spec.source_type}": spec.source_type == "PullPicPushLive",
        "WatermarkList": spec.watermark_list,
        "RecordTemplateId": spec.record_template_id,
        "TranscodeTemplateName": spec.transcode_template_name,
    }
    for feature, wanted in asked.items():
        if wanted:
            raise Unsupported(f"{feature} is not served yet.")


def _check_protocol(parts: SplitResult) -> None:
    if parts.scheme == "srt":
        srt.parse(parts.geturl())
    if parts.scheme == "rtp" and (parts.port is None or parts.path or parts.query or parts.username is not None):
        raise ValueError("RTP takes nothing but a host and a port, as in rtp://HOST:5004")
    if parts.scheme in ("rtmp", "rtmps"):
        check_stream(parts)


def _sink_parts(url: str) -> SplitResult:
    """The parts of a destination's URL. Raise `ValueError`."""
    parts = split_url(url, SINK_SCHEMES)
    _check_protocol(parts)
    return parts


def _stream(parts: SplitResult) -> tuple[str, int | None, str]:
    """What tells streams apart: host, port and path, without the keys; SRT's name of the stream is in its query."""
    path = parts.query if parts.scheme == "srt" else parts.path
    return parts.hostname or "", parts.port or _PORTS.get(parts.scheme), path


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
    try:
        slate(spec)
    except ValueError:
        raise InvalidField("ExtraCmd", f"ExtraCmd: {SLATE} takes {_listed(get_args(SlateMode))}.") from None


def _check_start(spec: PullSpec) -> None:
    if spec.file_index is None and spec.offset_time is not None:
        raise InvalidField("FileIndex", "OffsetTime must come with FileIndex.")
    if spec.file_index is not None and not 1 <= spec.file_index <= len(spec.source_urls):
        raise InvalidField("FileIndex", f"FileIndex must be 1 to {len(spec.source_urls)}, the number of SourceUrls.")


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
