"""A hundred thousand hostile sessions (a million in `make soak`) against every side of RTMP, FLV and HTTP: nothing but
`MediaError`, and nothing kept."""

import asyncio
import random
import resource
import socket

import pytest

from penstock.errors import MediaError
from penstock.hub.http import MAX_REQUEST, read_request
from tests.hostile import ROLES, attack, damaged, mutated

#: How many, and how much memory (MB) they may leave behind.
COUNTS = [
    pytest.param(25_000, id="25000"),
    pytest.param(250_000, id="250000", marks=[pytest.mark.soak, pytest.mark.timeout(3600)]),
]
LEFT_BEHIND_MB = 48
REQUESTS = [
    b"GET /live/test.flv?a=1 HTTP/1.1\r\nHost: h\r\nUser-Agent: x\r\n\r\n",
    b"GET /live/test.flv HTTP/1.0\r\n\r\n",
    b"POST /whip HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello",
    b"GET /live/%e4%b8%ad.flv HTTP/1.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
    b"GET http://h:1/live/test.flv HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
]


@pytest.mark.parametrize("name", ROLES)
async def test_recorded_sessions_are_valid(name: str) -> None:
    """What the mutations start from is taken without complaint, but for the one that sends us away."""
    role, sessions, write = ROLES[name]
    refused = [await attack(role, write(*session), random.Random(1)) for session in sessions]
    assert refused.count(True) == (name in ("source", "destination"))


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("name", ROLES)
async def test_mutated_sessions_raise_nothing_but_media_errors(name: str, count: int) -> None:
    """Handshake, chunks, commands, Timeline and lane: wrong bytes are the peer's fault, never a defect of ours."""
    rng = random.Random(20260101)
    role, recordings, write = ROLES[name]
    sessions = damaged(recordings, write, rng)
    refused = 0
    before = _memory_mb()
    for at, data in enumerate(mutated(sessions, rng, count)):
        seed = rng.randrange(1 << 32)
        try:
            refused += await attack(role, data, random.Random(seed))
        except Exception as error:
            error.add_note(f"{name} {at}, seed {seed}: {data.hex()}")
            raise
        if at % 100 == 0:
            await asyncio.sleep(0)  # the loop forgets its timers when it runs
    # The mutations bite, and do not always break what they touch.
    assert count * 0.1 < refused < count * 0.95
    assert _memory_mb() - before < LEFT_BEHIND_MB


@pytest.mark.parametrize("count", COUNTS)
async def test_mutated_requests_raise_nothing_but_media_errors(count: int) -> None:
    """The hub's HTTP reader."""
    rng = random.Random(3)
    for data in mutated(REQUESTS, rng, count // 3):
        ours, theirs = socket.socketpair()
        with ours, theirs:
            ours.setblocking(False)
            theirs.sendall(data[:MAX_REQUEST])
            theirs.shutdown(socket.SHUT_WR)
            try:
                request = await read_request(ours)
            except MediaError:
                continue
            assert request.method


@pytest.mark.parametrize("name", ROLES)
async def test_garbage_is_refused(name: str) -> None:
    """Random bytes after the handshake."""
    rng = random.Random(2)
    for _ in range(1000):
        await attack(ROLES[name][0], rng.randbytes(rng.randrange(400)), rng)
        await asyncio.sleep(0)


def _memory_mb() -> float:
    """The most that this process has ever had, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000
