"""What the machine gives: ports, time, files."""

import ctypes
import errno
import resource
import socket
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from penstock.config import Address, Config
from penstock.doctor.finding import Finding

#: Nobody runs this version before that day: the clock is wrong.
RELEASED = datetime(2026, 1, 1, tzinfo=UTC)
#: Files that a task may have open in one process: sources and sinks, their pipes.
FILES_PER_TASK = 4
#: Files for everything else: viewers, callers, the database.
FILES_BESIDES = 1000

_LISTENING = "0A"
#: From <sys/timex.h>: what adjtimex(2) answers, and a structure that is large enough for it.
_TIME_ERROR, _TIMEX_BYTES = 5, 512


def ports(config: Config, pid: int | None) -> Iterator[Finding]:
    """Whether each port can be listened on, or is ours already. `pid`: the server's, if it runs."""
    for name in ("http", "https", "media", "rtmp"):
        where = getattr(config.server, name)
        if isinstance(where, Address):
            yield _port(f"server.{name}", where, pid)


def _port(name: str, where: Address, pid: int | None) -> Finding:
    advice = f"end that program, or let {name} name another port"
    if where.port == 0:
        return Finding.ok(name, "a port that the system chooses")
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            where.host, where.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind, protocol) as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind(address)
            sock.listen(1)
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            advice = f"let {name} name an address of this machine, and a port that you may use"
            return Finding.fail(name, f"nobody can listen on {where}: {error.strerror}", advice)
        holders = _listeners(where.port)
        if pid and (_sockets(pid) is None or (_sockets(pid) or set()) & holders):
            return Finding.ok(name, f"{where} is served by pid {pid}")
        return Finding.fail(name, f"{where} is taken by {_owner(holders)}", advice)
    return Finding.ok(name, f"{where} is free")


def _listeners(port: int) -> set[str]:
    """The inodes of all sockets that listen on a port."""
    found = set()
    for table in ("tcp", "tcp6"):
        with suppress(OSError):
            for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
                fields = line.split()
                if fields[3] == _LISTENING and int(fields[1].rpartition(":")[2], 16) == port:
                    found.add(fields[9])
    return found


def _sockets(pid: int) -> set[str] | None:
    """The inodes of a process's sockets; None: we may not know."""
    found = set()
    try:
        for descriptor in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(OSError):  # closed meanwhile
                kind, _, number = str(descriptor.readlink()).partition(":")
                if kind == "socket":
                    found.add(number.strip("[]"))
    except OSError:
        return None
    return found


def _owner(inodes: set[str]) -> str:
    """Who holds one of these sockets, as far as we may know."""
    for process in Path("/proc").iterdir():
        if process.name.isdecimal() and (_sockets(int(process.name)) or set()) & inodes:
            with suppress(OSError):
                return f"{(process / 'comm').read_text().strip()} (pid {process.name})"
    return "another program"


def clock(now: datetime) -> Finding:
    """Whether the time can be right, and is kept right. Callers' signatures carry it, and tasks begin and end by it."""
    text = f"{now:%Y-%m-%d %H:%M:%S} UTC"
    advice = "apt-get install systemd-timesyncd (or chrony): calls are refused when clocks differ by 5 minutes"
    if now < RELEASED:
        return Finding.fail("clock", f"{text} cannot be", advice)
    state = ctypes.CDLL(None, use_errno=True).adjtimex(ctypes.create_string_buffer(_TIMEX_BYTES))
    if state < 0:
        return Finding.ok("clock", f"{text}; whether it is kept synchronised cannot be told here")
    if state == _TIME_ERROR:
        return Finding.warn("clock", f"{text}, and nothing keeps it synchronised", advice)
    return Finding.ok("clock", f"{text}, synchronised")


def files(config: Config) -> Finding:
    """Whether a process may open as many files as its tasks need. The server raises its limit as far as it may."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = FILES_PER_TASK * config.worker.capacity * config.server.workers + FILES_BESIDES
    if hard != resource.RLIM_INFINITY and hard < needed:
        text = f"a process may open {hard} files, and {needed} may be needed"
        return Finding.warn("files", text, "LimitNOFILE=524288 in the systemd unit, or `ulimit -Hn 524288` before")
    return Finding.ok(
        "files", f"a process may open {'as many as it likes' if hard == resource.RLIM_INFINITY else hard}"
    )
