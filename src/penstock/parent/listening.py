"""Listening sockets. The parent opens them and keeps them, so that a child may die without a refused connection."""

import errno
import socket
import time

from penstock.config import Address, Inherited, Listen
from penstock.errors import ConfigError

BACKLOG = 1024
#: How long to wait for a port that a dying process still holds, in seconds.
PATIENCE = 2.0


def open_socket(where: Listen, name: str) -> socket.socket:
    """A socket that listens at `where`, or the inherited one. `name` is the setting's, for the error.

    Raise `ConfigError` if nobody can listen there.
    """
    if isinstance(where, Inherited):
        try:
            return socket.socket(fileno=where.fd)
        except OSError as error:
            raise ConfigError(f"{name}: {where} is not a socket ({error.strerror})") from None
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            return _bind(where)
        except OSError as error:
            if error.errno != errno.EADDRINUSE or time.monotonic() > deadline:
                raise ConfigError(f"{name}: cannot listen on {where}: {error.strerror}") from None
            time.sleep(0.05)


def _bind(where: Address) -> socket.socket:
    family, kind, protocol, _, address = socket.getaddrinfo(
        where.host, where.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    sock = socket.socket(family, kind, protocol)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(address)
        sock.listen(BACKLOG)
    except OSError:
        sock.close()
        raise
    return sock


def bound(sock: socket.socket) -> Address:
    """Where a socket listens, which may be everywhere."""
    host, port = sock.getsockname()[:2]
    return Address(host, port)


def reach(sock: socket.socket, *, host: str | None = None) -> Address:
    """Where a listening socket is reached: as `host` if that is given, on loopback if it listens everywhere."""
    where = bound(sock)
    if host is None:
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(where.host, where.host)  # noqa: S104 - compared, not bound
    return Address(host, where.port)
