"""The way to an edge node: its address is the operator's; wherever it sends us from there, the policy is asked."""

import socket
import ssl
from urllib.parse import urlsplit

from penstock.media.plan import Hold
from penstock.net import Policy

_USUAL_PORTS = {"rtmp": 1935, "http": 80, "https": 443}


class EdgeDoor:
    """Connects to the edge for URLs that mean it: those of its own address, and those of the name that viewers use."""

    def __init__(self, policy: Policy, hold: Hold) -> None:
        self._policy = policy
        self._host, self._port = hold.host, hold.port
        #: How it is asked; it may not send us on by another protocol.
        self.scheme = "rtmp" if hold.protocol == "rtmp" else "https" if hold.tls else "http"
        #: What is asked for there.
        self.url = f"{self.scheme}://{hold.vhost}{hold.path}{f'?{hold.query}' if hold.query else ''}"
        self._own = {_place(self.url), (hold.host.lower(), hold.port)}

    async def connect(self, url: str, *, patience: float = 10) -> socket.socket:
        """Return a connected, non-blocking TCP socket. Raise `AddressRefused` or `Unreachable`."""
        if _place(url) in self._own:
            return await self._policy.connect_unchecked(self._host, self._port, patience=patience)
        return await self._policy.connect(url, patience=patience)

    def is_hub(self, host: str, port: int | None, scheme: str = "rtmp") -> bool:
        """Whether this means our own hub."""
        return self._policy.is_hub(host, port, scheme)

    def tls(self, host: str) -> ssl.SSLContext:
        """With what a connection to this host is secured."""
        return self._policy.tls(host)


def _place(url: str) -> tuple[str, int] | None:
    """The host and port that a URL means; None: it cannot be understood."""
    try:
        parts = urlsplit(url)
        return parts.hostname or "", parts.port or _USUAL_PORTS.get(parts.scheme, 0)
    except ValueError:
        return None
