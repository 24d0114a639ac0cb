"""One file of a playlist while it is read: what has come of it waits here until it is due.

Times are milliseconds on the clock of the file's messages, which begins with the first media that comes.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

import structlog

from penstock.errors import AddressRefused, MediaError
from penstock.media.clocks import clock_step
from penstock.media.files.order import Place
from penstock.media.files.source import COPY, Conversion, Facts, FileEnded, Unfit
from penstock.media.packet import VIDEO, Kind, composition_time, kind_of
from penstock.media.pump import Connection
from penstock.media.supervisor import Counted
from penstock.media.transport import SourceLeaf

log = structlog.get_logger()

MEDIA = (Kind.KEYFRAME, Kind.FRAME, Kind.SOUND)
#: How much of a file waits, at most: media time (ms) and bytes. It is read again when a part of that is left.
AHEAD, AHEAD_BYTES = 5000, 4 << 20
_AGAIN = 0.8
#: Seconds that a source may take to bring its first media: more than an FFmpeg child may.
PATIENCE = 25.0
#: Steps of the picture that differ by more than this (ms) are no rounding: its rate varies.
_UNEVEN = 2
#: A file that ends more than this (ms) before its time has broken off.
EARLY = 1500
#: Sound that outlasts the picture by up to so much (ms) is dropped.
TAIL = 1000
#: Bytes of a file that may be kept in memory.
CLIP_BYTES = 2 << 20
_TYPICAL_FRAME = 40.0
#: Half an AAC frame at 48 kHz, in ms.
_HALF_SOUND = 1024 / 96
#: No picture of a file stands longer than this, in ms.
_LONGEST_PICTURE = 60_000
_WRAP = 1 << 32


class Message(NamedTuple):
    """One message of a file. Its time, in ms, counts from the first media of the file that has come."""

    type: int
    time: int
    payload: bytes
    kind: Kind


class Clip(NamedTuple):
    """A whole file, short enough to be kept in memory."""

    messages: tuple[Message, ...]
    facts: Facts
    bytes: int


class Item:
    """Reads a file by the leaf that `leaf` makes, which is handed what takes the facts that the file tells of itself.

    With a `clip` nothing is read: that is the file.
    """

    def __init__(
        self,
        place: Place,
        url: str,
        leaf: Callable[[Callable[[Facts], None]], SourceLeaf],
        *,
        conversion: Conversion = COPY,
        live: bool = False,
        clip: Clip | None = None,
    ) -> None:
        self.place = place
        self.url = url
        self.conversion = conversion
        #: It is no file: it ends when its server says so.
        self.live = live
        self.facts: Facts | None = Facts(None, 0) if live else None
        #: The first header of each kind.
        self.headers: dict[int, bytes] = {}
        self.waiting: deque[Message] = deque()
        #: When (loop time) it was opened.
        self.opened_at = asyncio.get_running_loop().time()
        #: Why no more comes: empty after a proper end; None: more may come.
        self.ended: str | None = None
        self.unfit: Unfit | None = None
        #: Media time (ms) of the file at which it was begun.
        self.offset_ms = 0
        #: Bytes that have come.
        self.received = 0
        #: How far it has been taken.
        self.taken = 0
        self._bytes = 0
        self._pictures = 0
        self._first: int | None = None
        self._last = 0
        self._frame_before: int | None = None
        #: Of the pictures that have been taken: how many steps there were from one to the next, and how long.
        self._steps = self._stepped = self._longest = 0
        self._shortest = _WRAP
        self._first_picture: int | None = None
        self._newest_pts = 0
        #: Where the pictures end that have been taken.
        self._picture_end: float | None = None
        self._kept: list[Message] | None = [] if not (live or place.offset_ms or clip) else None
        self._connection: Connection | None = None
        self._paused = False
        self._ready = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        if clip is None:
            self._task = asyncio.get_running_loop().create_task(self._read(leaf), name="playlist item")
        else:
            self._replay(clip)

    # -- for the player

    async def ready(self) -> str:
        """Return once it can be played: with an empty string; else why it cannot be."""
        try:
            async with asyncio.timeout(PATIENCE):
                await self._ready.wait()
        except TimeoutError:
            return f"no media within {PATIENCE:g} s"
        return "" if self._first is not None else self.ended or "it contains neither picture nor sound"

    async def close(self) -> None:
        """Read no more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    def head(self) -> Message | None:
        """Return what is to be played next; None: more must come first, or nothing is left.

        Sound waits at the end of the picture that has been taken until it is known whether more pictures follow. A
        file's sound that outlasts its picture by up to `TAIL` is dropped: played, it would put off the next file.
        """
        while self.waiting:
            message = self.waiting[0]
            if not self._outlasts(message):
                return message
            if self.ended is None:
                return message if self._span > TAIL else None
            if self._last - (self.picture_end or 0) > TAIL:
                return message
            self.waiting.popleft()
        return None

    def pop(self) -> None:
        """Take what `head` returned."""
        message = self.waiting.popleft()
        self._bytes -= len(message.payload)
        if message.kind in MEDIA:
            self.taken = max(self.taken, message.time)
            if message.type == VIDEO:
                self._pictures -= 1
                self._follow(message)
        if self._paused and self._span < _AGAIN * AHEAD and self._bytes < _AGAIN * AHEAD_BYTES:
            self._paused = False
            if self._connection is not None:
                self._connection.resume()

    @property
    def has_pictures(self) -> bool:
        """Whether a picture has been taken."""
        return self._first_picture is not None

    @property
    def picture_end(self) -> float | None:
        """Where the last picture that has been taken ends, on the clock of its messages.

        At a file's end, if its frame rate varies or it has one picture alone, the container's length says so.
        """
        end, facts = self._picture_end, self.facts
        if end is None or self.ended is None or self._pictures or facts is None or facts.duration_ms is None:
            return end
        if 0 <= self._longest - self._shortest <= _UNEVEN:
            return end
        assert self._first_picture is not None
        return max(end, min(self._first_picture + facts.duration_ms - self.offset_ms, end + _LONGEST_PICTURE))

    @property
    def is_coming(self) -> bool:
        """Whether more of it is on its way just now."""
        return self.ended is None and not self._paused

    @property
    def left_ms(self) -> int | None:
        """How much of the file has not been taken yet, in ms; None: nobody knows."""
        if self.ended is not None:
            return self._span
        if self.facts is None or self.facts.duration_ms is None:
            return None
        return max(0, self.facts.duration_ms - self.offset_ms - self.taken)

    @property
    def broken_off(self) -> int | None:
        """How much of a file that has ended is missing, in ms; None: nothing that matters, or nobody knows."""
        if self.live or self.facts is None or self.facts.duration_ms is None:
            return None
        missing = self.facts.duration_ms - self.offset_ms - self._last
        return missing if missing > EARLY else None

    def hand_over(self) -> Clip | None:
        """Return the whole file, once, if it has been read, is well and short enough."""
        if not self._kept or self.ended != "" or self.facts is None or self.broken_off is not None:
            return None
        kept, self._kept = self._kept, None
        return Clip(tuple(kept), self.facts, sum(len(message.payload) for message in kept))

    # -- reading

    async def _read(self, leaf: Callable[[Callable[[Facts], None]], SourceLeaf]) -> None:
        reason = ""
        try:
            await leaf(self._tell).run(self._connected, self._take)
        except FileEnded:
            pass
        except Unfit as error:
            self.unfit, reason = error, error.message
        except (MediaError, AddressRefused) as error:
            reason = error.message
        except OSError as error:  # this machine has no more files or memory to give
            reason = (error.strerror or str(error)).lower()
        except Exception as error:
            log.exception("a file could not be read")
            reason = f"internal error ({type(error).__name__})"
        self._connection = None
        self._paused = False
        self.ended = "" if self.live and self._first is not None else reason
        self._ready.set()

    def _connected(self, connection: Counted) -> None:
        self._connection = connection if isinstance(connection, Connection) else None

    def _tell(self, facts: Facts) -> None:
        self.facts = facts
        if self.place.offset_ms and self._first is not None:
            self._begin(self._first)
        self._look()

    def _take(self, type_: int, timestamp: int, payload: bytes) -> None:
        kind = kind_of(type_, payload)
        if self._first is None and kind in MEDIA:
            self._begin(timestamp)
        time = 0 if self._first is None else clock_step(self._first, timestamp)
        message = Message(type_, time, payload, kind)
        self._add(message)
        if self._kept is not None:
            self._kept.append(message)
            if self.received > CLIP_BYTES:
                self._kept = None
        if not self._paused and (self._bytes > AHEAD_BYTES or self._span > AHEAD) and self._connection is not None:
            self._paused = True
            self._connection.pause()

    def _begin(self, first: int) -> None:
        """Find out at which place of the file its first media is: a keyframe at or before the one that was wanted."""
        self._first = first
        wanted = self.place.offset_ms
        if wanted and self.facts is not None:
            found = clock_step(self.facts.start_ms, first)
            self.offset_ms = found if 0 <= found <= wanted + EARLY else wanted

    def _add(self, message: Message) -> None:
        self.waiting.append(message)
        self._bytes += len(message.payload)
        self.received += len(message.payload)
        if message.kind is Kind.HEADER:
            self.headers.setdefault(message.type, message.payload)
        elif message.kind in MEDIA:
            self._last = max(self._last, message.time)
            self._pictures += message.type == VIDEO
            self._look()

    def _replay(self, clip: Clip) -> None:
        self.facts, self._first = clip.facts, 0
        for message in clip.messages:
            self._add(message)
        self.ended = ""
        self._look()

    def _look(self) -> None:
        if self._first is not None and self.facts is not None:
            self._ready.set()

    # -- taking

    def _outlasts(self, message: Message) -> bool:
        """Whether this is sound behind the last picture there is."""
        if message.kind is not Kind.SOUND or self._pictures or self._picture_end is None:
            return False
        return message.time >= (self.picture_end or 0) - _HALF_SOUND

    def _follow(self, picture: Message) -> None:
        """See how long pictures stand."""
        before, self._frame_before = self._frame_before, picture.time
        if before is not None and 0 < (step := picture.time - before) < _LONGEST_PICTURE:
            self._steps, self._stepped = self._steps + 1, self._stepped + step
            self._shortest, self._longest = min(self._shortest, step), max(self._longest, step)
        pts = picture.time + composition_time(picture.payload)
        if self._first_picture is None:
            self._first_picture = pts
        frame = self._stepped / self._steps if self._steps else _TYPICAL_FRAME
        self._newest_pts = max(self._newest_pts, pts)
        self._picture_end = self._newest_pts + frame

    @property
    def _span(self) -> int:
        """Media time that waits, in ms."""
        return max(0, self._last - self.taken)
