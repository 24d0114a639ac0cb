"""The client's side: play a stream from a server, or publish one to it."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Self
from urllib.parse import urlsplit

from penstock.errors import AddressRefused, MediaError
from penstock.media.feed import secure
from penstock.media.rtmp import amf, chunk
from penstock.media.rtmp.login import Login, LoginWanted
from penstock.media.rtmp.refusal import (
    Redirected,
    info_of,
    redirection,
    refusal,
    refuses,
    wants_login,
    without_key,
)
from penstock.media.rtmp.session import ENHANCED, Closed, Session, split_url
from penstock.net import Door

#: Seconds for the whole command phase: handshake to the server's consent.
PATIENCE = 10
#: How often servers may send us on.
MAX_REDIRECTS = 5
#: How much a server may have buffered for a player, in ms: a live stream is wanted as it comes.
_PLAY_BUFFER = 1000


class ClientSession(Session):
    """A session that we opened, in which the server has agreed to play or to take our media."""

    #: The message stream that media uses.
    stream_id = 0
    #: Where we are, after redirections.
    url = ""
    #: What proves who we are, behind the application's name.
    _login = ""

    @classmethod
    async def play(cls, door: Door, url: str) -> Self:
        """Connect and ask for a stream. Raise `MediaError`, `AddressRefused`."""
        return await cls._open(door, url, cls._play)

    @classmethod
    async def publish(cls, door: Door, url: str) -> Self:
        """Connect and offer a stream. Raise `MediaError`, `AddressRefused`."""
        return await cls._open(door, url, cls._publish)

    @classmethod
    async def _open(cls, door: Door, url: str, ask: Callable[[Self], Awaitable[None]]) -> Self:
        """Connect, go where we are sent, and ask there. What servers say loses the key of the stream they quote."""
        sent_on = ""
        for _ in range(1 + MAX_REDIRECTS):
            try:
                return await cls._log_in(door, url, ask)
            except Redirected as redirected:
                sent_on = f"redirected to {split_url(redirected.url)[0]}: "
                _check(door, url, redirected.url)
                url = redirected.url
            except AddressRefused as error:
                raise AddressRefused(sent_on + error.message) from error
            except MediaError as error:
                raise MediaError(sent_on + without_key(error.message, url)) from error
        raise MediaError(f"redirected more than {MAX_REDIRECTS} times")

    @classmethod
    async def _log_in(cls, door: Door, url: str, ask: Callable[[Self], Awaitable[None]]) -> Self:
        """Ask one server, as often as its kind of login takes: each answer of ours comes by a connection of its own."""
        login = Login(url)
        while True:
            try:
                return await cls._try(door, url, ask, login.query)
            except LoginWanted as wanted:
                login.take(wanted)

    @classmethod
    async def _try(cls, door: Door, url: str, ask: Callable[[Self], Awaitable[None]], login: str) -> Self:
        sock, parts = await door.connect(url), urlsplit(url)
        host = parts.hostname or ""
        session = cls(await secure(sock, door.tls(host), host) if parts.scheme == "rtmps" else sock)
        session.url, session._login = url, login
        try:
            async with asyncio.timeout(PATIENCE):
                await ask(session)
            session.settle()
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

    @property
    def name(self) -> str:
        """The stream's, with its query."""
        return split_url(self.url)[2]

    async def _play(self) -> None:
        await self._connect({"flashVer": "LNX 9,0,124,2", "audioCodecs": 4071.0, "videoCodecs": 252.0})
        await self.command("createStream", 2, None)
        await self._stream_created(2)
        await self.command("play", 3, None, self.name, -2000, stream_id=self.stream_id)
        await self.send(chunk.user_control(chunk.SET_BUFFER_LENGTH, self.stream_id, _PLAY_BUFFER))
        await self._status("NetStream.Play.Start")

    async def _publish(self) -> None:
        await self._connect({"flashVer": "FMLE/3.0 (compatible; Penstock)", "type": "nonprivate"})
        await self.command("releaseStream", 2, None, self.name)
        await self.command("FCPublish", 3, None, self.name)
        await self.command("createStream", 4, None)
        await self._stream_created(4)
        await self.command("publish", 5, None, self.name, "live", stream_id=self.stream_id)
        await self._status("NetStream.Publish.Start")

    async def _connect(self, more: dict[str, amf.Value]) -> None:
        tc_url, app, _ = split_url(self.url)
        await self.handshake_as_client()
        await self.announce()
        offer: dict[str, amf.Value] = {"app": app + self._login, "tcUrl": tc_url + self._login}
        offer |= {"fpad": False, "capabilities": 15.0}
        await self.command("connect", 1, offer | more | ENHANCED)
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
                    raise self._refused(answer)
            if refuses(answer):
                raise self._refused(answer)

    async def _status(self, wanted: str) -> None:
        """Wait for the ``onStatus`` with the code `wanted`."""
        while True:
            answer = await self.next_command()
            if answer[:1] == ["onStatus"] and info_of(answer).get("code") == wanted:
                return
            if refuses(answer):
                raise self._refused(answer)

    def _refused(self, answer: list[amf.Value]) -> MediaError:
        if (url := redirection(answer, self.url)) is not None:
            return Redirected(url)
        return LoginWanted(answer) if wants_login(answer) else MediaError(refusal(answer))


def _check(door: Door, before: str, url: str) -> None:
    """Raise `MediaError` or `AddressRefused` if a server may not send us from `before` to `url`.

    The address itself is checked when we connect to it. Our hub is no place for strangers to send us to: a caller's
    right to a stream there was checked for the URL that the caller gave.
    """
    parts = urlsplit(url)
    if parts.scheme != urlsplit(before).scheme:
        raise MediaError(f"redirected to another protocol ({parts.scheme})")
    if door.is_hub(parts.hostname or "", parts.port):
        raise AddressRefused("redirected to this server itself")
