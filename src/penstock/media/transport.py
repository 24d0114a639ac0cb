"""What a transport is: a pair of leaves that connect, work and raise, found by what a node of the plan is."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol
from urllib.parse import urlsplit

from penstock.errors import MediaError
from penstock.media.meter import Meter
from penstock.media.plan import Playlist, Sink, Source
from penstock.media.pump import Connection, OnMessage
from penstock.media.stream import Receiver, Stream
from penstock.media.supervisor import Counted

#: Takes what happens, for the task's history: a name and a sentence.
OnEvent = Callable[[str, str], None]


class SourceLeaf(Protocol):
    """A place that media comes from."""

    async def run(self, connected: Callable[[Counted], None], on_media: OnMessage) -> None:
        """Take media until it ends; always raises `MediaError` or `AddressRefused`."""
        ...


class SinkLeaf(Protocol):
    """A place that media goes to."""

    async def run(self, connected: Callable[[Connection, Receiver], None], stream: Stream, meter: Meter) -> None:
        """Deliver `stream` until that fails; always raises `MediaError` or `AddressRefused`. Cancelled, end well."""
        ...


class Transport(NamedTuple):
    """What makes the leaves for a URL; None: it cannot be that."""

    source: Callable[[str], SourceLeaf] | None = None
    sink: Callable[[str], SinkLeaf] | None = None


class Transports:
    """What makes the leaf of each node of a plan.

    `schemes` has transports by the scheme of a node's URL, `sources` the makers of leaves for those sources that are
    more than a URL, by the node's type; they take the node, and whom to tell what happens.
    """

    def __init__(
        self,
        schemes: Mapping[str, Transport],
        sources: Mapping[type[Any], Callable[[Any, OnEvent], SourceLeaf]] | None = None,
    ) -> None:
        self._schemes = schemes
        self._sources = sources or {}

    def source(self, node: Source | Playlist, on_event: OnEvent) -> SourceLeaf:
        """Return the leaf that takes media from this node. Raise `MediaError`."""
        if type(node) in self._sources:
            return self._sources[type(node)](node, on_event)
        if not isinstance(node, Source):
            raise MediaError(f"{type(node).__name__.lower()}s are not served here")
        scheme = urlsplit(node.url).scheme
        make = self._schemes.get(scheme, Transport()).source
        if make is None:
            raise MediaError(f"the protocol {scheme} is not served for sources")
        return make(node.url)

    def sink(self, node: Sink) -> SinkLeaf:
        """Return the leaf that delivers to this node. Raise `MediaError`."""
        scheme = urlsplit(node.target).scheme
        make = self._schemes.get(scheme, Transport()).sink
        if make is None:
            raise MediaError(f"the protocol {scheme} is not served for destinations")
        return make(node.target)
