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
    """What makes the leaves for a URL."""

    source: Callable[[str], SourceLeaf]
    sink: Callable[[str], SinkLeaf]


#: By the scheme of the URL.
Transports = Mapping[str, Transport]


def transport(transports: Transports, url: str) -> Transport:
    """Return the one for this URL. Raise `MediaError`."""
    scheme = urlsplit(url).scheme
    try:
        return transports[scheme]
    except KeyError:
        raise MediaError(f"the protocol {scheme} is not served") from None
