"""The hub: RTMP publish and play, and HTTP-FLV play."""

import asyncio
import socket
from collections.abc import Awaitable, Callable

import msgspec
import structlog

from penstock.errors import MediaError
from penstock.hub.access import Access, Denied
from penstock.hub.http import Request, read_request, respond
from penstock.hub.streams import Name, Publication, Streams
from penstock.media import framing
from penstock.media.pump import Connection, Pump
from penstock.media.rtmp import amf
from penstock.media.rtmp.server import ServerSession, Wish, end_of_stream
from penstock.net import prepare
from penstock.tasks.model import HubStatus
from penstock.tasks.ports import Clock

log = structlog.get_logger()

#: How long (seconds) an RTMP player may wait for a stream that nobody publishes yet.
PLAY_PATIENCE = 5.0
_LEAVE = ("FCUnpublish", "deleteStream", "closeStream")


class HubConfig(msgspec.Struct, frozen=True, kw_only=True):
    """What the hub is told by the settings; times in seconds."""

    tick: float = 0.01


class Hub:
    """Owns the public media ports."""

    def __init__(self, config: HubConfig, *, access: Access, clock: Clock) -> None:
        self._config = config
        self._access = access
        self._clock = clock
        self._streams: Streams | None = None
        self._clients: set[asyncio.Task[None]] = set()

    async def serve(self, rtmp: socket.socket, media: socket.socket) -> None:
        """Serve the listening sockets until cancelled; then every connection is closed."""
        self._loop = asyncio.get_running_loop()
        self._pump = Pump(tick=self._config.tick)
        self._streams = Streams(self._pump, self._clock)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._accept(rtmp, self._rtmp_client))
                group.create_task(self._accept(media, self._http_client))
                group.create_task(self._measure(self._streams))
        finally:
            self._streams.end(_farewell)
            for client in self._clients:
                client.cancel()
            if self._clients:
                await asyncio.wait(self._clients, timeout=1)
            self._pump.close()

    def status(self) -> HubStatus:
        """Return what is measured of every live stream, at most half a second old."""
        return HubStatus() if self._streams is None else self._streams.status()

    async def _measure(self, streams: Streams) -> None:
        while True:
            if first := self._access.directory.first:
                streams.adopt(first)
            streams.measure(self._loop.time())
            await asyncio.sleep(0.5)

    async def _accept(self, listener: socket.socket, serve: Callable[[socket.socket, str], Awaitable[None]]) -> None:
        listener.setblocking(False)
        while True:
            try:
                sock, address = await self._loop.sock_accept(listener)
            except OSError as error:
                log.warning("cannot accept a connection", reason=str(error))
                await asyncio.sleep(0.1)
                continue
            sock.setblocking(False)
            prepare(sock)
            client = self._loop.create_task(self._client(serve, sock, str(address[0])))
            self._clients.add(client)
            client.add_done_callback(self._clients.discard)

    async def _client(
        self, serve: Callable[[socket.socket, str], Awaitable[None]], sock: socket.socket, address: str
    ) -> None:
        try:
            await serve(sock, address)
        except (MediaError, OSError) as error:
            log.info("a client was turned away", client=address, reason=str(error))
        except Exception:
            log.exception("a client met a defect", client=address)
        finally:
            if sock.fileno() >= 0 and not self._pump.owns(sock):
                sock.close()

    # -- RTMP

    async def _rtmp_client(self, sock: socket.socket, address: str) -> None:
        session = ServerSession(sock)
        wish = await session.wish()
        if wish.publishing:
            await self._publish(session, wish, address)
        else:
            await self._play(session, wish, address)

    async def _publish(self, session: ServerSession, wish: Wish, address: str) -> None:
        assert self._streams is not None
        if not (wish.app and wish.stream):
            return await session.refuse("NetStream.Publish.BadName", "The application or stream name is empty.")
        try:
            account, ticket = self._access.publisher(wish, address)
        except Denied as denied:
            log.info("a publisher was refused", app=wish.app, client=address, reason=str(denied))
            return await session.refuse("NetStream.Publish.Denied", f"Publishing is refused: {denied}.")
        name = Name(account, wish.app, wish.stream)
        publication = self._streams.publish(name, address, ticket)
        if publication is None:
            return await session.refuse("NetStream.Publish.BadName", "The stream has a publisher already.")
        try:
            await session.grant(wish)
            connection = publication.publisher = self._pump.add(session.sock, session.reader, on_media=publication.take)
            connection.on_command = lambda _type, _time, payload: _leave(connection, payload)
            log.info("stream published", app=wish.app, client=address)
            while session.backlog and not connection.closed.done():
                connection.dispatch(session.backlog.popleft())
            reason = await connection.wait_closed()
            log.info("stream unpublished", app=wish.app, client=address, reason=reason)
        finally:
            self._streams.unpublish(publication)
            publication.end(_farewell)

    async def _play(self, session: ServerSession, wish: Wish, address: str) -> None:
        assert self._streams is not None
        if not (wish.app and wish.stream):
            return await session.refuse("NetStream.Play.StreamNotFound", "The application or stream name is empty.")
        name = Name(self._access.owner(wish.host), wish.app, wish.stream)
        publication = await self._streams.wait_for(name, PLAY_PATIENCE)
        if publication is None:
            return await session.refuse("NetStream.Play.StreamNotFound", "Nobody publishes this stream.")
        await session.grant(wish)
        connection = self._pump.add(session.sock, session.reader)
        connection.on_command = lambda _type, _time, payload: _leave(connection, payload)
        await publication.play(connection, framing.rtmp_play, address)
        return None

    # -- HTTP-FLV

    async def _http_client(self, sock: socket.socket, address: str) -> None:
        request = await read_request(sock)
        name = _flv_name(request, self._access)
        if request.method == "OPTIONS":
            return await respond(sock, 204)
        if request.method not in ("GET", "HEAD"):
            return await respond(sock, 405, "Only GET is served here.\n")
        publication = None if name is None else self._find(name)
        if publication is None:
            hint = "No such stream. Streams are at /APP/STREAM.flv while they are published.\n"
            return await respond(sock, 404, hint, head_only=request.method == "HEAD")
        chunked = request.version == "1.1"
        await respond(sock, 200, content_type="video/x-flv", chunked=chunked)
        if request.method == "HEAD":
            return None
        connection = self._pump.add(sock)
        header = publication.stream.flv_header()
        connection.send(framing.http_chunk(header) if chunked else header)
        await publication.play(connection, framing.flv_chunked if chunked else framing.flv, address)
        return None

    def _find(self, name: Name) -> Publication | None:
        assert self._streams is not None
        return self._streams.find(name)


def _farewell(framed: framing.Framing) -> bytes:
    """What a player hears when the publisher has left."""
    if framed is framing.rtmp_play:
        return end_of_stream()
    return framing.http_chunk(b"") if framed is framing.flv_chunked else b""


def _flv_name(request: Request, access: Access) -> Name | None:
    app, _, stream = request.path.strip("/").rpartition("/")
    if not app or not stream.endswith(".flv"):
        return None
    return Name(access.owner(request.headers.get("host", "")), app, stream.removesuffix(".flv"))


def _leave(connection: Connection, payload: bytes) -> None:
    """Close when the client says that it is done."""
    answer = amf.decode(payload)
    if answer and answer[0] in _LEAVE:
        connection.close(None)
