"""What is measured of a source or sink, over all its connections. Loop times are in seconds."""

from collections import deque

from penstock.media.packet import AUDIO, VIDEO, Kind, codec_name

_BITRATE_WINDOW = 2.0
#: A step of media time beyond this (ms) is a jump, no progress.
_MAX_STEP = 2000


class Meter:
    """Totals and rates of one node."""

    __slots__ = (
        "_clock",
        "_samples",
        "audio",
        "bytes",
        "codecs",
        "dropped",
        "keyframes",
        "media_ms",
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
        #: How far media time has advanced, in ms.
        self.media_ms = 0
        #: When bytes last moved with media time; None: never.
        self.progress_at: float | None = None
        #: FFmpeg's codec names by message type.
        self.codecs = {VIDEO: "", AUDIO: ""}
        self._samples: deque[tuple[float, int]] = deque()
        self._clock: int | None = None

    def begin(self) -> None:
        """A new connection: its clock has nothing to do with the last one's."""
        self._clock = None

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
        return self.advance(timestamp)

    def passed(self, video: int, audio: int, keyframes: int, timestamp: int) -> None:
        """Count messages that went by in steady flow, the newest at `timestamp` (ms)."""
        self.video += video
        self.audio += audio
        self.keyframes += keyframes
        if self._clock is not None:
            step = (timestamp - self._clock + 0x80000000) % 0x100000000 - 0x80000000
            self.media_ms += max(step, 0)
            if step < 0:
                return
        self._clock = timestamp & 0xFFFFFFFF

    def advance(self, timestamp: int) -> bool:
        """Follow the media clock to `timestamp`; say whether it moved on."""
        if self._clock is None:
            self._clock = timestamp
            return True
        step = (timestamp - self._clock + 0x80000000) % 0x100000000 - 0x80000000
        if -_MAX_STEP <= step <= 0:
            return False
        if step <= _MAX_STEP:
            self.media_ms += max(step, 0)
        self._clock = timestamp
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
