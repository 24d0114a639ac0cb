"""An encoder that makes no media, but messages whose payload says where they come from, and when."""

import random
from collections.abc import Collection
from dataclasses import dataclass, replace
from functools import cached_property
from struct import Struct

from tests.packets import AVC_HEADER, AVC_HEADER_720P, HEVC_HEADER, aac_header, metadata
from tests.rtmp_wire import AUDIO, DATA, VIDEO

#: What stands behind the FLV head of each payload: its encoder, its number in its kind, the true time (ms) at
#: which it is shown.
STAMP = Struct(">HII")
_AVC_HEADERS = (AVC_HEADER, AVC_HEADER_720P, AVC_HEADER.replace(b"\x4d\x40\x1e", b"\x42\xc0\x1f"))
#: How far sound and picture may be farther apart after a clock was moved alone, in ms: rounding.
DOUBT = 3.0
_LATER = {0: (0,), 1: (2, 0), 2: (3, 0, 0)}
#: Chunk stream and time; length and type; message stream id.
_HEAD = Struct(">III").pack
_CSID = {VIDEO: 6, AUDIO: 4, DATA: 5}
_MP3, _AAC = b"\x2f", b"\xaf\x01"


@dataclass(frozen=True)
class Format:
    """What an encoder is set to. Times in ms; `size` bytes of each picture."""

    frame: float = 40
    gop: int = 25
    b_frames: int = 0
    video: str = "h264"
    profile: int = 0
    audio: str = "aac"
    rate: int = 48000
    channels: int = 2
    size: int = 30
    #: How fast its clock goes.
    pace: float = 1.0
    #: By how much the sound's clock is ahead of the picture's.
    skew: int = 0

    @cached_property
    def video_header(self) -> bytes:
        """Empty: no picture."""
        if not self.video:
            return b""
        return HEVC_HEADER if self.video == "hevc" else _AVC_HEADERS[self.profile]

    @cached_property
    def audio_header(self) -> bytes:
        """Empty: no sound, or of a kind without headers."""
        return aac_header(self.rate, self.channels) if self.audio == "aac" else b""

    @property
    def sound(self) -> float:
        """Duration of one sound in ms."""
        return 1000.0 if self.audio == "mp3" else 1024_000 / self.rate

    @property
    def metadata(self) -> bytes:
        codecs = ({"videocodecid": 7.0} if self.video else {}) | ({"audiocodecid": 10.0} if self.audio else {})
        return metadata(framerate=1000 / self.frame, **codecs)


#: One message a second: as little as there can be of a live stream.
TRICKLE = Format(video="", audio="mp3")


def any_format(rng: random.Random) -> Format:
    """An encoder as one meets them."""
    frame = rng.choice([40, 1000 / 30, 20, 80, 1001 / 30])
    return Format(
        frame=frame,
        gop=max(1, round(rng.choice([0.5, 1, 2, 4]) * 1000 / frame)),
        b_frames=rng.choice([0, 0, 1, 2]),
        profile=rng.randrange(3),
        rate=rng.choice([48000, 48000, 44100]),
        channels=rng.choice([2, 2, 1]),
        size=rng.choice([30, 30, 200, 2000]),
        skew=rng.choice([0, 0, 7, -13]),
    )


def other_format(rng: random.Random, now: Format) -> Format:
    """What an operator changes while a stream runs."""
    match rng.choice(["profile", "b_frames", "size", "rate", "channels", "codec", "video only", "fps", "all"]):
        case "profile":
            return replace(now, profile=(now.profile + 1) % 3)
        case "b_frames":
            return replace(now, b_frames=(now.b_frames + 1) % 3)
        case "size":
            return replace(now, size=rng.choice([30, 300, 3000]))
        case "rate":
            return replace(now, rate=44100 if now.rate == 48000 else 48000)
        case "channels":
            return replace(now, channels=3 - now.channels)
        case "codec":
            return replace(now, video="h264" if now.video == "hevc" else "hevc")
        case "video only":
            return replace(now, audio="" if now.audio else "aac")
        case "fps":
            return replace(now, frame=rng.choice([40, 20, 1000 / 30]))
        case _:
            return any_format(rng)


def chunk(type_: int, timestamp: int, payload: bytes) -> bytes:
    """A message as one chunk with a full header, on message stream 1."""
    length = len(payload)
    if timestamp < 0xFFFFFF:
        return _HEAD(_CSID[type_] << 24 | timestamp, length << 8 | type_, 1 << 24) + payload
    return _HEAD(_CSID[type_] << 24 | 0xFFFFFF, length << 8 | type_, 1 << 24) + timestamp.to_bytes(4, "big") + payload


class Encoder:
    """Produces one stream in one format from `now` (s) on; `base` is where its clock begins, in ms modulo 2^32."""

    def __init__(self, number: int, form: Format, *, now: float, base: int) -> None:
        self.number = number
        self.form = form
        self._began = now
        #: What is added to the true time, by kind: more of it is a jump of that clock.
        self.base = {VIDEO: base, AUDIO: base + form.skew}
        self.pictures = self.sounds = 0
        #: The newest GOP as chunks.
        self.gop = bytearray()
        #: True times at which its clocks were moved.
        self.cuts: list[int] = []
        #: How far its sound and picture may seem to be apart, in ms: for each clock that was moved alone, and for what
        #: was lost around that, since nobody can tell how much that was.
        self.doubt = 0.0
        #: Numbers of pictures before which some were lost on the way.
        self.after_hole: set[int] = set()
        #: True time up to which its media has arrived, and whether since then some was lost, a clock was moved alone.
        self._arrived = 0
        self._lost = self._moved_alone = False
        #: The kinds of what was produced last.
        self.kinds: set[int] = set()
        self._padding = bytes(max(0, form.size - 5 - STAMP.size))

    @property
    def clock(self) -> int:
        """The picture's clock at its next frame, modulo 2^32 ms."""
        return (self.true_time + self.base[VIDEO]) & 0xFFFFFFFF

    @property
    def true_time(self) -> int:
        """Of the picture (without pictures: the sound) that comes next, in ms."""
        return round(self.pictures * self.form.frame if self.form.video else self.sounds * self.form.sound)

    def headers(self) -> bytes:
        """Metadata and codec headers, as a server sends them first."""
        form = self.form
        messages = [(DATA, form.metadata), (VIDEO, form.video_header), (AUDIO, form.audio_header)]
        return b"".join(chunk(type_, self.clock, payload) for type_, payload in messages if payload)

    def produce(self, now: float) -> bytes:
        """All messages up to `now` (s), in the order of their times."""
        form = self.form
        until = (now - self._began) * 1000 * form.pace
        pieces: list[bytes] = []
        self.kinds = set()
        next_video = self.pictures * form.frame if form.video else float("inf")
        next_audio = self.sounds * form.sound if form.audio else float("inf")
        while min(next_video, next_audio) <= until:
            if next_video <= next_audio:
                pieces.append(self._picture(round(next_video)))
                self.kinds.add(VIDEO)
                next_video = self.pictures * form.frame
            else:
                pieces.append(self._sound(round(next_audio)))
                self.kinds.add(AUDIO)
                next_audio = self.sounds * form.sound
        data = b"".join(pieces)
        if form.video:
            self.gop += data
        return data

    def lose(self) -> None:
        """What was produced last did not arrive."""
        self.after_hole.add(self.pictures + 1)
        self._lost = True

    def arrive(self) -> None:
        """What was produced last has arrived."""
        if self._lost and self._moved_alone:
            self.doubt += self.true_time - self._arrived
        self._arrived = self.true_time
        self._lost = self._moved_alone = False

    def move(self, ms: int, kinds: Collection[int]) -> None:
        """Let the clocks of these kinds jump."""
        for kind in kinds:
            self.base[kind] += ms
        if len(kinds) == 1:
            self.move_alone()
        self.cuts.append(self.true_time)

    def move_alone(self) -> None:
        """One clock has moved and the other has not."""
        self.doubt += DOUBT
        self._moved_alone = True

    def follow(self, before: "Encoder") -> None:
        """Be in the place of another, on the same connections, with clocks that are as far apart as they should be."""
        self.doubt = before.doubt
        self._arrived = before._arrived - before.true_time
        self._lost, self._moved_alone = before._lost, before._moved_alone
        if before.base[AUDIO] - before.base[VIDEO] != before.form.skew:
            self.move_alone()

    def _picture(self, time: int) -> bytes:
        form = self.form
        place = self.pictures % form.gop
        head = 0x20
        if place == 0:
            self.gop.clear()
            head = 0x10
        later = 0
        if form.b_frames:
            cycle = _LATER[form.b_frames]
            later = cycle[(place - 1) % len(cycle)] if place else 1
        self.pictures += 1
        cts = round(later * form.frame)
        start = bytes((head | (12 if form.video == "hevc" else 7), 1)) + cts.to_bytes(3, "big")
        payload = start + STAMP.pack(self.number, self.pictures, time + cts) + self._padding
        return chunk(VIDEO, (time + self.base[VIDEO]) & 0xFFFFFFFF, payload)

    def _sound(self, time: int) -> bytes:
        self.sounds += 1
        payload = (_MP3 if self.form.audio == "mp3" else _AAC) + STAMP.pack(self.number, self.sounds, time)
        return chunk(AUDIO, (time + self.base[AUDIO]) & 0xFFFFFFFF, payload)
