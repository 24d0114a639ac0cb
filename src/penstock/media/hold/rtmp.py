"""Watches a stream on an edge by RTMP play.

Once a keyframe has come nothing is parsed any more, so pings go unseen: the viewer answers unasked, in time for any
server's patience, and acknowledges the bytes that it throws away (RTMP 1.0, sections 5.4.3 and 7.1.7).
"""

import asyncio
import socket

from penstock.errors import MediaError, SourceError
from penstock.media.hold.door import EdgeDoor
from penstock.media.hold.drain import Drain
from penstock.media.hold.proof import FIRST_KEYFRAME, STALL, Proof
from penstock.media.rtmp import chunk
from penstock.media.rtmp.client import ClientSession
from penstock.media.rtmp.refusal import without_key
from penstock.media.rtmp.transport import ending

#: Seconds between two answers to pings that were not seen. nginx asks, where nothing flows, after 60 s, and waits 30 s.
KEEP_ALIVE = 20.0


async def watch_rtmp(door: EdgeDoor, drain: Drain, *, keep_alive: float = KEEP_ALIVE) -> "RtmpWatched":
    """Connect and wait for a keyframe. Raise `MediaError`, `AddressRefused`."""
    session = await ClientSession.play(door, door.url)
    proof = Proof()
    try:
        async with asyncio.timeout(FIRST_KEYFRAME):
            await _prove(session, proof)
    except TimeoutError:
        session.close()
        raise proof.late() from None
    except MediaError as error:
        session.close()
        raise SourceError(without_key(error.message, session.url)) from error
    except BaseException:
        session.close()
        raise
    return RtmpWatched(session, drain, keep_alive)


async def _prove(session: ClientSession, proof: Proof) -> None:
    while True:
        while session.backlog:
            type_, _, payload = session.backlog.popleft()
            proof.take(type_, payload)
            if type_ in (chunk.COMMAND, chunk.USER_CONTROL) and (reason := ending(type_, payload)):
                raise SourceError(reason)
            if answer := chunk.answer(type_, payload):
                await session.send(answer)
        if proof.complete:
            return
        await session.take_in()


class RtmpWatched:
    """A stream that plays."""

    stall = STALL

    def __init__(self, session: ClientSession, drain: Drain, keep_alive: float) -> None:
        assert isinstance(session.sock, socket.socket), "RTMP comes by no other wire, wherever a server sends us"
        self._held = drain.add(session.sock, received=session.reader.received)
        self._half_window = session.reader.window // 2
        self._keep_alive = keep_alive
        if self._half_window:
            self._held.due = self._held.received
            self._held.on_due = self._acknowledge

    @property
    def received(self) -> int:
        return self._held.received

    @property
    def sent(self) -> int:
        return self._held.sent

    def _acknowledge(self) -> None:
        self._held.due = self._held.received + self._half_window
        self._held.send(chunk.control(chunk.ACKNOWLEDGEMENT, self._held.received & 0xFFFFFFFF))

    async def hold(self) -> None:
        """Throw the stream away until it ends; always raises `SourceError`."""
        begun = asyncio.get_running_loop().time()
        closed = self._held.closed
        while not (await asyncio.wait([closed], timeout=self._keep_alive))[0]:
            elapsed = round((asyncio.get_running_loop().time() - begun) * 1000)
            self._held.send(chunk.user_control(chunk.PONG, elapsed & 0xFFFFFFFF))
        raise SourceError(closed.result())

    def close(self, reason: str) -> None:
        """End it."""
        self._held.close(reason)
