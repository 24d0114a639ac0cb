"""Watches a stream on an edge by FLV over HTTP."""

import asyncio

from penstock.errors import MediaError, SourceError
from penstock.media.feed import bare
from penstock.media.flv import FlvReader
from penstock.media.hold.door import EdgeDoor
from penstock.media.hold.drain import Drain
from penstock.media.hold.proof import FIRST_KEYFRAME, STALL, Proof
from penstock.media.http import Response, get


async def watch_flv(door: EdgeDoor, drain: Drain) -> "FlvWatched":
    """Connect and wait for a keyframe. Raise `MediaError`, `AddressRefused`."""
    response = await get(door, door.url, [door.scheme])
    proof = Proof()
    try:
        async with asyncio.timeout(FIRST_KEYFRAME):
            await _prove(response, proof)
    except TimeoutError:
        response.close()
        raise proof.late() from None
    except BaseException:
        response.close()
        raise
    return FlvWatched(response, drain)


async def _prove(response: Response, proof: Proof) -> None:
    reader = FlvReader()
    while not proof.complete:
        data = await response.read()
        if not data:
            raise SourceError("the edge ended the stream before a keyframe came")
        try:
            reader.read(data, lambda message: proof.take(message[0], message[2]))
        except MediaError as error:
            named = f" (the edge calls it {response.media_type})" if response.media_type else ""
            raise SourceError(error.message + named) from error


class FlvWatched:
    """A stream that plays."""

    stall = STALL

    def __init__(self, response: Response, drain: Drain) -> None:
        # What nobody reads needs no decryption.
        self._held = drain.add(bare(response.sock), received=response.received)

    @property
    def received(self) -> int:
        return self._held.received

    @property
    def sent(self) -> int:
        return self._held.sent

    async def hold(self) -> None:
        """Throw the stream away until it ends; always raises `SourceError`."""
        raise SourceError(await self._held.wait_closed())

    def close(self, reason: str) -> None:
        """End it."""
        self._held.close(reason)
