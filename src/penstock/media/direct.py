"""A peer that a child reaches by itself, over UDP: what it is given is the address that was checked, as a literal."""

import asyncio
from typing import Self
from urllib.parse import urlsplit

from penstock.errors import MediaError
from penstock.media import srt
from penstock.net import Policy

#: Seconds for the resolver.
_RESOLVER = 10.0
#: Milliseconds for SRT's handshake.
_HANDSHAKE = "3000"


class Direct:
    """The way of one child. `url` is what it gets as its input or output, once this is used as a context manager."""

    url: str
    failure = ""

    def __init__(self, policy: Policy, peer: str) -> None:
        """`peer` is the caller's URL."""
        self._policy = policy
        self._peer = peer
        #: What nobody else is to see of the child's arguments.
        self.secrets: tuple[str, ...] = ()

    async def __aenter__(self) -> Self:
        """Raise `AddressRefused` or `MediaError`."""
        parts = urlsplit(self._peer)
        host = parts.hostname or ""
        try:
            async with asyncio.timeout(_RESOLVER):
                address, port = (await self._policy.resolve(host, parts.port, parts.scheme))[0]
        except TimeoutError:
            raise MediaError(f"cannot resolve {host} within {_RESOLVER:g} s") from None
        self.url = f"{parts.scheme}://{f'[{address}]' if ':' in address else address}:{port}"
        return self

    async def __aexit__(self, *_: object) -> None:
        pass

    def explain(self, reason: str) -> str:
        """Why the child failed, in a user's words."""
        return reason


class Srt(Direct):
    """The way to an SRT peer that we call. `options` are FFmpeg's."""

    def __init__(self, policy: Policy, peer: str) -> None:
        super().__init__(policy, peer)
        try:
            named = srt.parse(peer)
        except ValueError as error:
            raise MediaError(str(error)) from error
        self.secrets = tuple(named.secret.values())
        asked = {**named.options, **named.secret, "connect_timeout": _HANDSHAKE}
        self.options = [word for name, value in asked.items() for word in (f"-{name}", value)]

    def explain(self, reason: str) -> str:
        return srt.explain(reason)
