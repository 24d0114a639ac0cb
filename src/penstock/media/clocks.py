"""The clocks of one source's sound and picture, unwrapped, and followed where they jump. Times in ms.

What a clock jumps by is taken off again, so that a source's times go on; it is the relation of the two clocks that a
receiver hears and sees. Where both jump the same way, or one comes back to where it was, the relation is kept.
"""

from collections.abc import Callable

from penstock.media.packet import AUDIO, VIDEO
from penstock.media.silence import duration

#: A step of one source's clock outside these bounds is a jump.
MAX_STEP_BACK = 1000
MAX_STEP_FORWARD = 2000
#: A hole in the sound up to this length is filled with silence; a longer one means that the clock moved.
MAX_FILL = 10_000
#: A longer step says nothing of how long a picture lasts.
LONGEST_FRAME = 500
_TYPICAL_FRAME = 40.0
_TYPICAL_SOUND = 1024_000 / 48_000
#: How far sound and picture that belong together may be apart as they come.
_APART = 1000
#: How much of a source may come after one clock has jumped until the other does the same: what may be lost, and that.
_FOLLOWS = MAX_STEP_FORWARD + _APART
_WRAP = 1 << 32


def clock_step(last: int, timestamp: int) -> int:
    """Return how far a 32-bit clock has gone, forward or back, by serial arithmetic."""
    return (timestamp - last + 0x80000000) % _WRAP - 0x80000000


def other_kind(type_: int) -> int:
    """Return the message type of sound for that of pictures, and the reverse."""
    return AUDIO if type_ == VIDEO else VIDEO


class Clock:
    """That of one kind (sound or picture)."""

    __slots__ = ("known", "last", "skip", "step")

    def __init__(self, step: float) -> None:
        #: Unwrapped time of its newest message, without jumps; None before the first.
        self.last: int | None = None
        #: Added to what it says, for the jumps so far.
        self.skip = 0
        #: How long a message lasts: a picture as measured, which needs two, a sound as its header says.
        self.step = step
        self.known = False


class Clocks:
    """Both, by message type. A step forward by more than `longest_step` is a jump."""

    def __init__(self, longest_step: int = MAX_STEP_FORWARD) -> None:
        self._longest_step = longest_step
        self._clocks = {VIDEO: Clock(_TYPICAL_FRAME), AUDIO: Clock(_TYPICAL_SOUND)}
        #: How many jumps there were.
        self.jumps = 0
        #: The newest jump, while the other kind may do the same: whose, what was added for it, until when.
        self._jump: tuple[int, int, int] | None = None

    def __getitem__(self, type_: int) -> Clock:
        return self._clocks[type_]

    @property
    def settled(self) -> bool:
        """Whether no clock has jumped so lately that the other may still do the same."""
        return self._jump is None

    def announce(self, header: bytes) -> None:
        """Take in a header of the sound."""
        self[AUDIO].step = duration(header) or self[AUDIO].step

    def take(self, type_: int, timestamp: int, pause: Callable[[], float] = lambda: 0.0) -> int:
        """Return a message's time, from its 32-bit timestamp: unwrapped, and without jumps.

        `pause` says for how long (ms, by the wall clock) nothing came before it.
        """
        time = self.extend(type_, timestamp)
        if self._is_jump(type_, time):
            time = self._heal(type_, time, pause())
        self._follow(type_, time)
        return time

    def extend(self, type_: int, timestamp: int) -> int:
        """Extend a 32-bit timestamp by serial arithmetic."""
        near = self._near(type_)
        if near is None:
            return timestamp
        step = (timestamp + self[type_].skip - near) % _WRAP
        return near + (step - _WRAP if step & 0x80000000 else step)

    def _is_jump(self, type_: int, time: int) -> bool:
        """Whether a message at `time` follows neither the one before of its kind nor, as its first, the other kind."""
        near = self._near(type_)
        if near is None:
            return False
        step = time - near
        if self[type_].last is None:
            return abs(step) > MAX_FILL
        # Both may step by what is a jump for the one and, a frame earlier or later, none for the other.
        return not -MAX_STEP_BACK <= step <= self._longest_step or abs(step + self._answer(type_)) < abs(step) / 4

    def _heal(self, type_: int, time: int, pause: float) -> int:
        """Return where a message whose clock jumps to `time` belongs, and let that clock go on there."""
        healed = self._place(type_, time, pause)
        by = healed - time
        if by:
            self.jumps += 1
            self[type_].skip += by
            self._jump = None if by == self._answer(type_) else (type_, by, healed + _FOLLOWS)
        return healed

    def _place(self, type_: int, time: int, pause: float) -> int:
        """Find the place of a message that seems to be at `time`.

        Its clock may have jumped as the other's has just done, not at all (its kind paused), or back to where it was
        at first: if so, the message is now no jump any more, or near the other kind. A step as long as the pause
        before it is none. Else its clock has jumped alone or first, and it follows its own kind; if the other is far
        past that, it goes beside it.
        """
        clock, other = self[type_], self[other_kind(type_)]
        near = self._near(type_)
        assert near is not None
        back, forward = float(MAX_STEP_BACK), max(self._longest_step, pause + _APART)
        if clock.last is None:
            back = forward = MAX_FILL
        alone = near if clock.last is None else near + round(clock.step)
        beside = alone if other.last is None else other.last
        for related in (time + self._answer(type_), time, time + other.skip - clock.skip):
            if related >= near - back and (related <= near + forward or abs(related - beside) <= _APART):
                return related
        return beside if beside > alone + MAX_STEP_FORWARD else alone

    def _follow(self, type_: int, time: int) -> None:
        clock = self[type_]
        if clock.last is None:
            clock.last = time
        else:
            if type_ == VIDEO and 0 < (step := time - clock.last) < LONGEST_FRAME:
                clock.step = clock.step * 0.8 + step * 0.2 if clock.known else float(step)
            clock.known = True
            clock.last = max(clock.last, time)
        if self._jump is not None and time > self._jump[2]:
            self._jump = None

    def _answer(self, type_: int) -> int:
        """What is added to a message's time if its clock does what the other kind's has just done; 0: nothing."""
        return 0 if self._jump is None or self._jump[0] == type_ else self._jump[1]

    def _near(self, type_: int) -> int | None:
        last = self[type_].last
        return last if last is not None else self[other_kind(type_)].last
