"""The client's side: play a stream from a server, or publish one to it."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Self

from penstock.errors import MediaError
from penstock.media.rtmp import amf, chunk
from penstock.media.rtmp.session import Closed, Session, split_url
from penstock.net import Policy

#: Seconds for the whole command phase: handshake to the server's consent.
PATIENCE = 10
#: How much a server may have buffered for a player, in ms: a live stream is wanted as it comes.
_PLAY_BUFFER = 1000


class ClientSession(Session):
    """A session that we opened, in which the server has agreed to play or to take our media."""

    #: The message stream that media uses.
    stream_id = 0

    @classmethod
    async def play(cls, policy: Policy, url: str) -> Self:
        """Connect and ask for a stream. Raise `MediaError`, `AddressRefused`."""
        return await cls._open(policy, url, cls._play)

    @classmethod
    async def publish(cls, policy: Policy, url: str) -> Self:
        """Connect and offer a stream. Raise `MediaError`, `AddressRefused`."""
        return await cls._open(policy, url, cls._publish)

    @classmethod
    async def _open(cls, policy: Policy, url: str, ask: Callable[[Self, str], Awaitable[None]]) -> Self:
        session = cls(await policy.connect(url))
        try:
            async with asyncio.timeout(PATIENCE):
                await ask(session, url)
        except TimeoutError:
            session.close()
            raise MediaError(f"connected, but no answer within {PATIENCE} s") from None
        except Closed:
            session.close()
            raise MediaError("the server closed the connection before media flowed") from None
        except BaseException:
            session.close()
            raise
        return session

    async def _play(self, url: str) -> None:
        await self._connect(url, {"flashVer": "LNX 9,0,124,2", "audioCodecs": 4071.0, "videoCodecs": 252.0})
        await self.command("createStream", 2, None)
        await self._stream_created(2)
        name = split_url(url)[2]
        await self.command("play", 3, None, name, -2000, stream_id=self.stream_id)
        await self.send(chunk.user_control(chunk.SET_BUFFER_LENGTH, self.stream_id, _PLAY_BUFFER))
        await self._status("NetStream.Play.Start")

    async def _publish(self, url: str) -> None:
        await self._connect(url, {"flashVer": "FMLE/3.0 (compatible; Penstock)", "type": "nonprivate"})
        name = split_url(url)[2]
        await self.command("releaseStream", 2, None, name)
        await self.command("FCPublish", 3, None, name)
        await self.command("createStream", 4, None)
        await self._stream_created(4)
        await self.command("publish", 5, None, name, "live", stream_id=self.stream_id)
        await self._status("NetStream.Publish.Start")

    async def _connect(self, url: str, more: dict[str, amf.Value]) -> None:
        tc_url, app, _ = split_url(url)
        await self.handshake_as_client()
        await self.announce()
        offer: dict[str, amf.Value] = {"app": app, "tcUrl": tc_url, "fpad": False, "capabilities": 15.0}
        await self.command("connect", 1, offer | more)
        await self._result(1)

    async def _stream_created(self, transaction: int) -> None:
        result = await self._result(transaction)
        number = result[3] if len(result) > 3 else None
        if not isinstance(number, float) or not 0 < number < 1 << 24:
            raise MediaError("the server gave no usable message stream")
        self.stream_id = int(number)

    async def _result(self, transaction: int) -> list[amf.Value]:
        """Wait for the answer to one command."""
        while True:
            answer = await self.next_command()
            if answer[1:2] == [float(transaction)]:
                if answer[0] == "_result":
                    return answer
                if answer[0] == "_error":
                    raise MediaError(refusal(answer))
            if answer[:1] in (["close"], ["onStatus"]) and _level(answer) != "status":
                raise MediaError(refusal(answer))

    async def _status(self, wanted: str) -> None:
        """Wait for the ``onStatus`` with the code `wanted`."""
        while True:
            answer = await self.next_command()
            if answer[:1] == ["onStatus"] and _info(answer).get("code") == wanted:
                return
            if answer[:1] == ["close"] or _level(answer) == "error":
                raise MediaError(refusal(answer))


def _info(answer: list[amf.Value]) -> dict[str, amf.Value]:
    return next((value for value in answer[2:] if isinstance(value, dict) and "code" in value), {})


def _level(answer: list[amf.Value]) -> str:
    return str(_info(answer).get("level", ""))


def refusal(answer: list[amf.Value]) -> str:
    """Put a server's refusal into words: its code and description."""
    info = _info(answer)
    words = [str(info[key]) for key in ("code", "description") if info.get(key)]
    return "refused by the server" + (f": {', '.join(words)}"[:300] if words else "")
