"""What stands in for the FFmpeg child that makes a slate's still: it draws nothing, but says what it was given."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

from penstock.media.child import Children
from penstock.media.flv import FlvReader
from penstock.media.framing import flv, flv_header
from tests.rtmp_wire import VIDEO
from tests.sim.encoder import STAMP

#: The encoder's number in the stamp of a still's pictures; their own number is their place in it, from 0 on. Behind it
#: stands the stamp of the newest picture of the source that the still was made of.
STILL = 0xFFFF
#: What follows a source's header in that of its still.
MARK = b"still"
#: How the pictures of HEVC begin on the children's side: without a composition time.
_HEVC = b"hvc1"
_KEY, _FRAME = 0x10, 0x20


class Studio(Children):
    """Children that make stills: of so many of them `works` do, and each takes one of `seconds`.

    `fail` is told what no still can be made of.
    """

    def __init__(
        self,
        rng: random.Random,
        fail: Callable[[str], None],
        *,
        works: float = 0.9,
        seconds: Sequence[float] = (0.2, 0.2, 1, 4, 4, 100),
    ) -> None:
        super().__init__()
        self._rng = rng
        self._fail = fail
        self._works = works
        self._seconds = seconds

    @asynccontextmanager
    async def run(self, argv: Sequence[str], *_: Any, **__: Any) -> AsyncIterator[Any]:
        asked = int(argv[argv.index("-r") + 1]), int(argv[argv.index("-frames:v") + 1])
        works, seconds = self._rng.random() < self._works, self._rng.choice(self._seconds)
        yield _Child(asked, seconds=seconds, works=works, fail=self._fail)


class _Child:
    """One of them, and its standard input and output."""

    def __init__(self, asked: tuple[int, int], *, seconds: float, works: bool, fail: Callable[[str], None]) -> None:
        self.sock = self
        self._asked = asked
        self._seconds = seconds
        self._works = works
        self._fail = fail
        self._given: list[bytes] = []
        self._reader = FlvReader()
        self._written = False

    async def send_all(self, data: bytes) -> None:
        self._reader.read(data, lambda message: self._given.append(message[2]))

    def shutdown(self, _how: int) -> None:
        """No more comes in."""

    async def receive(self, _size: int) -> bytes:
        if self._written or not self._works:
            return b""
        await asyncio.sleep(self._seconds)
        self._written = True
        return self._still()

    async def ended(self) -> str:
        """Why it has ended."""
        return "Invalid data found when processing input"

    def _still(self) -> bytes:
        header, *frames = self._given
        stamps = [STAMP.unpack_from(payload, _body(payload)) for payload in frames]
        if frames[0][0] & 0x70 != _KEY:
            self._fail(f"a still is made of pictures that begin without a keyframe: {stamps}")
        if [number for number, *_ in stamps] != [stamps[0][0]] * len(stamps):
            self._fail(f"a still is made of pictures of several encoders: {stamps}")
        rate, length = self._asked
        shown = STAMP.pack(*stamps[-1])
        pictures = [
            _head(header, _FRAME if at else _KEY) + STAMP.pack(STILL, at, round(at * 1000 / rate)) + shown
            for at in range(length)
        ]
        tags = [flv(VIDEO, 0, payload) for payload in (header + MARK, *pictures)]
        return b"".join([flv_header(audio=False, video=True), *tags])


def _body(payload: bytes) -> int:
    """Where a picture's own bytes begin: behind its composition time."""
    return 8 if payload[0] & 0x80 else 5


def _head(header: bytes, frame: int) -> bytes:
    """How FFmpeg begins the pictures of a stream with this header, which are shown when they are decoded."""
    if header[0] & 0x80:
        return bytes((0x83 | frame,)) + _HEVC
    return bytes((frame | 7, 1, 0, 0, 0))
