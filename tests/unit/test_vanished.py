"""Destinations that are gone and never said so: no FIN, no reset, real sockets in real time."""

import ctypes
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from struct import pack
from typing import Any

import pytest

from penstock import net
from tests.unit.stage import BIG, KEY, MEDIA, Stage, plan, staged

#: From asm-generic/socket.h and linux/filter.h.
SO_ATTACH_FILTER, RETURN = 26, 0x06
#: A destination in a process of its own: its port on a line, then it takes what comes.
DESTINATION = """
import asyncio
from tests.rtmp_peer import Sink

async def main():
    async with Sink() as sink:
        print(sink.port, flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""


@pytest.fixture(autouse=True)
def _hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel gives up after a second, not after ten."""
    monkeypatch.setattr(net, "_USER_TIMEOUT", 1)


def vanish(sock: Any) -> None:
    """Take in no packet any more and answer none, as a machine that has lost its power."""
    nothing = ctypes.create_string_buffer(pack("HBBI", RETURN, 0, 0, 0))
    sock.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, pack("HL", 1, ctypes.addressof(nothing)))


async def test_a_destination_whose_machine_is_gone_is_found_and_connected_anew() -> None:
    """By what it does not acknowledge; the source is not touched."""
    async with staged() as stage:
        origin, sink = await stage.origin(MEDIA), await stage.sink()
        stage.engine.run(KEY, 1, plan(origin, sink))
        await stage.until_active()
        await sink.until(lambda: sink.last.frames)
        vanish(sink.last.writer.get_extra_info("socket"))
        await sink.until(lambda: len(sink.connections) == 2 and sink.last.frames)
        assert lost(stage)
        assert len(origin.connections) == 1


@asynccontextmanager
async def destination() -> AsyncIterator["tuple[subprocess.Popen[str], str]"]:
    """A destination's process and its URL."""
    with subprocess.Popen([sys.executable, "-c", DESTINATION], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process, f"rtmp://127.0.0.1:{int(process.stdout.readline())}/live/test"
        finally:
            process.kill()


async def test_a_destination_that_stands_still_is_given_up_once_its_window_is_shut() -> None:
    """Its kernel acknowledges for it, but nobody takes anything; when it goes on it gets the stream again."""
    async with staged() as stage, destination() as (process, url):
        origin = await stage.origin(BIG)
        stage.engine.run(KEY, 1, plan(origin, url))
        await stage.until_active()
        os.kill(process.pid, signal.SIGSTOP)
        await stage.until(lambda: lost(stage))
        os.kill(process.pid, signal.SIGCONT)
        await stage.until_active()


def lost(stage: Stage) -> bool:
    """Whether the kernel has given the destination up."""
    return any(name == "sink.lost" and "connection timed out" in text for _, name, text in stage.events)
