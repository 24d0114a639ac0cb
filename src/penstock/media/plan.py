"""What a worker runs: a small graph of sources and sinks, or streams to hold on edge nodes, as pure data.

A family makes a `Plan` from its spec; the engine applies the difference between the plan that runs and
the plan that is wanted. A node whose id and config are equal is not touched.
"""

from typing import Literal
from urllib.parse import urlsplit

import msgspec

#: What an FFmpeg child costs beside a stream that the worker itself relays, which costs 1 (measured: about 0.9 % of a
#: core at 2 Mbit/s, and 0.09 %).
CHILD_COST = 10
#: Holds that cost as much as such a stream: a worker of 200 units holds 8,000.
HOLDS_PER_UNIT = 40

_OVER_HTTP = "HLS, DASH, MPEG-TS and audio over HTTP are taken apart by FFmpeg"
#: Sources that need an FFmpeg child, by the scheme of their URLs, and why.
_CHILD_SOURCES = {
    "http": _OVER_HTTP,
    "https": _OVER_HTTP,
    "rtsp": "RTSP is spoken by FFmpeg",
    "srt": "SRT is spoken by FFmpeg",
}
#: The same for sinks.
_CHILD_SINKS = {
    "rtsp": "RTSP is spoken by FFmpeg",
    "rtp": "MPEG-TS over RTP is written by FFmpeg",
    "srt": "SRT is spoken by FFmpeg",
}


def is_http_flv(url: str) -> bool:
    """Whether a URL means FLV over HTTP or HTTPS: its path ends with ``.flv``."""
    parts = urlsplit(url)
    return parts.scheme in ("http", "https") and parts.path.lower().endswith(".flv")


class Source(msgspec.Struct, frozen=True, kw_only=True):
    """A place that media comes from."""

    #: Stable over the task's life: ``source``, later ``backup``.
    id: str
    #: The caller's URL, with its secrets; masked wherever it is shown.
    url: str

    @property
    def child(self) -> str:
        """Why an FFmpeg child takes this source; empty: none does, the worker takes it itself."""
        return "" if is_http_flv(self.url) else _CHILD_SOURCES.get(urlsplit(self.url).scheme, "")


class Position(msgspec.Struct, frozen=True, kw_only=True):
    """A place in a playlist."""

    #: Index of the file, from 0.
    item: int = 0
    #: Media time in that file, in ms.
    offset_ms: int = 0


class Playlist(msgspec.Struct, frozen=True, kw_only=True):
    """Files that are played one after another, round by round, as one source that never breaks."""

    #: Stable over the task's life: ``source``, ``backup``.
    id: str
    #: The caller's URLs, one at least, with their secrets; masked wherever they are shown.
    urls: tuple[str, ...]
    #: How often the list is played; None: for ever.
    rounds: int | None = None
    #: Where the first round begins.
    start: Position = Position()
    #: Raised when the caller names another `start`: what runs goes there at once, and its first round begins anew.
    moved: int = 0
    #: Whether a changed list is taken up when the current file has ended; else at once.
    finish: bool = False
    #: Whether MP4 files are played from a copy on this machine.
    local: bool = False

    @property
    def url(self) -> str:
        """What stands for the list where one URL is shown: its first."""
        return self.urls[0]

    @property
    def child(self) -> str:
        """Why an FFmpeg child takes this source."""
        return "files are taken apart by FFmpeg"


class Sink(msgspec.Struct, frozen=True, kw_only=True):
    """A place that media goes to."""

    #: Stable over the task's life: ``sink``, later ``sink.backup``.
    id: str
    #: The caller's URL, with its secrets; masked wherever it is shown.
    url: str
    #: Our own hub's ticket, as ``name=value``: what is added to the URL to connect, and no business of the caller's.
    ticket: str = ""

    @property
    def target(self) -> str:
        """Where to connect."""
        return f"{self.url}{'&' if '?' in self.url else '?'}{self.ticket}" if self.ticket else self.url

    @property
    def child(self) -> str:
        """Why an FFmpeg child delivers to this sink; empty: none does, the worker does it itself."""
        return _CHILD_SINKS.get(urlsplit(self.url).scheme, "")


class Hold(msgspec.Struct, frozen=True, kw_only=True):
    """A stream that is to be kept warm on one edge node: watched there as a viewer would, and thrown away."""

    #: Stable over the task's life: ``EDGE/PROTOCOL``.
    id: str
    #: The edge's name, and where its audience is.
    edge: str
    area: str
    #: The caller's play URL, with its secrets; masked wherever it is shown.
    url: str
    #: RTMP play, FLV over HTTP, or an HLS playlist with its segments.
    protocol: Literal["rtmp", "flv", "hls"]
    #: Whether FLV or HLS comes over HTTPS.
    tls: bool = False
    #: Where to connect: the operator's own address, which no network policy is asked about.
    host: str
    port: int
    #: What a viewer names there: the ``Host`` header, or the host of RTMP's ``tcUrl``;
    #: with a port if it is not the usual one.
    vhost: str
    #: What a viewer asks for there: ``/APP/STREAM``, ``/APP/STREAM.flv``, ``/APP/STREAM.m3u8``.
    path: str
    #: What follows the question mark, with its secrets; empty: nothing.
    query: str = ""
    #: How many streams one worker may hold on this edge at once; 0: no limit.
    concurrency: int = 0


def cost_of(holds: int) -> int:
    """What so many holds cost, one at least."""
    return max(1, -(-holds // HOLDS_PER_UNIT))


class EndRules(msgspec.Struct, frozen=True, kw_only=True):
    """When a run ends by itself. Times are Unix milliseconds."""

    end_at: int | None = None


#: What is shown while no source is there: nothing, a picture of the operator's, or the last one that was sent.
SlateMode = Literal["off", "picture", "last"]


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """A task's graph: each sink takes the first of `sources` that is healthy, each of `holds` stands alone.

    A plan has sources and sinks, or holds; one of a stream that no edge node serves has neither.
    """

    #: In order of preference.
    sources: tuple[Source | Playlist, ...] = ()
    sinks: tuple[Sink, ...] = ()
    holds: tuple[Hold, ...] = ()
    #: None: as the server's setting says. It does not change while the plan runs.
    slate: SlateMode | None = None
    end: EndRules = EndRules()
    #: Raised by Restart: both sides are closed, then all begins anew.
    generation: int = 0

    @property
    def cost(self) -> int:
        """Cost units: one for each live source, since those that stand by are connected all the time, or for each
        `HOLDS_PER_UNIT` holds, one at least; and `CHILD_COST` for each source and sink that needs a child."""
        children = sum(bool(node.child) for node in (*self.sources, *self.sinks))
        live = sum(isinstance(source, Source) for source in self.sources)
        return max(live, cost_of(len(self.holds))) + CHILD_COST * children
