"""How an output keeps step with the wall although its sources come and go. Loop times in seconds, media times in ms."""

from penstock.media.packet import AUDIO, VIDEO, Kind
from penstock.media.stream import GOP_BYTES

#: How far the output may run ahead of the wall when a source comes in. Receivers buffer what they get too early, so
#: that whoever always begins with the newest GOP that a server has kept, is minutes ahead after some hundred losses.
MAX_LEAD = 1000.0
#: Encoders' clocks differ from ours by up to so much.
_DRIFT = 0.001
#: A server sends the GOP that it has kept as fast as it can: while media comes more than this faster than it plays.
_BURST = 2.0
#: How often it is looked whether that is over, in seconds, and how many times at most.
LOOK_EVERY = 0.05
_LOOKS = 20
_WRAP = 1 << 32
_MEDIA = (Kind.KEYFRAME, Kind.FRAME, Kind.SOUND)

#: (message type, timestamp modulo 2^32, payload, what it is)
Taken = tuple[int, int, bytes, Kind]


class Pace:
    """Where the output should end by now, going by where it ended when it began, and how fast it has gone since."""

    def __init__(self) -> None:
        self._at: float | None = None
        self._due = 0.0

    def follow(self, now: float, end: float) -> None:
        """The output flows and ends there. An encoder's clock that goes a little fast or slow sets the pace."""
        due = self.due(now)
        if self._at is None or due is None:
            due = end
        else:
            slack = _DRIFT * (now - self._at) * 1000
            due = max(due + min(max(end - due, -slack), slack), end - MAX_LEAD)
        self._at, self._due = now, due

    def forget(self) -> None:
        """The output begins anew."""
        self._at = None

    def due(self, now: float) -> float | None:
        """Return where the output should end; None: it has not begun."""
        return None if self._at is None else self._due + (now - self._at) * 1000


class Arrival:
    """What a source that follows another has sent, until it is clear where to begin with it."""

    def __init__(self) -> None:
        self.messages: list[Taken] = []
        self._bytes = 0
        self._span = 0
        self._looks = 0

    def take(self, type_: int, time: int, payload: bytes, kind: Kind) -> None:
        """Keep a message."""
        self.messages.append((type_, time, payload, kind))
        self._bytes += len(payload)

    def is_over(self) -> bool:
        """Whether all has come that its server had kept; to be asked every `LOOK_EVERY` seconds."""
        times = self._times()
        if not times:
            return False
        before, self._span = self._span, (times[-1] - times[0]) % _WRAP
        self._looks += 1
        paced = self._looks > 1 and self._span - before <= _BURST * LOOK_EVERY * 1000
        return paced or self._looks == _LOOKS or self._bytes > GOP_BYTES

    def entrance(self, lead: float) -> int:
        """Return the index of the message at which the source comes in; past the end: later.

        It is the first keyframe (without pictures: sound) that leaves the output, now `lead` ahead of the wall, at most
        `MAX_LEAD` ahead of it.
        """
        times = self._times()
        wanted = Kind.KEYFRAME if self._leading == VIDEO else Kind.SOUND
        for at, (_, time, _, kind) in enumerate(self.messages):
            if kind is wanted and lead + (times[-1] - time) % _WRAP <= MAX_LEAD:
                return at
        return len(self.messages)

    @property
    def _leading(self) -> int:
        """The kind that says how far its media has come: pictures, if there are any."""
        return VIDEO if any(type_ == VIDEO for type_, *_ in self.messages) else AUDIO

    def _times(self) -> list[int]:
        leading = self._leading
        return [time for type_, time, _, kind in self.messages if type_ == leading and kind in _MEDIA]
