"""The invariants, checked on every message that a destination gets, and on every run that begins."""

import math
from collections.abc import Callable
from struct import pack
from zlib import crc32

from penstock.media.plan import SlateMode
from penstock.media.silence import SILENT_AAC
from tests.rtmp_wire import AUDIO, VIDEO
from tests.sim.encoder import STAMP, Encoder
from tests.sim.peers import Publisher
from tests.sim.stills import MARK, STILL

_WRAP = 1 << 32
#: How far sound and picture of one source may be apart from where they were made, in ms: rounding.
OFFSET = 3.0
#: How far the two may be from the moment in which clocks are moved, in ms: reordered pictures.
CUT = 500
#: How wide the band may be in which media time minus wall time stays over one connection, in ms: splice.md's -7..+1 s.
LEAD_BAND = 8_000.0
#: A pause of media time up to this is none, in seconds.
STEADY = 1.5
#: How far behind the picture the sound may end, in ms, and how far the sound of before may have run past the first one.
PRESENCE, AHEAD = 1100, 1000
#: How much sooner or later than one frame after another the pictures of a slate may be shown, in ms: rounding.
_ROUNDING = 2


class Output:
    """What one connection to a destination got, and whether that can be."""

    def __init__(
        self,
        publisher: Publisher,
        at: float,
        encoders: list[Encoder],
        fail: Callable[[str], None],
        slate: SlateMode = "off",
    ) -> None:
        self.publisher = publisher
        self._encoders = encoders
        self._fail = fail
        self._slate = slate
        self.at = at
        #: Times (ms, unwrapped) of the first message and of the newest of each kind.
        self._last: dict[int, int] = {}
        self._first: tuple[float, int] | None = None
        self._headers: dict[int, bytes] = {}
        self._picture: tuple[int, int] | None = None
        #: By kind, the encoder whose message was last, that one's true time, and its output time minus that.
        self._offsets: dict[int, tuple[int, int, int]] = {}
        self._newest: int | None = None
        #: When media time last moved on, and since when it has done so without a pause; when a picture last came.
        self.moved_at = self.steady_since = self.picture_at = at
        #: The slate's newest picture: its place in the still, when it is shown there, and on the output (ms).
        self._still: tuple[int, int, int] | None = None
        #: Media time minus wall time since the first message, in ms: the newest, the most, the least when all flows.
        self.lead = self._most = 0.0
        self._least = math.inf
        #: The longest time from one picture's DTS to the next one's, in ms.
        self.longest_step = 0
        self.messages = 0
        #: Whose media came last; None: nobody's, or the slate's.
        self.encoder: Encoder | None = None

    def keep_up(self) -> None:
        """It takes what comes: its lead counts."""
        self._least = min(self._least, self.lead)
        self._bound()

    def _bound(self) -> None:
        if self._most - self._least > LEAD_BAND:
            self._fail(f"lead of {self._least:.0f} to {self._most:.0f} ms")
            self._least = math.inf

    def take(self, now: float, type_: int, time: int, payload: bytes) -> None:
        self.messages += 1
        if type_ == VIDEO:
            if payload[1] == 0:
                self._take_header(VIDEO, payload, codec=payload[:1])
                return
        elif type_ == AUDIO:
            if payload[0] >> 4 == 10 and payload[1] == 0:
                self._take_header(AUDIO, payload, codec=payload)
                return
        else:
            return
        time = self._follow(now, type_, time)
        if type_ == VIDEO:
            self._take_picture(now, time, payload)
        elif payload[2:] not in SILENT_AAC.values():
            self._take_sound(time, payload)
        elif self._headers.get(AUDIO, b"")[:2] != b"\xaf\x00":
            self._fail("silent AAC without an AAC header")

    def _take_header(self, type_: int, payload: bytes, codec: bytes) -> None:
        """A header; what receivers cannot follow may not change: `codec`."""
        before = self._headers.get(type_)
        if before is not None and not before.startswith(codec):
            self._fail(f"the codec changes on one connection: {before.hex()} {payload.hex()}")
        self._headers[type_] = payload

    def _follow(self, now: float, type_: int, time: int) -> int:
        """The time unwrapped; it must rise."""
        near = self._newest
        if near is not None:
            time = near + ((time - near + (_WRAP >> 1)) % _WRAP - (_WRAP >> 1))
        last = self._last.get(type_)
        if last is not None and time <= last:
            self._fail(f"DTS of {'video' if type_ == VIDEO else 'audio'} does not rise: {time} after {last}")
        if last is not None and type_ == VIDEO:
            self.longest_step = max(self.longest_step, time - last)
        self._last[type_] = time
        if near is None or time > near:
            self._newest = time
            if near is None or now - self.moved_at > STEADY:
                self.steady_since = now
            self.moved_at = now
        if self._first is None:
            self._first = now, time
        begun, first = self._first
        self.lead = (self._newest or time) - first - (now - begun) * 1000
        if self.lead > self._most:
            self._most = self.lead
            self._bound()
        return time

    def _take_picture(self, now: float, time: int, payload: bytes) -> None:
        number, picture, true = STAMP.unpack_from(payload, 5)
        shown = time + int.from_bytes(payload[2:5], "big", signed=True)
        key = payload[0] >> 4 == 1
        if number == STILL:
            self._take_still(picture, true, shown, key=key, of=STAMP.unpack_from(payload, 5 + STAMP.size))
        else:
            self._still = None
            self._take_coded(number, picture, true, shown, key=key)
        self.picture_at = now
        sound = self._last.get(AUDIO)
        assert self._first is not None
        if AUDIO not in self._headers or (self._first[1] + AHEAD if sound is None else sound) < time - PRESENCE:
            self._fail(f"picture at {time}, but sound until {sound}")

    def _take_coded(self, number: int, picture: int, true: int, shown: int, *, key: bool) -> None:
        """A picture of an encoder."""
        encoder = self._encoders[number]
        if self._headers.get(VIDEO) != encoder.form.video_header:
            self._fail(f"a picture of encoder {number} under another header than its own")
        follows = self._picture == (number, picture - 1)
        if key and not (follows and abs(self._offsets.get(VIDEO, (0, 0, 0))[2] - (shown - true)) <= OFFSET):
            self._offsets.clear()  # a splice: the sound of before belongs to the picture of before
        elif not follows and picture not in encoder.after_hole:
            self._fail(f"picture {number}/{picture} without the one before, after {self._picture}")
        self._picture = (number, picture)
        self._aligned(VIDEO, number, true, shown - true)

    def _take_still(self, place: int, true: int, shown: int, *, key: bool, of: tuple[int, ...]) -> None:
        """A picture of the slate; the still was made of picture `of`."""
        if self._headers.get(VIDEO) != self._encoders[of[0]].form.video_header + MARK:
            self._fail(f"a slate made for encoder {of[0]} under another header than its own")
        before, self._still = self._still, (place, true, shown)
        if key != (place == 0) or (before is not None and place not in (0, before[0] + 1)):
            self._fail(f"picture {place} of the slate after {before}")
        if before is not None and place and abs(shown - before[2] - (true - before[1])) > _ROUNDING:
            self._fail(f"pictures of the slate are {shown - before[2]} ms apart")
        if before is None and self._slate == "last" and self._picture is not None and self._has_read_since_picture:
            last = self._picture
            if last != of[:2]:
                self._fail(f"the slate shows picture {of[:2]}, but {last} was the last")
        self._picture = self.encoder = None
        self._offsets.clear()

    @property
    def shows_slate(self) -> bool:
        """Whether the newest picture was the slate's."""
        return self._still is not None

    @property
    def _has_read_since_picture(self) -> bool:
        """Whether it has missed nothing since the newest picture came."""
        return self.publisher.reading and self.publisher.reading_since < self.picture_at

    def _take_sound(self, time: int, payload: bytes) -> None:
        number, _, true = STAMP.unpack_from(payload, 2 if payload[0] >> 4 == 10 else 1)
        encoder = self._encoders[number]
        if encoder.form.audio_header and self._headers.get(AUDIO) != encoder.form.audio_header:
            self._fail(f"a sound of encoder {number} under another header than its own")
        self._aligned(AUDIO, number, true, time - true - encoder.form.skew)

    def _aligned(self, type_: int, number: int, true: int, offset: int) -> None:
        self.encoder = self._encoders[number]
        self._offsets[type_] = (number, true, offset)
        other = self._offsets.get(AUDIO if type_ == VIDEO else VIDEO)
        if other is None or other[0] != number or abs(true - other[1]) > 1000:
            return  # before a hole the two may have been elsewhere
        encoder = self._encoders[number]
        if any(min(true, other[1]) - CUT < cut < max(true, other[1]) + CUT for cut in encoder.cuts):
            return  # one of them was sent before the clocks were moved
        apart = abs(offset - other[2])
        if apart > OFFSET + encoder.doubt:
            self._fail(f"sound and picture of encoder {number} are {apart} ms apart")


class Watch:
    """Sees everything that any destination gets."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        #: What is shown while there is no source.
        self.slate: SlateMode = "off"
        self.encoders: list[Encoder] = []
        self.outputs: dict[Publisher, Output] = {}
        #: When each stream's media time last moved on at its destination.
        self._moved: dict[str, float] = {}
        self.violations: list[str] = []
        self.messages = 0
        self.digest = 0

    def add(self, encoder: Encoder) -> int:
        """An encoder's number."""
        self.encoders.append(encoder)
        return len(self.encoders) - 1

    def fail(self, what: str) -> None:
        """Something must not be."""
        if len(self.violations) < 20:
            self.violations.append(f"at {self._clock():.3f} s: {what}")

    def begins(self, publisher: Publisher) -> None:
        for other in [one for one in self.outputs if not one.alive]:
            del self.outputs[other]
        name = publisher.name
        if any(other.publishing and other.name == name for other in self.outputs):
            self.fail(f"{name} is published twice at the same time")
        fail: Callable[[str], None] = lambda what: self.fail(f"{name}: {what}")  # noqa: E731
        self.outputs[publisher] = Output(publisher, self._clock(), self.encoders, fail, self.slate)

    def takes(self, publisher: Publisher, type_: int, time: int, payload: bytes) -> None:
        self.messages += 1
        self.digest = crc32(payload, crc32(pack(">dI", self._clock(), time), self.digest))
        now, output = self._clock(), self.outputs[publisher]
        output.take(now, type_, time, payload)
        if output.moved_at == now:
            self._moved[publisher.name] = now

    def look(self) -> None:
        """Those that take what comes may not fall behind."""
        now = self._clock()
        for publisher, out in self.outputs.items():
            since = max(out.steady_since, publisher.reading_since)
            reads = publisher.publishing and publisher.reading and now - since > 2
            if reads and now - out.moved_at < STEADY:
                out.keep_up()

    def late(self, publisher: Publisher) -> None:
        """Our system took bytes for a destination that has closed or does not read: maybe no whole message."""
        self._moved[publisher.name] = self._clock()

    def publishing_to(self, name: str) -> list[Output]:
        """The connections on which a stream is published now, to destinations that read."""
        return [out for out in self._of(name) if out.publisher.publishing and out.publisher.reading]

    def delivered_within(self, name: str, seconds: float) -> bool:
        """Whether a stream's destination has lately seen media time move."""
        return self._moved.get(name, -math.inf) >= self._clock() - seconds

    def delivered_for(self, name: str) -> float:
        """For how many seconds a stream's destination has steadily been getting media; 0: it does not now."""
        now = self._clock()
        steady = [now - o.steady_since for o in self._of(name) if o.publisher.publishing and now - o.moved_at < STEADY]
        return max(steady, default=0.0)

    def source_of(self, name: str) -> Encoder | None:
        """The encoder whose media a stream carries."""
        return next((out.encoder for out in self._of(name) if out.publisher.publishing), None)

    def publishing(self) -> set[str]:
        """The streams that are published now."""
        return {one.name for one in self.outputs if one.publishing}

    def _of(self, name: str) -> list[Output]:
        return [out for publisher, out in self.outputs.items() if publisher.name == name]
