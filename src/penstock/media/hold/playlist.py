"""HLS playlists (RFC 8216), as far as it takes to find what players fetch next. Pure; the text is a stranger's."""

import re
from typing import NamedTuple
from urllib.parse import urljoin

from penstock.errors import SourceError

#: Renditions and segments of one playlist, at most.
MAX_ENTRIES = 100_000
_URI = re.compile(r'[,:]URI="([^"]*)"')
_METHOD = re.compile(r"[,:]METHOD=([A-Z0-9-]+)")
_TYPE = re.compile(r"[,:]TYPE=(AUDIO|VIDEO)\b")


class Master(NamedTuple):
    """A playlist of playlists: every variant, and every rendition of sound or pictures, as URLs."""

    playlists: tuple[str, ...]


class Playlist(NamedTuple):
    """A playlist of segments."""

    #: Seconds: how long the longest segment is, which is also how often to ask again.
    target: float
    #: (number, URL), oldest first.
    segments: tuple[tuple[int, str], ...]
    #: Where the segments' common beginning is (``EXT-X-MAP``); empty: they have none.
    map: str
    #: No more segments come.
    ended: bool
    #: The segments are encrypted as a whole, so that their bytes say nothing.
    encrypted: bool


def parse(text: bytes, url: str) -> Master | Playlist:
    """Read a playlist that came from `url`. Raise `SourceError` if it is none."""
    lines = [line.strip() for line in text.decode("utf-8", "replace").splitlines()]
    if not lines or lines[0].lstrip("\ufeff") != "#EXTM3U":
        raise SourceError("this is not an HLS playlist")
    if len(lines) > MAX_ENTRIES:
        raise SourceError(f"a playlist of more than {MAX_ENTRIES} lines")
    if any(line.startswith("#EXT-X-STREAM-INF:") for line in lines):
        return _master(lines, url)
    return _media(lines, url)


def _master(lines: list[str], url: str) -> Master:
    found: list[str] = []
    variant = False
    for line in lines:
        if line.startswith("#EXT-X-MEDIA:") and _TYPE.search(line) and (uri := _URI.search(line)):
            found.append(_join(url, uri[1]))
        elif line and not line.startswith("#") and variant:
            found.append(_join(url, line))
        if line:
            variant = line.startswith("#EXT-X-STREAM-INF:") or (variant and line.startswith("#"))
    return Master(tuple(dict.fromkeys(found)))


def _media(lines: list[str], url: str) -> Playlist:
    target, number, map_, ended, encrypted = 0.0, 0, "", False, False
    segments: list[tuple[int, str]] = []
    for line in lines:
        if line.startswith("#EXT-X-TARGETDURATION:"):
            target = float(_number(line))
        elif line.startswith("#EXT-X-MEDIA-SEQUENCE:"):
            number = _number(line)
        elif line.startswith("#EXT-X-MAP:") and (uri := _URI.search(line)):
            map_ = _join(url, uri[1])
        elif line.startswith("#EXT-X-KEY:") and (method := _METHOD.search(line)):
            encrypted = method[1] == "AES-128"
        elif line == "#EXT-X-ENDLIST":
            ended = True
        elif line and not line.startswith("#"):
            segments.append((number, _join(url, line)))
            number += 1
    return Playlist(min(max(target, 1.0), 3600.0), tuple(segments), map_, ended, encrypted)


def _number(line: str) -> int:
    value = line.partition(":")[2]
    if not (value.isascii() and value.isdecimal() and len(value) < 19):
        raise SourceError("this is not an HLS playlist: a number is damaged")
    return int(value)


def _join(url: str, where: str) -> str:
    try:
        return urljoin(url, where)
    except ValueError:
        raise SourceError("a playlist names what is no URL") from None
