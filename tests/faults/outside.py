"""The world outside: a live programme, destinations that count, and the encoders and viewers of a hub.

The programme is live: whoever joins gets the newest group of pictures and then what comes. Every picture carries its
number, so that one that does not arrive is missed for sure, however often anybody connects.
"""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Coroutine
from contextlib import suppress
from struct import pack
from typing import Any, NamedTuple, Self

from tests.packets import AVC_HEADER, aac_header, metadata, number_of, picture, sound
from tests.rtmp_client import Client
from tests.rtmp_peer import STREAM, Connection, Peer, Sink
from tests.rtmp_wire import AUDIO, DATA, VIDEO, Message, Writer

#: Milliseconds of a picture, and of an AAC frame at 32 kHz.
FRAME, SOUND = 40, 32
GOP = 25
CHUNK = 4096
#: Seconds after which an encoder or a viewer of the hub tries again.
AGAIN = 0.1


class Shown(NamedTuple):
    """A picture as it arrived: when (s), its number, and on which connection."""

    at: float
    number: int
    connection: object


class Programme(Peer):
    """One live programme for everybody who plays any name, and for the hubs that it is published to."""

    def __init__(self) -> None:
        super().__init__()
        #: Of the newest picture.
        self.number = -1
        self._wire = Writer(CHUNK)
        self._group: list[bytes] = []
        self._writers: set[asyncio.StreamWriter] = set()

    async def __aenter__(self) -> Self:
        self._spawn(self._go_on())
        return await super().__aenter__()

    def publish(self, port: int, name: str) -> None:
        """Publish it as ``live/NAME`` to the hub on this port, and again whenever that ends."""

        async def publish() -> None:
            client = await Client.publish(port, "live", name)
            client.writer.write(self._wire.write(Message(1, 0, pack(">I", CHUNK), csid=2)))
            self._join(client.writer)
            try:
                await client.until(lambda: client.ended, timeout=3600)
            finally:
                await client.close()

        self._spawn(again_and_again(publish))

    def _granted(self, connection: Connection) -> None:
        connection.send(Message(4, 0, pack(">HI", 0, STREAM), csid=2))
        connection.status("NetStream.Play.Reset")
        connection.status("NetStream.Play.Start")
        self._join(connection.writer)

    def _join(self, writer: asyncio.StreamWriter) -> None:
        begin = max(0, self.number // GOP * GOP * FRAME)
        codecs = metadata(videocodecid=7.0, audiocodecid=10.0)
        writer.write(self._chunks((DATA, begin, codecs), (VIDEO, begin, AVC_HEADER), (AUDIO, begin, aac_header(32000))))
        writer.writelines(self._group)
        self._writers.add(writer)

    async def _go_on(self) -> None:
        loop = asyncio.get_running_loop()
        begin, sounds = loop.time(), 0
        while True:
            await asyncio.sleep(begin + (self.number + 1) * FRAME / 1000 - loop.time())
            self.number += 1
            time, key = self.number * FRAME, self.number % GOP == 0
            tags = [(VIDEO, time, picture(self.number, key=key, size=200))]
            while sounds * SOUND < time + FRAME:
                tags.append((AUDIO, sounds * SOUND, sound(sounds)))
                sounds += 1
            if key:
                self._group.clear()
            self._group.append(self._chunks(*tags))
            self._writers = {writer for writer in self._writers if not writer.is_closing()}
            for writer in self._writers:
                writer.write(self._group[-1])

    def _chunks(self, *tags: tuple[int, int, bytes]) -> bytes:
        return self._wire.write(*(Message(type_, time, media, 4 + type_ % 4, STREAM) for type_, time, media in tags))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        self._tasks.add(asyncio.get_running_loop().create_task(work))


class Counter(Sink):
    """Takes publishes, and plays from hubs; of all that comes it keeps the numbers of the pictures."""

    def __init__(self) -> None:
        super().__init__()
        #: Pictures by the name of their stream, as they came.
        self.shown: defaultdict[str, list[Shown]] = defaultdict(list)

    def play(self, port: int, name: str) -> None:
        """Play ``live/NAME`` from the hub on this port, and again whenever that ends."""

        async def play() -> None:
            client = await Client.play(port, "live", name)

            def note() -> None:
                for message in client.messages:
                    self._note(client, name, message)
                client.messages.clear()

            try:
                await client.until(note, timeout=3600)
            finally:
                await client.close()

        self._tasks.add(asyncio.get_running_loop().create_task(again_and_again(play)))

    def _message(self, connection: Connection, message: Message) -> None:
        if message.type in (AUDIO, VIDEO, DATA):
            self._note(connection, connection.name.partition("?")[0], message)
        else:
            super()._message(connection, message)

    def _note(self, connection: object, name: str, message: Message) -> None:
        if message.type == VIDEO and message.payload[1] == 1:
            now = asyncio.get_running_loop().time()
            self.shown[name].append(Shown(now, number_of(message.payload), connection))


async def again_and_again(work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """As an encoder's or a player's user does: whatever happens, try again."""
    while True:
        with suppress(OSError, asyncio.IncompleteReadError, TimeoutError, AssertionError):
            await work()
        await asyncio.sleep(AGAIN)
