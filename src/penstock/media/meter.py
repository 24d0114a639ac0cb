"""What is measured of a source or sink, over all its connections. Loop times are in seconds."""

from collections import deque

from penstock.media.clocks import clock_step
from penstock.media.packet import AUDIO, VIDEO, Kind, codec_name

_BITRATE_WINDOW = 2.0
#: A step of media time beyond this (ms) is a jump, no progress.
_MAX_STEP = 2000


class Meter:
    """Totals and rates of one node."""

    __slots__ = (
        "_advanced",
        "_before",
        "_clocks",
        "_samples",
        "audio",
        "bytes",
        "codecs",
        "dropped",
        "keyframes",
        "progress_at",
        "video",
    )

    def __init__(self) -> None:
        #: Bytes on the wire.
        self.bytes = 0
        #: Messages by kind.
        self.video = 0
        self.audio = 0
        self.keyframes = 0
        self.dropped = 0
        #: When bytes last moved with media time; None: never.
        self.progress_at: float | None = None
        #: FFmpeg's codec names by message type.
        self.codecs = {VIDEO: "", AUDIO: ""}
        self._samples: deque[tuple[float, int]] = deque()
        self._before = 0
        self._advanced = {VIDEO: 0, AUDIO: 0}
        self.begin()

    def begin(self) -> None:
        """A new connection: its clock has nothing to do with the last one's."""
        #: By message type: the newest time, modulo 2^32 ms, and how far it has advanced on this connection. A source's
        #: sound and pictures may be hours apart, when one of its clocks has jumped.
        self._clocks: dict[int, int] = {}
        self._before = self.media_ms
        self._advanced = {VIDEO: 0, AUDIO: 0}

    @property
    def media_ms(self) -> int:
        """How far media time has advanced, in ms."""
        return self._before + max(self._advanced.values())

    def count(self, type_: int, timestamp: int, payload: bytes, kind: Kind) -> bool:
        """Count one message, its time modulo 2^32 ms; say whether it moved media time."""
        if kind is Kind.KEYFRAME or kind is Kind.FRAME:
            self.video += 1
            self.keyframes += kind is Kind.KEYFRAME
        elif kind is Kind.SOUND:
            self.audio += 1
        else:
            if kind is Kind.HEADER:
                self.codecs[type_] = codec_name(type_, payload)
            return False
        return self.advance(timestamp, type_)

    def passed(self, video: int, audio: int, keyframes: int, video_time: int, audio_time: int) -> None:
        """Count messages that went by in steady flow; the times (ms) are those of the newest of each kind."""
        self.video += video
        self.audio += audio
        self.keyframes += keyframes
        if video:
            self._pass(VIDEO, video_time)
        if audio:
            self._pass(AUDIO, audio_time)

    def _pass(self, type_: int, time: int) -> None:
        if (last := self._clocks.get(type_)) is not None:
            self._clocks[type_] = time & 0xFFFFFFFF
            step = (time - last) & 0xFFFFFFFF
            if step < 0x80000000:
                self._advanced[type_] += step

    def advance(self, timestamp: int, type_: int = VIDEO) -> bool:
        """Follow the clock of one kind to `timestamp`; say whether it moved on."""
        last = self._clocks.get(type_)
        step = 0 if last is None else clock_step(last, timestamp)
        if last is not None and -_MAX_STEP <= step <= 0:
            return False
        self._clocks[type_] = timestamp
        if 0 < step <= _MAX_STEP:
            self._advanced[type_] += step
        return True

    def sample(self, now: float) -> None:
        """Note where the byte count is, for the bitrate."""
        self._samples.append((now, self.bytes))
        while len(self._samples) > 2 and now - self._samples[1][0] >= _BITRATE_WINDOW:
            self._samples.popleft()

    @property
    def bitrate(self) -> int:
        """Bits per second over the last two seconds."""
        if len(self._samples) < 2:
            return 0
        (t0, b0), (t1, b1) = self._samples[0], self._samples[-1]
        return round((b1 - b0) * 8 / (t1 - t0)) if t1 > t0 else 0
