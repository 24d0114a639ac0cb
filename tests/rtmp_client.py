"""An RTMP client for tests: it publishes or plays as it is told, through `tests.rtmp_wire`."""

import asyncio
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Self

from tests.patience import PATIENCE
from tests.rtmp_wire import AUDIO, COMMAND, DATA, VIDEO, Message, Parser, Writer, amf, read_amf

HANDSHAKE = 1536
STREAM = 1


class Client:
    """One connection; what the server sends is read while the test waits for something."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self.writer = writer
        self._parser = Parser()
        self._wire = Writer()
        #: The server has closed the connection.
        self.ended = False

    @classmethod
    async def open(cls, port: int, *, shake: bool = True) -> Self:
        """Connect and shake hands."""
        client = cls(*await asyncio.open_connection("127.0.0.1", port))
        if shake:
            with client._closed_on_failure():
                client.writer.write(b"\3" + bytes(8) + os.urandom(HANDSHAKE - 8))
                answer = await client._reader.readexactly(1 + 2 * HANDSHAKE)
                client.writer.write(answer[1 : 1 + HANDSHAKE])
        return client

    @classmethod
    async def publish(cls, port: int, app: str, name: str, host: str = "127.0.0.1") -> Self:
        """Ask to publish, as FFmpeg does; the answer is `status`."""
        client = await cls.open(port)
        client.command("connect", 1, {"app": app, "tcUrl": f"rtmp://{host}/{app}"})
        client.command("releaseStream", 2, None, name)
        client.command("FCPublish", 3, None, name)
        client.command("createStream", 4, None)
        client.command("publish", 5, None, name, "live", stream_id=STREAM)
        with client._closed_on_failure():
            await client.until(lambda: client.codes)
        return client

    @classmethod
    async def play(cls, port: int, app: str, name: str, host: str = "127.0.0.1") -> Self:
        """Ask to play; the answer is `status`."""
        client = await cls.open(port)
        client.command("connect", 1, {"app": app, "tcUrl": f"rtmp://{host}/{app}"})
        client.command("createStream", 2, None)
        client.command("play", 3, None, name, -2000, stream_id=STREAM)
        with client._closed_on_failure():
            await client.until(lambda: client.codes)
        return client

    def send(self, messages: Iterable[Message]) -> None:
        """Send messages, each on a chunk stream of its type."""
        for m in messages:
            self.writer.write(self._wire.write(Message(m.type, m.timestamp, m.payload, 4 + m.type % 4, STREAM)))

    def command(self, *values: Any, stream_id: int = 0) -> None:
        """Send a command."""
        self.writer.write(self._wire.write(Message(COMMAND, 0, amf(*values), stream_id=stream_id)))

    async def until(self, condition: Callable[[], object], timeout: float = PATIENCE) -> None:
        """Read until something is true of what has come."""
        async with asyncio.timeout(timeout):
            while not condition():
                data = b""
                with suppress(ConnectionError):
                    data = await self._reader.read(1 << 16)
                if not data:
                    self.ended = True
                    assert condition(), "the server has closed the connection"
                    return
                self._parser.feed(data)

    async def until_ended(self) -> None:
        """Read to the end."""
        await self.until(lambda: self.ended)

    @property
    def messages(self) -> list[Message]:
        """All that the server has sent so far."""
        return self._parser.messages

    @property
    def media(self) -> list[tuple[int, int, bytes]]:
        """Audio, video and data: (type, timestamp, payload)."""
        return [(m.type, m.timestamp, m.payload) for m in self.messages if m.type in (AUDIO, VIDEO, DATA)]

    @property
    def codes(self) -> list[str]:
        """The codes of every onStatus."""
        return [status["code"] for status in self._statuses]

    @property
    def descriptions(self) -> list[str]:
        """Their texts."""
        return [status["description"] for status in self._statuses]

    @property
    def _statuses(self) -> list[dict[str, str]]:
        commands = [read_amf(m.payload) for m in self.messages if m.type == COMMAND]
        return [values[3] for values in commands if values[0] == "onStatus"]

    @contextmanager
    def _closed_on_failure(self) -> Iterator[None]:
        try:
            yield
        except BaseException:
            self.writer.close()
            raise

    async def close(self) -> None:
        """Close the connection."""
        self.writer.close()
        with suppress(ConnectionError):
            await self.writer.wait_closed()
