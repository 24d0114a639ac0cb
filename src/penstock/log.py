"""Logging, and what must never stand in a log: keys in URLs, passwords, signatures.

Secrets are masked where lines are written, so that no caller can forget it; `mask_url` and `mask_text` are
for texts that go elsewhere (a task's history, ErrorInfo).
"""

import json
import logging
import re
import sys
from collections.abc import MutableMapping
from contextlib import suppress
from functools import lru_cache
from typing import Any

import structlog
from structlog.typing import Processor

HIDDEN = "***"

#: The last element of these URLs' paths is the stream key.
_KEY_IN_PATH = frozenset({"rtmp", "rtmps", "rtmpt", "rtmpe", "srt"})

_URL = re.compile(r"\b[A-Za-z][A-Za-z0-9+.-]*://[^\s\"'<>\\]+")
#: ``name=value`` or ``name: value`` outside a URL, where the name says that the value is secret.
_NAMED = re.compile(
    r"(?i)\b([\w-]*(?:secret|passwd|password|passphrase|token|signature|authorization|usersig)[\w-]*)"
    r"(\"?\s*[=:]\s*\"?)(?!\*\*\*)([^\s&\"',;)]+)"
)
_SECRET_NAME = re.compile(
    r"(?i)(secret_?key|passwd|password|passphrase|token|signature|authorization|usersig|push_?args|private_?key)$"
)


def mask_url(url: str, *, hint: bool = False) -> str:
    """The URL without its secrets: user and password, each value of the query, an RTMP or SRT stream key.

    `hint`: with the first and the last letters of a longer stream key, so that an operator can tell streams apart.

    >>> mask_url("rtmp://user:pw@host/app/key?txSecret=1")
    'rtmp://***@host/app/***?txSecret=***'
    >>> mask_url("rtmp://host/app/news-channel-7", hint=True)
    'rtmp://host/app/ne***-7'
    """
    scheme, separator, rest = url.partition("://")
    if not separator:
        return HIDDEN if url else ""
    end = min((at for at in map(rest.find, "/?#") if at >= 0), default=len(rest))
    authority, path = rest[:end], rest[end:]
    if scheme.lower() in ("http", "https"):  # elsewhere # stands for itself, as in streamid=#!::r=live/key
        path = path.partition("#")[0]
    path, question, query = path.partition("?")
    _, at, host = authority.rpartition("@")
    if at:
        authority = f"{HIDDEN}@{host}"
    if scheme.lower() in _KEY_IN_PATH:
        head, slash, key = path.rstrip("/").rpartition("/")
        path = f"{head}{slash}{_hint(key) if hint else HIDDEN}" if key else path
    return f"{scheme}://{authority}{path}{question}{_mask_query(query)}"


def _hint(key: str) -> str:
    """A third of a key at most, and never more than six letters: what is left of it is no easier to guess."""
    shown = min(6, len(key) // 3) if len(key) > 5 else 0
    return key[: shown - shown // 2] + HIDDEN + key[len(key) - shown // 2 :]


def _mask_query(query: str) -> str:
    masked = []
    for part in query.split("&"):
        name, equals, value = part.partition("=")
        # A part without "=" may be a bare key, as in ?txSecret-like tokens.
        masked.append(f"{name}={HIDDEN}" if equals and value else part if equals else HIDDEN if part else "")
    return "&".join(masked)


def mask_text(text: str) -> str:
    """`text` with each URL in it masked, and each value whose name says that it is secret."""
    if "://" in text:
        text = _URL.sub(_mask_match, text)
    # Most texts of a line are neither, and need no search.
    return _NAMED.sub(rf"\1\2{HIDDEN}", text) if "=" in text or ":" in text else text


def _mask_match(match: re.Match[str]) -> str:
    url = match[0]
    bare = url.rstrip(").,;:]}")
    return mask_url(bare) + url[len(bare) :]


def mask_value(name: str, value: Any) -> Any:
    """What a log may show of a named value; looks into lists and dictionaries."""
    if _is_secret(name) and value not in (None, ""):
        return HIDDEN
    if isinstance(value, str):
        return mask_text(value)
    if isinstance(value, dict):
        return {key: mask_value(str(key), item) for key, item in value.items()}
    if isinstance(value, list | tuple | set):
        return [mask_value(name, item) for item in value]
    return value


@lru_cache(1000)
def _is_secret(name: str) -> bool:
    return bool(_SECRET_NAME.search(name))


def mask_secrets(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """structlog's processor that masks a whole line."""
    for name, value in event.items():
        event[name] = mask_value(name, value)
    return event


class _Stderr:
    """Where the lines go. A log that cannot be written stops no stream."""

    def msg(self, line: str) -> None:
        with suppress(OSError, ValueError):
            sys.stderr.write(f"{line}\n")

    debug = info = warning = error = critical = log = msg


class _ToStructlog(logging.Handler):
    """Hands the lines of libraries (uvicorn, Alembic, asyncio) to the same pipe as ours."""

    def emit(self, record: logging.LogRecord) -> None:
        line = structlog.get_logger().bind(logger=record.name)
        line.log(record.levelno, record.getMessage(), exc_info=record.exc_info)


def setup(*, level: str = "info", style: str = "text", process: str = "") -> None:
    """Make every log line of this process go to stderr in one form.

    Args:
        level: the least level that is written: ``debug``, ``info``, ``warning``, ``error``.
        style: ``text``: coloured on a terminal, else key=value; ``json``: one object a line.
        process: which process speaks; on every line.
    """
    least = logging.getLevelNamesMapping()[level.upper()]
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.StackInfoRenderer(),
            *_renderers(style),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(least),
        logger_factory=_Stderr,
        cache_logger_on_first_use=True,
    )
    structlog.contextvars.bind_contextvars(**({"process": process} if process else {}))
    root = logging.getLogger()
    root.handlers[:] = [_ToStructlog()]
    # Libraries' own chatter is for debugging only.
    root.setLevel(least if level == "debug" else max(least, logging.WARNING))


def _renderers(style: str) -> list[Processor]:
    exceptions = structlog.processors.format_exc_info
    time = structlog.processors.TimeStamper(fmt="iso", utc=True)
    if style == "json":
        return [exceptions, mask_secrets, time, structlog.processors.JSONRenderer()]
    if sys.stderr.isatty():
        return [
            exceptions,
            mask_secrets,
            time,
            structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback),
        ]
    return [exceptions, mask_secrets, time, logfmt]


#: Names that stand first in a line, in this order.
_FIRST = ("timestamp", "level", "process", "event")


def logfmt(_logger: object, _method: str, event: MutableMapping[str, Any]) -> str:
    """structlog's last processor: ``name=value name="a longer value"``, on one line whatever the values hold."""
    first = [(name, event.pop(name)) for name in _FIRST if name in event]
    return " ".join([f"{name}={_as_logfmt(value)}" for name, value in (*first, *event.items())])


def _as_logfmt(value: Any) -> str:
    text = "" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
    return json.dumps(text, ensure_ascii=False) if _NEEDS_QUOTES.search(text) else text


#: Spaces, what has a meaning in logfmt, and what would break the line or move a terminal's cursor.
_NEEDS_QUOTES = re.compile(r"""[\s="\\\x00-\x1f\x7f-\x9f\u2028\u2029]""")
