"""RTMP's bytes, written and read a second time: what the product's codec is compared with.

It shares no line and no idea with `penstock.media.rtmp`: a writer that can do everything that the specification
allows, a reader that takes nothing but what it prescribes, byte by byte. Adobe RTMP 1.0, AMF0 and AMF3.
"""

from collections.abc import Generator, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from struct import pack, unpack
from typing import Any

AUDIO, VIDEO, DATA, COMMAND = 8, 9, 18, 20
EXTENDED = 0xFFFFFF


@dataclass(frozen=True)
class Message:
    """One RTMP message; the time is in milliseconds modulo 2^32."""

    type: int
    timestamp: int
    payload: bytes
    csid: int = 3
    stream_id: int = 0


# -- chunks, written


@dataclass
class _Written:
    """What was last written to a chunk stream: all that later headers may leave out."""

    message: Message
    #: Of the last header with a time: the absolute time after type 0, else the delta.
    field: int


@dataclass
class Writer:
    """Writes messages as chunks in any form that is allowed. `repeat`: the extended time also in type 3 chunks."""

    chunk_size: int = 128
    repeat: bool = True
    _last: dict[int, _Written] = field(default_factory=dict)

    def allowed(self, message: Message) -> list[int]:
        """The header types that can carry this message next."""
        last = self._last.get(message.csid)
        if last is None or last.message.stream_id != message.stream_id:
            return [0]
        delta = (message.timestamp - last.message.timestamp) % 2**32
        same = (message.type, len(message.payload)) == (last.message.type, len(last.message.payload))
        # Without repetition nobody could tell the time of a type 3 header that begins a message.
        again = delta == last.field and (self.repeat or last.field < EXTENDED)
        return [0, 1, *([2] if same else []), *([3] if same and again else [])]

    def chunks(self, message: Message, fmt: int = 0, wide_csid: bool = False) -> list[bytes]:
        """The chunks of one message, of which the first has the header type `fmt`."""
        last = self._last.get(message.csid)
        if fmt == 3:
            assert last is not None
            time = last.field
        elif fmt == 0 or last is None:
            time = message.timestamp
        else:
            time = (message.timestamp - last.message.timestamp) % 2**32
        header = b""
        if fmt < 3:
            header += min(time, EXTENDED).to_bytes(3, "big")
        if fmt < 2:
            header += len(message.payload).to_bytes(3, "big") + bytes([message.type])
        if fmt == 0:
            header += message.stream_id.to_bytes(4, "little")
        extended = pack(">I", time) if time >= EXTENDED else b""
        self._last[message.csid] = _Written(message, time)
        pieces = list(cut(message.payload, self.chunk_size)) or [b""]
        chunks = [basic_header(fmt, message.csid, wide_csid) + header + extended + pieces[0]]
        separator = basic_header(3, message.csid, wide_csid) + (extended if self.repeat else b"")
        return chunks + [separator + piece for piece in pieces[1:]]

    def write(self, *messages: Message) -> bytes:
        """Messages one after the other, with full headers."""
        return b"".join(chunk for message in messages for chunk in self.chunks(message))


def basic_header(fmt: int, csid: int, wide: bool = False) -> bytes:
    """The one, two or three bytes that begin a chunk; `wide`: three where two would do."""
    if csid < 64:
        return bytes([fmt << 6 | csid])
    if csid < 320 and not wide:
        return bytes([fmt << 6, csid - 64])
    return bytes([fmt << 6 | 1, (csid - 64) % 256, (csid - 64) // 256])


def cut(data: bytes, size: int) -> Iterator[bytes]:
    """Pieces of `size` bytes."""
    for at in range(0, len(data), size):
        yield data[at : at + size]


# -- chunks, read


@dataclass
class _Stream:
    timestamp: int = 0
    field: int = 0
    length: int = 0
    type: int = 0
    stream_id: int = 0
    payload: bytes = b""


class Parser:
    """Reads a stream of chunks, strictly; an extended time has to be repeated in type 3 chunks."""

    def __init__(self, chunk_size: int = 128) -> None:
        self.chunk_size = chunk_size
        self.messages: list[Message] = []
        self._streams: dict[int, _Stream] = {}
        self._buffer = bytearray()
        self._steps = self._read()
        self._wanted = next(self._steps)

    def feed(self, data: bytes) -> list[Message]:
        """The messages that these bytes complete."""
        self._buffer += data
        known = len(self.messages)
        while len(self._buffer) >= self._wanted:
            taken = bytes(self._buffer[: self._wanted])
            del self._buffer[: self._wanted]
            self._wanted = self._steps.send(taken)
        return self.messages[known:]

    @property
    def rest(self) -> int:
        """Bytes of a chunk that is not complete."""
        return len(self._buffer)

    def _read(self) -> Generator[int, bytes, None]:
        while True:
            first = (yield 1)[0]
            fmt, csid = first >> 6, first & 63
            if csid == 0:
                csid = 64 + (yield 1)[0]
            elif csid == 1:
                low, high = yield 2
                csid = 64 + low + high * 256
            assert fmt == 0 or csid in self._streams, f"chunk stream {csid} begins with type {fmt}"
            stream = self._streams.setdefault(csid, _Stream())
            continues = bool(stream.payload)
            assert fmt == 3 or not continues, "a header inside a message"
            if fmt < 3:
                stream.field = int.from_bytes((yield 3), "big")
            if fmt < 2:
                stream.length = int.from_bytes((yield 3), "big")
                stream.type = (yield 1)[0]
            if fmt == 0:
                stream.stream_id = int.from_bytes((yield 4), "little")
            if stream.field >= EXTENDED:
                extended = int.from_bytes((yield 4), "big")
                assert fmt < 3 or extended == stream.field, "the extended time is not repeated"
                assert extended >= EXTENDED, "an extended time that needs no extension"
                stream.field = extended
            if not continues:
                stream.timestamp = (stream.field + (stream.timestamp if fmt else 0)) % 2**32
            size = min(self.chunk_size, stream.length - len(stream.payload))
            stream.payload += (yield size) if size else b""
            if len(stream.payload) == stream.length:
                payload, stream.payload = stream.payload, b""
                message = Message(stream.type, stream.timestamp, payload, csid, stream.stream_id)
                if message.type == 1:
                    self.chunk_size = int.from_bytes(payload, "big")
                self.messages.append(message)


# -- AMF0


def amf(*values: Any) -> bytes:
    """Values in AMF0: None, bool, numbers, str, dict; a list is a strict array."""
    return b"".join(map(_amf_value, values))


def _amf_value(value: Any) -> bytes:
    match value:
        case None:
            return b"\5"
        case bool():
            return b"\1" + bytes([value])
        case int() | float():
            return pack(">bd", 0, value)
        case str() if len(value.encode()) > 0xFFFF:
            return pack(">bI", 12, len(value.encode())) + value.encode()
        case str():
            return b"\2" + _amf_name(value)
        case Mapping():
            return b"\3" + b"".join(_amf_name(k) + _amf_value(v) for k, v in value.items()) + b"\0\0\x09"
        case _:
            return pack(">bI", 10, len(value)) + amf(*value)


def _amf_name(name: str) -> bytes:
    return pack(">H", len(name.encode())) + name.encode()


def read_amf(data: bytes) -> list[Any]:
    """The values of AMF0 data."""
    values, at = [], 0
    while at < len(data):
        value, at = _read_value(data, at)
        values.append(value)
    return values


def _read_value(data: bytes, at: int) -> tuple[Any, int]:
    marker, at = data[at], at + 1
    match marker:
        case 0:
            return unpack(">d", data[at : at + 8])[0], at + 8
        case 1:
            return bool(data[at]), at + 1
        case 2:
            return _read_text(data, at, 2)
        case 5 | 6:
            return None, at
        case 3:
            return _read_members(data, at)
        case 8:
            return _read_members(data, at + 4)
        case 10:
            count, at, values = int.from_bytes(data[at : at + 4], "big"), at + 4, []
            for _ in range(count):
                value, at = _read_value(data, at)
                values.append(value)
            return values, at
        case 12:
            return _read_text(data, at, 4)
    raise AssertionError(f"AMF0 type {marker}")


def _read_text(data: bytes, at: int, size: int) -> tuple[str, int]:
    begin = at + size
    end = begin + int.from_bytes(data[at:begin], "big")
    assert end <= len(data), "a text that is not all there"
    return data[begin:end].decode(), end


def _read_members(data: bytes, at: int) -> tuple[dict[str, Any], int]:
    members = {}
    while data[at : at + 3] != b"\0\0\x09":
        name, at = _read_text(data, at, 2)
        members[name], at = _read_value(data, at)
    return members, at + 3


# -- AMF3, a second time


def amf3(value: Any) -> bytes:
    """A value in AMF3, without references: None, bool, int, float, str, bytes, list, dict."""
    match value:
        case None:
            return b"\1"
        case bool():
            return bytes([3 if value else 2])
        case int():
            return b"\4" + _u29(value % 2**29)
        case float():
            return b"\5" + pack(">d", value)
        case str():
            return b"\6" + amf3_text(value)
        case bytes():
            return b"\x0c" + _u29(len(value) << 1 | 1) + value
        case Mapping():
            # An anonymous class without members of its own, but for those that each object has.
            return b"\x0a\x0b\1" + b"".join(amf3_text(k) + amf3(v) for k, v in value.items()) + b"\1"
        case _:
            return b"\x09" + _u29(len(value) << 1 | 1) + b"\1" + b"".join(map(amf3, value))


def amf3_text(text: str) -> bytes:
    """A string as it stands in names, without a marker."""
    return _u29(len(text.encode()) << 1 | 1) + text.encode()


def _u29(number: int) -> bytes:
    assert 0 <= number < 2**29
    if number < 0x80:
        return bytes([number])
    if number < 0x4000:
        return bytes([number >> 7 | 0x80, number & 0x7F])
    if number < 0x200000:
        return bytes([number >> 14 | 0x80, number >> 7 & 0x7F | 0x80, number & 0x7F])
    return bytes([number >> 22 | 0x80, number >> 15 & 0x7F | 0x80, number >> 8 & 0x7F | 0x80, number & 0xFF])


# -- FLV


def flv_tags(source: bytes | Path) -> Iterator[Message]:
    """The tags of an FLV file or of its bytes; a tag that is not all there ends it."""
    data = source.read_bytes() if isinstance(source, Path) else source
    assert data[:3] == b"FLV", "no FLV header"
    at = int.from_bytes(data[5:9], "big") + 4
    while at + 11 <= len(data):
        length = int.from_bytes(data[at + 1 : at + 4], "big")
        time = int.from_bytes(data[at + 7 : at + 8] + data[at + 4 : at + 7], "big")
        end = at + 11 + length
        if end + 4 > len(data):
            return
        assert int.from_bytes(data[end : end + 4], "big") == 11 + length, "a wrong previous tag size"
        yield Message(data[at], time, data[at + 11 : end])
        at = end + 4


def flv_file(messages: Iterable[Message]) -> bytes:
    """An FLV file of these messages."""
    return b"FLV\1\5\0\0\0\x09\0\0\0\0" + aggregate(messages)


def aggregate(tags: Iterable[Message]) -> bytes:
    """The payload of an aggregate message (type 22) of these tags."""
    pieces = []
    for tag in tags:
        time = pack(">I", tag.timestamp)
        head = bytes([tag.type]) + len(tag.payload).to_bytes(3, "big") + time[1:] + time[:1] + bytes(3)
        pieces.append(head + tag.payload + pack(">I", len(tag.payload) + 11))
    return b"".join(pieces)
