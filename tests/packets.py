"""Media messages without media: headers that are valid, pictures and sounds that only carry a number."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tests.rtmp_wire import AUDIO, DATA, VIDEO, Message, amf

#: AVCDecoderConfigurationRecord of a 640x360 main profile stream, as FLV carries it.
AVC_HEADER = bytes.fromhex("1700000000014d401effe1000a674d401eeca050171220010004 68ee3c80".replace(" ", ""))
AVC_HEADER_720P = AVC_HEADER.replace(b"\x4d\x40\x1e", b"\x64\x00\x1f")
HEVC_HEADER = bytes.fromhex("1c000000000101600000009000000000005df000fcfdf8f800000f00")


def aac_header(rate: int = 48000, channels: int = 2) -> bytes:
    """An audio header: AAC-LC, AudioSpecificConfig."""
    index = (96000, 88200, 64000, 48000, 44100, 32000, 24000).index(rate)
    return b"\xaf\x00" + (2 << 11 | index << 7 | channels << 3).to_bytes(2, "big")


def picture(number: int = 0, *, key: bool = False, cts: int = 0, size: int = 30, codec: int = 7) -> bytes:
    """A coded H.264 picture in FLV's layout that carries a number."""
    head = bytes([(0x10 if key else 0x20) | codec, 1]) + (cts & 0xFFFFFF).to_bytes(3, "big")
    return (head + number.to_bytes(4, "big")).ljust(size, b"\x5a")


def sound(number: int = 0, *, size: int = 12) -> bytes:
    """A coded AAC frame in FLV's layout that carries a number."""
    return (b"\xaf\x01" + number.to_bytes(4, "big")).ljust(size, b"\xa5")


def number_of(payload: bytes) -> int:
    """The number that `picture` or `sound` put there."""
    at = 5 if payload[0] & 0x0F in (7, 12) else 2
    return int.from_bytes(payload[at : at + 4], "big")


def cts_of(payload: bytes) -> int:
    """The composition time of a picture."""
    return int.from_bytes(payload[2:5], "big", signed=True)


def metadata(**members: object) -> bytes:
    """The payload of an ``onMetaData``."""
    return amf("onMetaData", members)


#: Decoding order of a group of pictures with `b` pictures between two others: by how many frames each is shown later
#: than it is decoded.
_LATER = {0: (0,), 1: (2, 0), 2: (3, 0, 0)}


@dataclass(frozen=True)
class Clip:
    """A synthetic source; its clock begins at `start` ms. `frame` is a picture's duration in ms."""

    seconds: float = 2
    frame: float = 40
    gop: int = 25
    b_frames: int = 0
    rate: int = 48000
    channels: int = 2
    video: bool = True
    audio: bool = True
    start: int = 0
    #: By how many ms the sound begins later than the picture.
    late: float = 0
    avc_header: bytes = AVC_HEADER
    first_number: int = 0

    def messages(self) -> list[Message]:
        """Metadata, headers, then pictures and sounds in the order of their times."""
        codecs = {"videocodecid": 7.0} if self.video else {}
        codecs |= {"audiocodecid": 10.0} if self.audio else {}
        head = [Message(DATA, self.start, metadata(**codecs))]
        if self.video:
            head.append(Message(VIDEO, self.start, self.avc_header))
        if self.audio:
            head.append(Message(AUDIO, self.start, aac_header(self.rate, self.channels)))
        media = [*(self._pictures() if self.video else []), *(self._sounds() if self.audio else [])]
        media.sort(key=lambda item: item[0])
        return [*head, *(Message(type_, round(time) % 2**32, payload) for time, type_, payload in media)]

    def _pictures(self) -> Iterator[tuple[float, int, bytes]]:
        for at in range(int(self.seconds * 1000 / self.frame)):
            place = at % self.gop
            cycle = _LATER[self.b_frames]
            # The keyframe is shown after the reordering delay; then each P picture is followed by its B pictures.
            later = 1 if place == 0 and self.b_frames else cycle[(place - 1) % len(cycle)]
            time = self.start + at * self.frame
            cts = round(later * self.frame)
            yield time, VIDEO, picture(self.first_number + at, key=place == 0, cts=cts)

    def _sounds(self) -> Iterator[tuple[float, int, bytes]]:
        step = 1024_000 / self.rate
        for at in range(int((self.seconds * 1000 - self.late) / step)):
            yield self.start + self.late + at * step, AUDIO, sound(self.first_number + at)


def of_type(messages: Sequence[Message], type_: int) -> list[Message]:
    """The messages of one type."""
    return [message for message in messages if message.type == type_]
