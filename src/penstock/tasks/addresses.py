"""What a URL of a caller must look like before anything else is asked of it. No I/O.

Whether its address may be reached is the network policy's question, not this module's.
"""

import ipaddress
import re
from collections.abc import Collection
from urllib.parse import SplitResult, urlsplit

#: Longest URL that is accepted, in characters.
MAX_URL = 2048

_LABEL = r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_NAME = re.compile(rf"(?=.{{1,253}}$){_LABEL}(?:\.{_LABEL})*\.?")


def split_url(url: str, schemes: Collection[str]) -> SplitResult:
    """The parts of a URL with one of these schemes, a host and no surprises.

    Raise `ValueError` with a sentence about what is wrong; it never repeats the URL, which may hold keys.
    """
    if not url:
        raise ValueError("it is empty")
    if len(url) > MAX_URL:
        raise ValueError(f"it is longer than {MAX_URL} characters")
    if not url.isprintable() or any(char in url for char in ' \\"<>'):
        raise ValueError("it holds a character that must not stand in a URL")
    parts = _split(url)
    if parts.scheme.lower() not in schemes:
        raise ValueError(f"its protocol is none of {', '.join(sorted(schemes))}")
    if parts.scheme == "srt":  # there # stands for itself, as in streamid=#!::r=live/stream
        parts = _split(url.replace("#", "%23"))
    elif "#" in url:
        raise ValueError("it holds a fragment (#)")
    check_host(parts.hostname or "")
    return parts


def check_host(host: str) -> None:
    """Raise `ValueError` unless this is a DNS name, an IPv4 address or an IPv6 address (without brackets)."""
    if not host:
        raise ValueError("it names no host")
    if ":" in host:
        try:
            ipaddress.IPv6Address(host.replace("%", "!"))  # no zone: it means something on one machine only
        except ValueError:
            raise ValueError("its host is not an IPv6 address") from None
    elif not _NAME.fullmatch(host):
        raise ValueError("its host is not a name of letters, digits, dots and hyphens")


def split_host(text: str) -> tuple[str, int | None]:
    """Host and port of ``HOST`` or ``HOST:PORT``. Raise `ValueError`."""
    parts = _split(f"//{text}")
    if parts.netloc != text or parts.username is not None:
        raise ValueError("it is not HOST or HOST:PORT")
    check_host(parts.hostname or "")
    return parts.hostname or "", parts.port


def check_stream(parts: SplitResult) -> None:
    """Raise `ValueError` unless an RTMP URL names an application and a stream."""
    app, _, stream = parts.path.removeprefix("/").rpartition("/")
    if not app or not stream:
        raise ValueError("it does not name an application and a stream, as in rtmp://HOST/APP/STREAM")


def _split(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise ValueError("its host or port cannot be understood") from None
    if port == 0 or parts.netloc.endswith(":"):
        raise ValueError("its port is not a number from 1 to 65535")
    return parts
