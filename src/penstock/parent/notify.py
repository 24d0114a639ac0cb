"""What the service manager is told, if one started us: the protocol of sd_notify(3)."""

import os
import socket
import time
from collections.abc import MutableMapping
from contextlib import suppress


class Manager:
    """The line to systemd, or to whatever speaks as it does; where there is none, nothing is said.

    Args:
        environ: ``NOTIFY_SOCKET``, ``WATCHDOG_USEC`` and ``WATCHDOG_PID`` are taken out of it, so that no child
            speaks in our name.
    """

    def __init__(self, environ: MutableMapping[str, str]) -> None:
        address = environ.pop("NOTIFY_SOCKET", "")
        wait, whom = environ.pop("WATCHDOG_USEC", ""), environ.pop("WATCHDOG_PID", "")
        #: An abstract address is written with ``@``.
        self._address = f"\0{address[1:]}" if address.startswith("@") else address
        self._sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) if address else None
        watched = wait.isdecimal() and whom in ("", str(os.getpid()))
        #: How often it wants to hear `alive`, in seconds; None: never.
        self.alive_every = int(wait) / 1e6 / 3 if self._sock and watched and int(wait) else None

    def ready(self, status: str) -> None:
        """Requests are answered, for the first time or again."""
        self._say("READY=1", f"STATUS={status}")

    def reloading(self) -> None:
        """`ready` will follow."""
        self._say("RELOADING=1", f"MONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")

    def status(self, status: str) -> None:
        """One line for people."""
        self._say(f"STATUS={status}")

    def alive(self) -> None:
        """All is well. If this is not said in time, everything is killed and started anew."""
        self._say("WATCHDOG=1")

    def stopping(self) -> None:
        self._say("STOPPING=1", "STATUS=stopping")

    def _say(self, *lines: str) -> None:
        if self._sock:
            with suppress(OSError):  # nobody listens, or is too slow: that is its own affair
                self._sock.sendto("\n".join(lines).encode(), self._address)
