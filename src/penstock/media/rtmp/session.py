"""What both sides of an RTMP connection share before media flows: handshake and commands, message by message."""

import asyncio
import os
import socket
from collections import deque
from urllib.parse import urlsplit

from penstock.errors import MediaError
from penstock.media.rtmp import amf, chunk
from penstock.media.rtmp.chunk import ChunkReader, Message

_HANDSHAKE = 1536
#: The chunk size in which commands are written before the new one is announced.
_COMMANDS = 3


class Closed(MediaError):
    """The peer closed the connection."""


class Session:
    """A connected, non-blocking socket in its command phase; later its socket, reader and backlog go to the pump."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.reader = ChunkReader()
        #: Messages that have arrived and are not yet handled.
        self.backlog: deque[Message] = deque()
        self._out_chunk_size = chunk.DEFAULT_CHUNK_SIZE
        self._loop = asyncio.get_running_loop()

    async def handshake_as_client(self) -> None:
        """Do the plain handshake (RTMP 1.0, section 5.2)."""
        await self._send(b"\x03" + bytes(8) + os.urandom(_HANDSHAKE - 8))
        reply = await self._exactly(1 + 2 * _HANDSHAKE)
        if reply[0] != 3:
            raise MediaError("the peer does not speak RTMP")
        await self._send(reply[1 : 1 + _HANDSHAKE])

    async def handshake_as_server(self) -> None:
        """Answer the plain handshake; clients with the digest variant accept it, too."""
        hello = await self._exactly(1 + _HANDSHAKE)
        if hello[0] != 3:
            raise MediaError("the peer does not speak RTMP")
        await self._send(b"\x03" + bytes(8) + os.urandom(_HANDSHAKE - 8) + hello[1:])
        await self._exactly(_HANDSHAKE)

    async def announce(self) -> None:
        """Announce our chunk size; what we send from now on uses it."""
        await self._send(chunk.control(chunk.SET_CHUNK_SIZE, chunk.OUT_CHUNK_SIZE))
        self._out_chunk_size = chunk.OUT_CHUNK_SIZE

    async def command(self, *values: amf.Value, stream_id: int = 0) -> None:
        """Send one AMF0 command."""
        await self.send(command(*values, stream_id=stream_id, chunk_size=self._out_chunk_size))

    async def send(self, data: bytes) -> None:
        """Send bytes that are chunks already."""
        await self._send(data)

    async def next(self) -> Message:
        """Return the next message that is no protocol matter; pings are answered on the way."""
        while True:
            while self.backlog:
                type_, timestamp, payload = self.backlog.popleft()
                if type_ == chunk.COMMAND_AMF3:
                    return chunk.COMMAND, timestamp, payload[1:]
                if type_ == chunk.USER_CONTROL and payload[:2] == b"\x00\x06" and len(payload) >= 6:
                    await self._send(chunk.user_control(chunk.PONG, int.from_bytes(payload[2:6], "big")))
                elif type_ > chunk.PEER_BANDWIDTH:
                    return type_, timestamp, payload
            self.reader.read(await self._receive(65536), self.backlog.append)

    async def next_command(self) -> list[amf.Value]:
        """Return the next command; media that comes before is put back, to be handled after it."""
        early: list[Message] = []
        while True:
            message = await self.next()
            if message[0] == chunk.COMMAND:
                self.backlog.extendleft(reversed(early))
                return amf.decode(message[2])
            early.append(message)
            if len(early) > 1000:
                raise MediaError("the peer sends media before it was asked to")

    def close(self) -> None:
        """Close the socket."""
        self.sock.close()

    async def _send(self, data: bytes) -> None:
        try:
            await self._loop.sock_sendall(self.sock, data)
        except OSError as error:
            raise Closed((error.strerror or str(error)).lower()) from error

    async def _receive(self, size: int) -> bytes:
        try:
            data = await self._loop.sock_recv(self.sock, size)
        except OSError as error:
            raise Closed((error.strerror or str(error)).lower()) from error
        if not data:
            raise Closed
        return data

    async def _exactly(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            data += await self._receive(size - len(data))
        return data


def command(*values: amf.Value, stream_id: int = 0, chunk_size: int = chunk.OUT_CHUNK_SIZE) -> bytes:
    """Return one AMF0 command as chunks."""
    return chunk.message(_COMMANDS, chunk.COMMAND, stream_id, 0, amf.encode(*values), chunk_size)


def split_url(url: str) -> tuple[str, str, str]:
    """Return (tcUrl, app, stream) of an RTMP URL: the last path element and the query name the stream."""
    parts = urlsplit(url)
    app, _, stream = parts.path.lstrip("/").rpartition("/")
    host = parts.hostname or ""
    where = f"[{host}]" if ":" in host else host
    if parts.port is not None:
        where += f":{parts.port}"
    return f"{parts.scheme}://{where}/{app}", app, stream + (f"?{parts.query}" if parts.query else "")
