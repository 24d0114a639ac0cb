"""Watches a stream on an edge by HLS: every rendition's playlist, and each segment as soon as it is there.

A segment's beginning is looked at, the rest is drained.
"""

import asyncio
from contextlib import suppress
from urllib.parse import urlsplit

from penstock.errors import SourceError
from penstock.media.feed import Feed
from penstock.media.hold.door import EdgeDoor
from penstock.media.hold.drain import CLOSED, Drain, Held
from penstock.media.hold.playlist import Master, Playlist, parse
from penstock.media.hold.proof import FIRST_KEYFRAME, STALL
from penstock.media.http import Response, get

#: Players begin so many segments before the end (RFC 8216, section 6.3.3).
NEWEST = 3
#: Renditions that are watched of one stream, at most.
MAX_RENDITIONS = 16
#: A playlist that has not moved for so many target durations stands still.
_STILL = 3.0
_MAX_PLAYLIST = 4 << 20
#: Seconds for one segment.
_SEGMENT = 30.0
_SYNC, _PACKET = 0x47, 188
#: How files of ISO/IEC 14496-12 begin, by the name of their first box.
_BOXES = (b"ftyp", b"styp", b"moof", b"moov", b"sidx", b"emsg", b"prft", b"free", b"mdat")


async def watch_hls(door: EdgeDoor, drain: Drain) -> "HlsWatched":
    """Fetch the newest segments of every rendition. Raise `MediaError`, `AddressRefused`."""
    watched = HlsWatched(door, drain)
    try:
        async with asyncio.timeout(FIRST_KEYFRAME):
            await watched.begin()
    except TimeoutError:
        watched.close("")
        raise SourceError(f"connected, but no segment within {FIRST_KEYFRAME:g} s") from None
    except BaseException:
        watched.close("")
        raise
    return watched


class HlsWatched:
    """A stream whose segments are fetched as they come."""

    def __init__(self, door: EdgeDoor, drain: Drain) -> None:
        self._door = door
        self._drain = drain
        self._loop = asyncio.get_running_loop()
        self._renditions: list[_Rendition] = []
        self._begun = False
        #: The segment that comes now.
        self._under_way: Held | Response | None = None
        self._received = 0
        self.sent = 0
        self._closed: asyncio.Future[str] = self._loop.create_future()

    @property
    def received(self) -> int:
        return self._received + (self._under_way.received if self._under_way else 0)

    @property
    def stall(self) -> float:
        return max([STALL, *(_STILL * rendition.target for rendition in self._renditions)])

    async def begin(self) -> None:
        """Find the renditions, and fetch what a player that comes now begins with."""
        found = await self._playlist(self._door.url)
        if isinstance(found, Playlist):
            self._renditions = [_Rendition(self._door.url)]
        else:
            self._renditions = [_Rendition(url) for url in found.playlists[:MAX_RENDITIONS]]
        if not self._renditions:
            raise SourceError("the playlist names no stream")
        for rendition in self._renditions:
            await self._look(rendition, found if isinstance(found, Playlist) else None)
        self._begun = True

    async def hold(self) -> None:
        """Fetch segments as they come until that fails; always raises `MediaError` or `AddressRefused`."""
        following = asyncio.ensure_future(self._follow())
        self._closed.add_done_callback(lambda _: following.cancel())
        try:
            await asyncio.wait([following])
            if self._closed.done():
                raise SourceError(self._closed.result())
            following.result()
        finally:
            following.cancel()
            with suppress(asyncio.CancelledError, Exception):
                await following

    def close(self, reason: str) -> None:
        """End it."""
        if not self._closed.done():
            self._closed.set_result(reason)

    async def _follow(self) -> None:
        while True:
            rendition = min(self._renditions, key=lambda one: one.due)
            await asyncio.sleep(rendition.due - self._loop.time())
            await self._look(rendition)

    async def _look(self, rendition: "_Rendition", found: Playlist | None = None) -> None:
        """Ask for a rendition's playlist, unless it is at hand, and fetch what is new in it."""
        asked = self._loop.time()
        playlist: Master | Playlist = found or await self._playlist(rendition.url)
        if isinstance(playlist, Master):
            raise SourceError("a playlist of playlists names another one")
        if playlist.ended:
            raise SourceError("the stream has ended")
        new = rendition.take(playlist, asked)
        if not new and asked - rendition.moved_at > _STILL * playlist.target:
            raise SourceError(f"the playlist has not moved for {asked - rendition.moved_at:.0f} s")
        for url in new:
            await self._fetch(url, playlist.encrypted)

    async def _playlist(self, url: str) -> Master | Playlist:
        response = await get(self._door, url, [self._door.scheme])
        try:
            async with asyncio.timeout(_SEGMENT):
                text = await response.read_all(_MAX_PLAYLIST)
        except TimeoutError:
            raise SourceError(f"the playlist has not come within {_SEGMENT:g} s") from None
        finally:
            self._received += response.received
            response.close()
        return parse(text, response.url)

    async def _fetch(self, url: str, encrypted: bool) -> None:
        """Fetch one segment, and throw it away."""
        if urlsplit(url).scheme != self._door.scheme:
            raise SourceError(f"a segment is served by another protocol ({urlsplit(url).scheme})")
        try:
            async with asyncio.timeout(_SEGMENT):
                await self._fetch_all(url, encrypted)
        except TimeoutError:
            raise SourceError(f"a segment has not come within {_SEGMENT:g} s") from None

    async def _fetch_all(self, url: str, encrypted: bool) -> None:
        response = await get(self._door, url, [self._door.scheme])
        try:
            begin = b""
            while len(begin) <= _PACKET and (data := await response.read()):
                begin += data
            if not begin or not (encrypted or _is_media(begin)):
                named = f" (the edge calls it {response.media_type})" if response.media_type else ""
                raise SourceError(f"a segment holds no media{named}")
            await self._throw_away(response)
        finally:
            response.close()
            self._received += self._under_way.received if self._under_way else 0
            self._under_way = None

    async def _throw_away(self, response: Response) -> None:
        """Take the rest of a segment. Of TLS it must be decrypted: else nobody knows how much has come."""
        if not self._begun or isinstance(response.sock, Feed):  # who waits to begin does not wait for the drain's round
            self._under_way = response
            while await response.read():
                pass
        else:
            held = self._under_way = self._drain.add(response.sock, received=response.received)
            try:
                reason = await held.wait_closed()
            finally:
                held.close("")
            if reason != CLOSED:
                raise SourceError(reason)
        if response.length is not None and self._under_way.received < response.length:
            raise SourceError("a segment breaks off")


class _Rendition:
    """One playlist of segments, and what has been fetched of it."""

    def __init__(self, url: str) -> None:
        self.url = url
        #: When to ask for it again, and when it last had something new; in loop time.
        self.due = 0.0
        self.moved_at = 0.0
        self.target = 0.0
        self._map = ""
        #: The newest segment that was fetched; None: none.
        self._last: int | None = None

    def take(self, playlist: Playlist, asked: float) -> list[str]:
        """Return the URLs to fetch now: of the first playlist what a player begins with, then all that is new."""
        if self._last is None or (playlist.segments and playlist.segments[-1][0] < self._last):
            new = playlist.segments[-NEWEST:]  # the first look, or its numbers begin anew
        else:
            last = self._last
            new = tuple(segment for segment in playlist.segments if segment[0] > last)[-NEWEST:]
        if new:
            self._last, self.moved_at = new[-1][0], asked
        elif self._last is None:
            raise SourceError("the playlist names no segment")
        self.target = playlist.target
        # As players ask (RFC 8216, section 6.3.4).
        self.due = asked + (playlist.target if new else playlist.target / 2)
        urls = [url for _, url in new]
        if playlist.map and playlist.map != self._map:
            self._map = playlist.map
            urls.insert(0, playlist.map)
        return urls


def _is_media(begin: bytes) -> bool:
    """Whether this is how MPEG-TS, ISO media, ADTS, or sound with an ID3 tag begins."""
    if begin[0] == _SYNC:
        return len(begin) <= _PACKET or begin[_PACKET] == _SYNC
    return begin[4:8] in _BOXES or begin.startswith(b"ID3") or (begin[0] == 0xFF and begin[1:2] >= b"\xf0")
