"""Text times of the APIs and Unix milliseconds."""

import re
import time
from datetime import UTC, datetime, timedelta, timezone
from functools import lru_cache

_TIME = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(?:Z|([+-])(\d\d):([0-5]\d))", re.ASCII)
_UTC = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", re.ASCII)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MS = timedelta(milliseconds=1)

SECOND, MINUTE, HOUR, DAY = 1000, 60_000, 3_600_000, 86_400_000


def parse(text: str) -> int:
    """Unix milliseconds of an ISO 8601 time with seconds that ends in ``Z`` or ``±hh:mm``.

    Raise `ValueError` for anything else, and for times that do not exist.
    """
    found = _TIME.fullmatch(text)
    if found is None:
        raise ValueError("not a time like 2026-01-31T10:00:00Z or 2026-01-31T18:00:00+08:00")
    date, fraction, sign, hours, minutes = found.groups()
    offset = timedelta(hours=int(hours or 0), minutes=int(minutes or 0))
    if offset > timedelta(hours=14):
        raise ValueError("no place on Earth is more than 14 hours from UTC")
    zone = timezone(-offset if sign == "-" else offset)
    at = datetime.fromisoformat(date).replace(tzinfo=zone)
    return (at - _EPOCH) // _MS + int((fraction or "").ljust(3, "0")[:3])


def parse_utc(text: str) -> int:
    """Unix milliseconds of ``yyyy-MM-ddTHH:mm:ssZ``, and of nothing else. Raise `ValueError`."""
    if not _UTC.fullmatch(text):
        raise ValueError("not a time in UTC like 2026-01-31T10:00:00Z")
    return parse(text)


def text(at: int) -> str:
    """Unix milliseconds as the APIs write them: UTC, whole seconds (cut off, not rounded), ``Z``."""
    return _text(at // SECOND)


@lru_cache(4096)
def _text(second: int) -> str:
    """Asked for again and again: what has changed a minute ago is still listed."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(second))
