"""What a worker runs: a small graph of sources and sinks, as pure data.

A family makes a `Plan` from its spec; the engine applies the difference between the plan that runs and
the plan that is wanted. A node whose id and config are equal is not touched.
"""

from urllib.parse import urlsplit

import msgspec

_OVER_HTTP = "HLS, MPEG-TS and audio over HTTP are taken apart by FFmpeg"
#: Sources that need an FFmpeg child, by the scheme of their URLs, and why: one costs some ten times what the worker
#: itself needs for a stream.
_CHILD_SOURCES = {"http": _OVER_HTTP, "https": _OVER_HTTP}


class Source(msgspec.Struct, frozen=True, kw_only=True):
    """A place that media comes from."""

    #: Stable over the task's life: ``source``, later ``backup``.
    id: str
    #: The caller's URL, with its secrets; masked wherever it is shown.
    url: str

    @property
    def child(self) -> str:
        """Why an FFmpeg child takes this source; empty: none does, the worker takes it itself."""
        return _CHILD_SOURCES.get(urlsplit(self.url).scheme, "")


class Sink(msgspec.Struct, frozen=True, kw_only=True):
    """A place that media goes to."""

    #: Stable over the task's life: ``sink``, later ``sink.backup``.
    id: str
    url: str


class EndRules(msgspec.Struct, frozen=True, kw_only=True):
    """When a run ends by itself. Times are Unix milliseconds."""

    end_at: int | None = None


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """A task's graph: each sink takes the first of `sources` that is healthy."""

    #: In order of preference.
    sources: tuple[Source, ...]
    sinks: tuple[Sink, ...]
    end: EndRules = EndRules()
    #: Moved by Restart: both sides are closed and begin anew.
    generation: int = 0
