"""What a transport is: a pair of leaves that connect, work and raise, found by a URL's scheme."""

from collections.abc import Callable, Mapping
from typing import NamedTuple, Protocol
from urllib.parse import urlsplit

from penstock.errors import MediaError
from penstock.media.meter import Meter
from penstock.media.pump import Connection, OnMessage
from penstock.media.stream import Receiver, Stream


class SourceLeaf(Protocol):
    """A place that media comes from."""

    async def run(self, connected: Callable[[Connection], None], on_media: OnMessage) -> None:
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


#: By the scheme of the URL.
Transports = Mapping[str, Transport]


def source_leaf(transports: Transports, url: str) -> SourceLeaf:
    """Return the leaf that takes this URL. Raise `MediaError`."""
    make = transports.get(urlsplit(url).scheme, Transport()).source
    if make is None:
        raise MediaError(f"the protocol {urlsplit(url).scheme} is not served for sources")
    return make(url)


def sink_leaf(transports: Transports, url: str) -> SinkLeaf:
    """Return the leaf that delivers to this URL. Raise `MediaError`."""
    make = transports.get(urlsplit(url).scheme, Transport()).sink
    if make is None:
        raise MediaError(f"the protocol {urlsplit(url).scheme} is not served for destinations")
    return make(url)
