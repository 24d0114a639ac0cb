"""Plays a playlist: one continuous stream, paced by its own media time, whatever its files are like."""

import asyncio
from collections.abc import Callable
from typing import NamedTuple

from penstock.errors import Finished, SourceError
from penstock.media.files.item import MEDIA, Item, Message
from penstock.media.files.opening import Opening, named
from penstock.media.files.order import Order, Place
from penstock.media.files.shelf import Shelf, is_live
from penstock.media.packet import AUDIO, VIDEO, Kind
from penstock.media.plan import Playlist
from penstock.media.pump import OnMessage, Pump
from penstock.media.supervisor import Counted
from penstock.media.timeline import Timeline
from penstock.media.transport import OnEvent

#: The next file, or what is no file, is opened when so much of the current one is left (ms).
PREFETCH, PREFETCH_LIVE = 10_000, 2000
#: How long silence takes the place of a file that brings nothing more, before the source is given up (seconds).
PATIENCE = 3.0
#: A file that stalls again before it has played for so long (ms) is left.
_PROGRESS = 2000
#: Silence takes the place of what does not come, this far behind (ms).
_BEHIND = 400
#: A file's clock may stand for so long (ms) and go on: what is more is a jump, which the Timeline heals.
LONGEST_STEP = 10_000
#: A process that stood still for longer than this (seconds) does not make up for it.
_STOOD_STILL = 1.0


class Progress(NamedTuple):
    """Where a playlist is."""

    place: Place
    #: That of the file; None: unknown.
    duration_ms: int | None
    #: That of the file, and of the one that follows; empty: none does.
    url: str
    next_url: str
    #: That of the `Playlist`.
    moved: int


class _Link:
    """What a supervisor sees of the files: one connection."""

    def __init__(self) -> None:
        self.sent = 0
        self.received = 0
        self.closed: asyncio.Future[Exception] = asyncio.get_running_loop().create_future()

    def close(self, reason: str) -> None:
        self.end(SourceError(reason))

    def end(self, why: Exception) -> None:
        if not self.closed.done():
            self.closed.set_result(why)


class Player:
    """The leaf of a playlist. It remembers where it is from one `run` to the next."""

    def __init__(self, playlist: Playlist, shelf: Shelf, pump: Pump, on_event: OnEvent) -> None:
        self._order = Order(playlist)
        self._shelf = shelf
        self._pump = pump
        self._on_event = on_event
        self._loop = asyncio.get_running_loop()
        self._clock = self._loop.time
        self._timeline = Timeline(self._emitted, longest_step=LONGEST_STEP)
        self._opening = Opening(shelf, on_event)
        self._on_media: OnMessage = _nowhere
        self._link: _Link | None = None
        self._item: Item | None = None
        self._next: asyncio.Task[tuple[Place, Item]] | None = None
        #: The next file takes the place of the current one as soon as it is ready.
        self._at_once = False
        #: Whether the files that are tried are the last ones, which nothing follows.
        self._last_ones = False
        self._closing: set[asyncio.Task[None]] = set()
        #: Whether any file has been played to its end.
        self._played = False
        #: When (seconds) the output's clock was 0, by its pace, and when it was last looked.
        self._zero = self._ticked_at = 0.0
        #: How far the output has come (ms).
        self._position = 0
        #: By kind: from the file's clock to the output's, and the time of what a push sent out (ms).
        self._shift = {VIDEO: 0, AUDIO: 0}
        self._sent_at: dict[int, int] = {}
        self._dry_since: float | None = None
        #: The last place where a file brought nothing more.
        self._stalled: Place | None = None

    # -- for the owner

    @property
    def progress(self) -> Progress | None:
        """Where it is; None: the last round is over."""
        item, order = self._item, self._order
        place = self._here() if item else order.place
        if place is None:
            return None
        following = order.from_next()
        return Progress(
            place,
            item.facts.duration_ms if item and item.facts else None,
            item.url if item else order.url,
            following[0][1] if following else "",
            order.wanted.moved,
        )

    @property
    def is_waiting(self) -> bool:
        """Whether more would be sent by now if it had come."""
        return self._dry_since is not None

    def pace(self, clock: Callable[[], float]) -> None:
        """Play by this clock (seconds), not by the event loop's."""
        self._clock = clock

    def resume(self, place: Place) -> None:
        """Begin there, before the first `run`."""
        self._order.settle(place)

    def change(self, playlist: Playlist) -> None:
        """Go on with another list, or with this one changed."""
        at_once = self._order.change(playlist) or self._at_once
        self._drop_next()
        if at_once and self._link is not None:
            self._at_once = True
            self._prepare(self._order.from_here())

    async def run(self, connected: Callable[[Counted], None], on_media: OnMessage) -> None:
        """Play; always raises: `Finished` when the last round is over, else `SourceError`."""
        self._on_media, self._link = on_media, (link := _Link())
        try:
            self._prepare(self._order.from_here())
            while self._next is not None and not self._next.done():
                await asyncio.wait([self._next])  # it is another one after a change
            self._zero = self._clock() - (self._timeline.end or 0.0) / 1000
            self._ticked_at = self._clock()
            if self._go_on():
                connected(link)
                self._pump.each_tick(self._tick)
            elif self._order.is_over:
                link.end(Finished())
            await asyncio.wait([link.closed])
        finally:
            self._pump.no_tick(self._tick)
            self._link = None
            await self._stop()
        raise link.closed.result()

    async def _stop(self) -> None:
        """Let go of all files; go on here, when it is run again."""
        if self._item is not None and not self._at_once:
            self._order.settle(self._here())
        self._drop_next()
        self._leave()
        if self._closing:
            await asyncio.wait(self._closing)

    # -- the next file

    def _prepare(self, candidates: list[tuple[Place, str]]) -> None:
        """Open the first of these files that can be played."""
        if candidates:
            playlist = self._order.wanted
            self._last_ones = len(candidates) < len(playlist.urls)
            finding = self._opening.find(candidates, local=playlist.local)
            self._next = self._loop.create_task(finding, name="playlist opening")

    def _drop_next(self) -> None:
        task, self._next, self._at_once = self._next, None, False
        if task is None:
            return
        task.cancel()
        task.add_done_callback(self._close_found)

    def _go_on(self) -> bool:
        """Begin with the next file, if it is ready; say whether it is."""
        if self._next is None or not self._next.done():
            return False
        task, self._next, self._at_once = self._next, None, False
        if self._link is None or task.cancelled():
            return False
        if isinstance(error := task.exception(), Exception):
            if self._played and self._last_ones:
                self._order.settle(None)
            else:
                self._end(error)
            return False
        place, item = task.result()
        self._order.settle(place)
        self._begin(item)
        return True

    def _end(self, why: Exception) -> None:
        if self._link is not None:
            self._link.end(why)

    def _begin(self, item: Item) -> None:
        self._item = item
        end = round(self._timeline.end or 0)
        self._shift = {VIDEO: end, AUDIO: end}
        self._dry_since = None
        self._timeline.switch()
        self._on_event("file.started", f"{named(item.place, item.url)} is played{_from(item.offset_ms)}{_lasts(item)}")

    # -- each tick

    def _tick(self) -> None:
        now = self._clock()
        if now - self._ticked_at > _STOOD_STILL:
            self._zero += now - self._ticked_at
        self._ticked_at = now
        due = (now - self._zero) * 1000
        if self._at_once and self._next is not None and self._next.done():
            self._leave()
        self._play(due)
        if due - self._position > _BEHIND:
            self._timeline.hold(due - _BEHIND)

    def _play(self, due: float) -> None:
        """Send on what is due."""
        while self._item is not None or self._go_on():
            item = self._item
            assert item is not None
            while (message := item.head()) is not None and self._is_due(message, due):
                item.pop()
                self._push(message)
                self._dry_since = None
            if message is not None:
                self._dry_since = None
                self._look_ahead(item)
                return
            if item.ended is None:
                self._stay_dry(item)
                return
            self._finish(item)
            if self._order.is_over:
                break
        if self._order.is_over:
            if due >= (self._timeline.end or 0):
                self._end(Finished())
        elif self._next is not None:
            self._stay_dry(None)

    def _is_due(self, message: Message, due: float) -> bool:
        if message.kind not in MEDIA:
            return True
        at = message.time + self._shift[message.type]
        return at <= due or at - self._position > LONGEST_STEP

    def _push(self, message: Message) -> None:
        type_, time = message.type, message.time
        self._sent_at.pop(type_, None)
        self._timeline.push(type_, time & 0xFFFFFFFF, message.payload, message.kind)
        if message.kind in MEDIA and (sent_at := self._sent_at.get(type_)) is not None:
            self._shift[type_] = sent_at - time

    def _emitted(self, type_: int, time: int, payload: bytes, kind: Kind) -> None:
        if kind in MEDIA:
            self._position = max(self._position, time)
            self._sent_at[type_] = time
        elif kind is Kind.HEADER:
            self._opening.sent[type_] = payload
        if self._link is not None:
            self._link.received += len(payload)
        self._on_media(type_, time & 0xFFFFFFFF, payload)

    def _look_ahead(self, item: Item) -> None:
        """Open the next file in time; a short one may be the same, and be kept in memory by then."""
        left = item.left_ms
        if self._next is not None or left is None or left > PREFETCH:
            return
        candidates = self._order.from_next()
        early = PREFETCH_LIVE if candidates and is_live(candidates[0][1]) else PREFETCH
        if left <= (early / 2 if item.is_coming else early):
            self._shelf.keep(item)
            self._prepare(candidates)

    def _finish(self, item: Item) -> None:
        """The current file is over."""
        if item.picture_end is not None:
            self._timeline.stand(item.picture_end + self._shift[VIDEO])
        self._shelf.keep(item)
        self._played = True
        self._on_event("file.finished", f"{named(item.place, item.url)} has been played{_lasts(item)}")
        if (missing := item.broken_off) is not None:
            why = f": {item.ended}" if item.ended else ""
            text = f"{named(item.place, item.url)} ended {missing / 1000:.1f} s before its time{why}"
            self._on_event("alarm.FileEndEarly", text)
        self._leave()
        if self._at_once:
            return
        if self._next is None:
            self._prepare(self._order.from_next())
        self._order.advance()

    def _leave(self) -> None:
        item, self._item, self._dry_since = self._item, None, None
        if item is not None:
            self._close(item)

    def _close(self, item: Item) -> None:
        closing = self._loop.create_task(item.close(), name="playlist item closing")
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)

    def _close_found(self, task: "asyncio.Task[tuple[Place, Item]]") -> None:
        """Close a file that was opened for nothing."""
        if not task.cancelled() and task.exception() is None:
            self._close(task.result()[1])

    def _stay_dry(self, item: Item | None) -> None:
        """Nothing comes: give it up after a while."""
        now = self._clock()
        if self._dry_since is None:
            self._dry_since = now
        if now - self._dry_since < PATIENCE:
            return
        if item is None:
            self._end(SourceError("the next file is not ready"))
            return
        here = self._here()
        who = named(here, item.url)
        self._on_event("alarm.PullFileUnstable", f"{who} brings nothing more at {here.offset_ms / 1000:.1f} s")
        stalled, self._stalled = self._stalled, here
        again = stalled is not None and stalled[:2] == here[:2] and here.offset_ms - stalled.offset_ms < _PROGRESS
        self._leave()
        if again:
            self._order.advance()
        else:
            self._order.settle(here)
        self._end(SourceError(f"{who} brings nothing more"))

    def _here(self) -> Place:
        """The place that is played now."""
        item = self._item
        assert item is not None
        offset = item.offset_ms + item.taken
        if item.facts is not None and item.facts.duration_ms is not None:
            offset = min(offset, item.facts.duration_ms)
        return item.place._replace(offset_ms=offset)


def _nowhere(_type: int, _time: int, _payload: bytes) -> None:
    """Take media that nobody wants."""


def _from(offset_ms: int) -> str:
    return f" from {offset_ms / 1000:.1f} s" if offset_ms else ""


def _lasts(item: Item) -> str:
    duration = item.facts.duration_ms if item.facts else None
    return "" if duration is None else f", {duration / 1000:.1f} s"
