"""The clocks of one source's sound and picture, unwrapped, and followed where they jump. Times in ms."""

from penstock.media.packet import AUDIO, VIDEO

#: A step of one source's clock outside these bounds is a jump.
MAX_STEP_BACK = 1000
MAX_STEP_FORWARD = 2000
#: A hole in the sound up to this length is filled with silence; a longer one means that the clock moved.
MAX_FILL = 10_000
_WRAP = 1 << 32


def other_kind(type_: int) -> int:
    """Return the message type of sound for that of pictures, and the reverse."""
    return AUDIO if type_ == VIDEO else VIDEO


class Clock:
    """That of one kind (sound or picture)."""

    __slots__ = ("adjustment", "last", "skip")

    def __init__(self) -> None:
        #: Unwrapped time of its newest message; None before the first.
        self.last: int | None = None
        #: Added to its times since it jumped before the source was on air.
        self.skip = 0
        #: Added to the output's common offset since it jumped on air.
        self.adjustment = 0


class Clocks:
    """Both, by message type."""

    def __init__(self) -> None:
        self._clocks = {VIDEO: Clock(), AUDIO: Clock()}
        #: The newest time of both.
        self._newest: int | None = None

    def __getitem__(self, type_: int) -> Clock:
        return self._clocks[type_]

    def extend(self, type_: int, timestamp: int) -> int:
        """Extend a 32-bit timestamp by serial arithmetic."""
        near = self._near(type_)
        if near is None:
            return timestamp
        step = (timestamp + self[type_].skip - near) % _WRAP
        return near + (step - _WRAP if step & 0x80000000 else step)

    def is_jump(self, type_: int, time: int) -> bool:
        """Whether a message at `time` follows neither the one before of its kind nor, as its first, the other kind."""
        last, near = self[type_].last, self._near(type_)
        if last is not None:
            return not -MAX_STEP_BACK <= time - last <= MAX_STEP_FORWARD
        return near is not None and abs(time - near) > MAX_FILL

    def skip(self, type_: int, time: int, step: float | None) -> int | None:
        """Let a clock that jumps to `time` go on where it was, and return that place; None if it cannot.

        Where the other kind's clock has skipped before, the same correction is preferred. Else the clock goes on a
        `step` after its last message; None: it may not, because the source is on air.
        """
        clock, near = self[type_], self._near(type_)
        landing = time + self[other_kind(type_)].skip - clock.skip
        if near is not None and self.is_jump(type_, landing):
            if step is None:
                return None
            landing = near if clock.last is None else near + round(step)
        clock.skip += landing - time
        return landing

    def follow(self, type_: int, time: int, *, jumped: bool) -> None:
        """Take in a message's time."""
        clock, newest = self[type_], self._newest
        clock.last = time if jumped or clock.last is None else max(clock.last, time)
        self._newest = time if jumped or newest is None else max(newest, time)

    def _near(self, type_: int) -> int | None:
        last = self[type_].last
        return last if last is not None else self._newest
