"""What goes out while no source does: a still of the operator's picture, or of the last one that was sent."""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial

import structlog

from penstock.errors import MediaError
from penstock.media.clocks import Clocks
from penstock.media.election import Standing
from penstock.media.pace import MAX_LEAD
from penstock.media.packet import VIDEO, Kind, composition_time, with_composition_time
from penstock.media.plan import SlateMode
from penstock.media.pump import Pump
from penstock.media.still import Still, Stills, rate_of
from penstock.media.stream import Entry, Stream
from penstock.media.timeline import Timeline
from penstock.media.transport import OnEvent

log = structlog.get_logger()

#: The slate's id among a relay's sources.
SLATE = "slate"
#: After so many seconds of a source its frame rate is known, and its slate is made.
KNOWN_AFTER = 3.0
#: What a process missed that stood still for longer (seconds) is not sent later.
MAX_LATE = 10.0
#: How much later than decoded a picture of the slate may be shown (ms).
LONGEST_DELAY = 500

#: Message type, timestamp in ms, payload, what it is.
Push = Callable[[int, int, bytes, Kind], None]


class Slate:
    """A relay's source of last resort: a loop from memory, which costs nothing while another source is on air.

    `mode` is ``picture``: made some seconds after a source has begun, for its size, codec and frame rate; or ``last``:
    made of what was sent last, when the source has gone, for which `stream` must keep its newest GOP.

    Its pictures go out in `pump`'s ticks. `behind` says how far the pictures of the output are behind the wall (ms),
    `push` sends on while the slate is on air, `on_ready` is called when it could come in.
    """

    def __init__(
        self,
        mode: SlateMode,
        stills: Stills,
        pump: Pump,
        timeline: Timeline,
        stream: Stream,
        *,
        behind: Callable[[], float],
        push: Push,
        on_ready: Callable[[], None],
        on_event: OnEvent,
    ) -> None:
        self.id = SLATE
        self.mode = mode
        self.on_air = False
        self.clocks: Clocks | None = None
        #: When its newest picture went out (loop time).
        self.moved_at: float | None = None
        self._stills = stills
        self._pump = pump
        self._timeline = timeline
        self._stream = stream
        self._behind = behind
        self._push = push
        self._on_ready = on_ready
        self._on_event = on_event
        self._loop = asyncio.get_running_loop()
        self._still: Still | None = None
        #: A source's newest keyframe that has not taken the lane: each header is followed by one.
        self._keyframe = b""
        #: The header of the source that the still is for, when it was first seen, and whether a still has been tried.
        self._header: bytes | None = None
        self._seen_at = 0.0
        self._tried = False
        self._making: asyncio.Task[None] | None = None
        #: See `_next`; in ms.
        self._delay = 0
        self._ahead = 0
        #: How many pictures have gone out, and when the next is due (loop time); None: that is to be seen.
        self._number = 0
        self._next_at: float | None = None

    @property
    def is_coming(self) -> bool:
        """Whether there is a still that can go out, or will be soon."""
        return (self._still is not None or self._making is not None) and self._timeline.can_be_silent

    def close(self) -> None:
        """End for good."""
        self.stand_by()
        self._drop()

    # -- while a source is on air

    def seen(self, keyframe: bytes) -> None:
        """Take a keyframe of the source on air."""
        self._keyframe = keyframe

    def sample(self) -> None:
        """Make the still as soon as the source's frame rate is known; to be called a few times a second."""
        self._look()
        known = self._loop.time() - self._seen_at >= KNOWN_AFTER
        if self.mode == "picture" and self._header is not None and known and not self._tried:
            self._prepare()

    def lost(self) -> None:
        """Take note that the source on air has gone."""
        self._look()
        if self.mode == "last":
            self._drop()
        if not self.is_coming:
            self._prepare()

    def _look(self) -> None:
        """See whether the source's pictures are what they were. While the slate is on air, they are its own."""
        header = self._stream.headers.get(VIDEO)
        if not self.on_air and self._timeline.on_air and self._keyframe and header not in (None, self._header):
            self._drop()
            self._header, self._seen_at, self._tried = header, self._loop.time(), False
            self._delay = min(max(composition_time(self._keyframe), 0), LONGEST_DELAY)

    def _prepare(self) -> None:
        """Begin to make the still, or say why there is none."""
        self._tried = True
        if self._header is None:
            self._fail("no pictures have been sent")
        elif not self._timeline.can_be_silent:
            self._fail("there is no silence in the codec of the sound that was sent")
        elif self.mode == "picture":
            self._make(partial(self._stills.of_picture, self._header, self._keyframe, rate_of(self._timeline.frame)))
        elif frames := [one[2] for one in self._stream.newest() if one[3] in (Kind.KEYFRAME, Kind.FRAME)]:
            self._make(partial(self._stills.of_last, self._header, frames, rate_of(self._timeline.frame)))
        else:
            self._fail("the last group of pictures was too large to be kept")

    def _fail(self, reason: str) -> None:
        self._on_event("slate.failed", f"there is no slate: {reason}")

    def _make(self, still: Callable[[], Awaitable[Still]]) -> None:
        async def make() -> None:
            try:
                self._still = await still()
            except MediaError as error:
                self._fail(error.message)
            except Exception as error:
                log.exception("a slate could not be made")
                self._fail(f"internal error ({type(error).__name__})")
            self._making = None
            if self._still is not None:
                self._keyframe = b""
                self._on_ready()

        self._making = self._loop.create_task(make())

    def _drop(self) -> None:
        """Forget the still, also one that is being made."""
        self._still = None
        if self._making is not None:
            self._making.cancel()
            self._making = None

    # -- see `penstock.media.intake.Candidate`

    def standing(self, lead: float | None) -> Standing:
        """How it stands for an output that is `lead` ms ahead of the wall; None: that has not begun."""
        ready = self._still is not None and lead is not None and lead <= MAX_LEAD and self._timeline.can_be_silent
        return Standing(self.id, flowing_since=None, ready=ready, opportune=True, failed=False, last_resort=True)

    def go_on_air(self, lead: float | None) -> list[Entry]:
        """Begin; return its header and its keyframe."""
        assert self._still is not None
        self.on_air, self._number, self._next_at = True, 0, None
        self._ahead = min(self._timeline.delay, LONGEST_DELAY) - self._delay
        self.moved_at = self._loop.time()
        self._pump.each_tick(self._run)
        return [(VIDEO, 0, self._still.header, Kind.HEADER), self._next(self._still)]

    def stand_by(self) -> None:
        """Another has come on air."""
        self.on_air = False
        self._pump.no_tick(self._run)

    def _run(self) -> None:
        """Send all pictures that are due; at first those that lie between the last picture and now."""
        if self._still is None or not self.on_air:
            return
        now, step = self._loop.time(), self._still.frame / 1000
        if self._next_at is None:
            self._next_at = now - max(self._behind(), 0.0) / 1000
        self._next_at = max(self._next_at, now - MAX_LATE)
        while self._next_at <= now:
            self._push(*self._next(self._still))
            self._next_at += step
        self.moved_at = now

    def _next(self, still: Still) -> Entry:
        """Return the next picture.

        A source with B-frames decodes its pictures earlier than it shows them, after a keyframe by `_delay` ms. So
        does the slate, so that both sides meet without a step in DTS; what the source was ahead of that when it went
        is made up for by 1 ms a picture.
        """
        number, ahead = self._number, self._ahead
        delay = self._delay + (max(0, ahead - number) if ahead > 0 else min(0, ahead + number))
        payload = with_composition_time(still.frames[number % len(still.frames)], delay)
        self._number += 1
        kind = Kind.FRAME if number % len(still.frames) else Kind.KEYFRAME
        return VIDEO, round(number * still.frame) + LONGEST_DELAY - delay, payload, kind
