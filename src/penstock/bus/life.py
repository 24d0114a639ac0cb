"""Who lives: one lock file for each life of a process.

A process that serves tasks takes an id that is never used again, and holds an exclusive ``flock`` on
``DATA/run/<id>.lock`` until it is gone, however it goes. Its life is what the kernel says of that lock, so
nobody needs a clock, and a process that is stopped or slow is not mistaken for a dead one.
"""

import fcntl
import os
import secrets
from contextlib import suppress
from pathlib import Path


class Incarnation:
    """One life of this process: its id, and the lock that it holds from the start to the end.

    The file appears under its name only when it is locked: who finds it unlocked has found a dead one's.
    The descriptor is close-on-exec, so that no child keeps a dead owner's lock.
    """

    def __init__(self, run: Path, letter: str) -> None:
        """Begin a life. `letter` tells what the process is, e.g. ``w`` for a worker."""
        self.id = f"{letter}-{secrets.token_hex(6)}"
        run.mkdir(mode=0o700, exist_ok=True)
        self._path = run / f"{self.id}.lock"
        unlocked = run / f"{self.id}.new"
        self._fd = os.open(unlocked, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.write(self._fd, f"{os.getpid()}\n".encode())
        unlocked.rename(self._path)

    def end(self) -> None:
        """Be dead from now on."""
        self._path.unlink(missing_ok=True)
        os.close(self._fd)


def alive(run: Path, incarnation: str) -> bool:
    """Whether a process holds this incarnation's lock. What cannot be found out counts as alive."""
    try:
        fd = os.open(run / f"{incarnation}.lock", os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    else:
        return False
    finally:
        os.close(fd)


def bury(run: Path) -> list[str]:
    """Remove the files of incarnations that are dead; returns their ids. Many may do so at once."""
    try:
        names = {path.stem for path in run.iterdir() if path.suffix in (".lock", ".sock")}
    except OSError:
        return []
    dead = sorted(name for name in names if not alive(run, name))
    for incarnation in dead:
        # The lock goes last: while it is there, somebody else can still find the socket's owner dead.
        for suffix in (".sock", ".lock"):
            with suppress(OSError):
                (run / f"{incarnation}{suffix}").unlink()
    return dead
