"""What both sides of an RTMP connection share before media flows: handshake and commands, message by message."""

import os
import socket
from collections import deque
from urllib.parse import urlsplit

from penstock.errors import MediaError
from penstock.media.feed import Feed, receive, send
from penstock.media.packet import FOURCCS
from penstock.media.rtmp import amf, chunk
from penstock.media.rtmp.chunk import ChunkReader, Message

_HANDSHAKE = 1536
#: What a peer may send before media may flow: messages, commands among them, and bytes.
MAX_MESSAGES = 1000
MAX_COMMANDS = 64
MAX_BYTES = 16 << 20
#: The chunk size in which commands are written before the new one is announced.
_COMMANDS = 3

#: What we can do of Enhanced RTMP v2, for ``connect`` and its answer: pass any codec on, several tracks, modifiers and
#: nanoseconds of time (capsEx 2, 4 and 8; 4 in the maps: forward).
ENHANCED: dict[str, amf.Value] = {
    "fourCcList": list(FOURCCS),
    "videoFourCcInfoMap": {"*": 4.0},
    "audioFourCcInfoMap": {"*": 4.0},
    "capsEx": 14.0,
}


class Closed(MediaError):
    """The peer closed the connection."""


class Session:
    """A connected, non-blocking socket in its command phase; later its socket, reader and backlog go to the pump."""

    def __init__(self, sock: socket.socket | Feed) -> None:
        self.sock = sock
        self.reader = ChunkReader()
        #: Messages that have arrived and are not yet handled.
        self.backlog: deque[Message] = deque()
        self._early: list[Message] = []
        self._messages_taken = self._commands_taken = 0
        self._out_chunk_size = chunk.DEFAULT_CHUNK_SIZE

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
                self._messages_taken += 1
                if self._messages_taken > MAX_MESSAGES or self.reader.received > MAX_BYTES:
                    raise MediaError("the peer sends more than it was asked to")
                if type_ == chunk.COMMAND_AMF3:
                    return chunk.COMMAND, timestamp, amf.content(payload)
                if type_ > chunk.PEER_BANDWIDTH:
                    return type_, timestamp, payload
                if answer := chunk.answer(type_, payload):
                    await self._send(answer)
            await self.take_in()

    async def take_in(self) -> None:
        """Wait for what arrives next: its messages join the backlog, the peer gets the acknowledgement it is due."""
        self.reader.read(await self._receive(65536), self.backlog.append)
        if acknowledgement := self.reader.acknowledgement():
            await self._send(acknowledgement)

    async def next_command(self) -> list[amf.Value]:
        """Return the next command; media that comes before is kept until `settle`."""
        while True:
            message = await self.next()
            if message[0] != chunk.COMMAND:
                self._early.append(message)
                continue
            self._commands_taken += 1
            if self._commands_taken > MAX_COMMANDS:
                raise MediaError("the peer sends more commands than anybody needs")
            return amf.decode(message[2])

    def settle(self) -> None:
        """The command phase is over: put early media back where it came, before what has arrived since."""
        self.backlog.extendleft(reversed(self._early))
        self._early.clear()

    def close(self) -> None:
        """Close the socket."""
        self.sock.close()

    async def _send(self, data: bytes) -> None:
        try:
            await send(self.sock, data)
        except OSError as error:
            raise Closed((error.strerror or str(error)).lower()) from error

    async def _receive(self, size: int) -> bytes:
        try:
            data = await receive(self.sock, size)
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
