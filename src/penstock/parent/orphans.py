"""What a dead process leaves behind: children that were not yet, or never, tied to its life.

A worker's child is killed by the kernel with its worker (`penstock.media.child`), but between its first instruction and
the one that asks for that, nobody would end it. So the parent adopts what its children leave (PR_SET_CHILD_SUBREAPER,
prctl(2)), ends it and reaps it.
"""

import asyncio
import ctypes
import os
import signal
from collections.abc import Callable, Collection
from contextlib import suppress
from pathlib import Path

_PR_SET_CHILD_SUBREAPER = 36


def end_orphans(own: Callable[[], Collection[int]]) -> None:
    """From now on, end each process that becomes a child of this one and is not among its `own`.

    Children that are there already are not ours: a script may have started them before it became this program.
    Called in the main thread, with the event loop running: the kernel tells of every death by SIGCHLD.
    """
    inherited = frozenset(_children())
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1)
    asyncio.get_running_loop().add_signal_handler(signal.SIGCHLD, lambda: _sweep(inherited.union(own())))


def _sweep(spared: Collection[int]) -> None:
    for pid in _children():
        if pid in spared:
            continue
        with suppress(ProcessLookupError, ChildProcessError):
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, os.WNOHANG)  # the death of one that still lives makes a SIGCHLD of its own


def _children() -> list[int]:
    """All children of this process (proc(5)); none where the kernel does not list them."""
    lists = Path("/proc/self/task").glob("*/children")
    return [int(pid) for words in lists for pid in words.read_text().split()]
