"""The server's side: learn what a client wants, grant or refuse it."""

import asyncio
from urllib.parse import parse_qsl

import msgspec

from penstock.errors import MediaError
from penstock.media.rtmp import amf, chunk
from penstock.media.rtmp.session import ENHANCED, Session, command

#: Seconds that a client has from connecting to its publish or play.
PATIENCE = 10
#: Characters of an application's or stream's name with its query.
_LONGEST_NAME = 4096
_WINDOW = 5_000_000
_STREAM = 1


class Wish(msgspec.Struct, frozen=True, kw_only=True):
    """What a client asked for."""

    publishing: bool
    app: str
    stream: str
    #: The stream name's and the application's query arguments; the stream's win.
    arguments: dict[str, str]
    #: The host name in tcUrl; empty if there is none.
    host: str


class ServerSession(Session):
    """A session that a client opened."""

    async def wish(self) -> Wish:
        """Shake hands and answer commands up to publish or play. Raise `MediaError`."""
        try:
            async with asyncio.timeout(PATIENCE):
                await self.handshake_as_server()
                wish = await self._commands()
        except TimeoutError:
            raise MediaError(f"no publish or play within {PATIENCE} s") from None
        self.settle()
        return wish

    async def _commands(self) -> Wish:
        app, host = "", ""
        while True:
            answer = await self.next_command()
            name, transaction, values = (
                answer[0] if answer else None,
                answer[1] if answer[1:] else 0,
                answer[2:],
            )
            if name == "connect":
                offer = values[0] if values and isinstance(values[0], dict) else {}
                app = str(offer.get("app") or "")
                host = str(offer.get("tcUrl") or "").partition("://")[2].partition("/")[0]
                await self._connected(transaction, enhanced="fourCcList" in offer or "capsEx" in offer)
            elif name == "createStream":
                await self.command("_result", transaction, None, _STREAM)
            elif name in ("publish", "play"):
                stream = values[1] if values[1:] else ""
                return _wish(name == "publish", app, stream if isinstance(stream, str) else "", host)
            elif name == "FCPublish":
                await self.command("onFCPublish", 0, None, {"code": "NetStream.Publish.Start"})

    async def _connected(self, transaction: amf.Value, *, enhanced: bool) -> None:
        await self.send(chunk.control(chunk.WINDOW_SIZE, _WINDOW))
        await self.send(
            chunk.message(2, chunk.PEER_BANDWIDTH, 0, 0, _WINDOW.to_bytes(4, "big") + b"\x02", chunk.OUT_CHUNK_SIZE)
        )
        await self.announce()
        properties: dict[str, amf.Value] = {"fmsVer": "FMS/3,5,7,7009", "capabilities": 31.0, "mode": 1.0}
        await self.command(
            "_result",
            transaction,
            properties | ENHANCED if enhanced else properties,
            {
                "level": "status",
                "code": "NetConnection.Connect.Success",
                "description": "Connection succeeded.",
                "objectEncoding": 0.0,
            },
        )

    async def grant(self, wish: Wish) -> None:
        """Tell the client to go ahead."""
        await self.send(chunk.user_control(chunk.STREAM_BEGIN, _STREAM))
        if wish.publishing:
            await self.send(status("NetStream.Publish.Start", f"Publishing {wish.stream}."))
        else:
            await self.send(status("NetStream.Play.Reset", f"Playing and resetting {wish.stream}."))
            await self.send(status("NetStream.Play.Start", f"Started playing {wish.stream}."))

    async def refuse(self, code: str, description: str) -> None:
        """Tell the client why not, and close."""
        try:
            await self.send(status(code, description, level="error"))
        finally:
            self.close()


def status(code: str, description: str, *, level: str = "status") -> bytes:
    """Return an ``onStatus`` for the media stream as chunks."""
    info: dict[str, amf.Value] = {"level": level, "code": code, "description": description}
    return command("onStatus", 0, None, info, stream_id=_STREAM)


def end_of_stream() -> bytes:
    """Return what a player is told when the publisher has left."""
    return (
        chunk.user_control(chunk.STREAM_EOF, _STREAM)
        + status("NetStream.Play.UnpublishNotify", "The publisher has left.")
        + status("NetStream.Play.Stop", "Stopped playing.")
    )


def _wish(publishing: bool, app: str, stream: str, host: str) -> Wish:
    if len(app) > _LONGEST_NAME or len(stream) > _LONGEST_NAME:
        raise MediaError("the client gives a name that is too long")
    app, _, app_query = app.strip("/").partition("?")
    stream, _, query = stream.partition("?")
    arguments = dict(parse_qsl(app_query, keep_blank_values=True) + parse_qsl(query, keep_blank_values=True))
    return Wish(publishing=publishing, app=app, stream=stream, arguments=arguments, host=host)
