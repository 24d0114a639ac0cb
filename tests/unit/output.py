"""A Timeline and what it puts out."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import pairwise

from penstock.media.packet import (
    AUDIO,
    DATA,
    VIDEO,
    Kind,
    kind_of,
)
from penstock.media.silence import SILENT_AAC
from penstock.media.timeline import Timeline
from tests.packets import Clip, cts_of, number_of
from tests.rtmp_wire import Message

SOUND_STEP = 1024_000 / 48_000
CLIP = Clip()


class Output:
    """A Timeline and everything that it put out; sources are played into it."""

    def __init__(self) -> None:
        #: (type, timestamp, payload, kind); a break is (0, 0, reason, NOTHING).
        self.entries: list[tuple[int, int, bytes, Kind]] = []
        self.breaks: list[str] = []
        self.timeline = Timeline(lambda *entry: self.entries.append(entry), on_break=self._break)

    def _break(self, reason: str) -> None:
        self.breaks.append(reason)
        self.entries.append((0, 0, reason.encode(), Kind.NOTHING))

    def play(self, source: Clip | Iterable[Message], *, switch: bool = True) -> "Output":
        """Play a source to its end."""
        if switch:
            self.timeline.switch()
        for message in source.messages() if isinstance(source, Clip) else source:
            self.timeline.push(message.type, message.timestamp, message.payload, kind_of(message.type, message.payload))
        return self

    def parts(self) -> list["Output"]:
        """What went out on each connection: what lies between breaks."""
        found = [Output()]
        for entry in self.entries:
            if entry[0] == 0:
                found.append(Output())
            else:
                found[-1].entries.append(entry)
        return found

    def of(self, *kinds: Kind) -> list[tuple[int, bytes]]:
        """(timestamp, payload) of some kinds."""
        return [(time, payload) for _, time, payload, kind in self.entries if kind in kinds]

    @property
    def pictures(self) -> list[tuple[int, bytes]]:
        """Coded pictures."""
        return self.of(Kind.KEYFRAME, Kind.FRAME)

    @property
    def sounds(self) -> list[tuple[int, bytes]]:
        """Sounds of the sources."""
        return [(time, payload) for time, payload in self.of(Kind.SOUND) if not is_silence(payload)]

    @property
    def silences(self) -> list[int]:
        """Times of silent frames."""
        return [time for time, payload in self.of(Kind.SOUND) if is_silence(payload)]

    @property
    def headers(self) -> list[bytes]:
        """Codec headers in the order in which they were sent."""
        return [payload for _, payload in self.of(Kind.HEADER)]

    @property
    def shown(self) -> list[int]:
        """The pictures' times of presentation, sorted."""
        return sorted(time + cts_of(payload) for time, payload in self.pictures)

    def largest_step(self) -> int:
        """The largest step between two pictures as they are shown."""
        return max(later - before for before, later in pairwise(self.shown))

    def largest_sound_step(self) -> int:
        """The largest step between two sounds, silence included."""
        times = [time for time, _ in self.of(Kind.SOUND)]
        return max(later - before for before, later in pairwise(times))

    def offsets(self, source: Sequence[Message], kind: int) -> set[int]:
        """By how much the source's pictures or sounds were moved, by their times of presentation."""
        known = {number_of(m.payload): m for m in source if m.type == kind and m.payload[1] == 1}
        found = set()
        for time, payload in self.pictures if kind == VIDEO else self.sounds:
            message = known.get(number_of(payload))
            if message is not None:
                later = cts_of(payload) - cts_of(message.payload) if kind == VIDEO else 0
                found.add(time + later - message.timestamp)
        return found


def with_pcm(clip: Clip) -> list[Message]:
    """A clip whose sound is PCM."""
    source = replace(clip, audio=False).messages()[1:]
    source += [Message(AUDIO, 26 * at, b"\x3f" + bytes(22)) for at in range(76)]
    return sorted(source, key=lambda m: m.timestamp)


def is_silence(payload: bytes) -> bool:
    """Whether a sound is one of the constant silent frames."""
    return payload[2:] in SILENT_AAC.values()


def moved(messages: Iterable[Message], *, after: int, video: int = 0, audio: int = 0) -> list[Message]:
    """Messages whose clocks step by so many ms where they reach `after`."""
    step = {VIDEO: video, AUDIO: audio, DATA: 0}
    return [replace(m, timestamp=(m.timestamp + step[m.type]) % 2**32) if m.timestamp >= after else m for m in messages]


def rises(times: Iterable[int]) -> bool:
    """Whether each is greater than the one before."""
    return all(before < later for before, later in pairwise(times))
