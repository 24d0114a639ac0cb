"""AMF0 (Adobe AMF0 specification, 2007), the encoding of RTMP commands and metadata; AMF3 where it switches to that."""

from struct import Struct

from penstock.media.rtmp import amf3
from penstock.media.rtmp.amf_reader import MAX_VALUES, AmfError, Reader, Value

__all__ = ["AmfError", "Value", "content", "decode", "encode"]

_DOUBLE = Struct(">d")
_NUMBER, _BOOLEAN, _STRING, _OBJECT = 0, 1, 2, 3
_NULL, _UNDEFINED, _ECMA_ARRAY, _OBJECT_END, _STRICT_ARRAY = 5, 6, 8, 9, 10
_DATE, _LONG_STRING, _UNSUPPORTED, _XML, _TYPED_OBJECT, _AVMPLUS = 11, 12, 13, 15, 16, 17


def encode(*values: Value) -> bytes:
    """Encode values one after the other, objects as AMF0 objects."""
    return b"".join(_encode(value) for value in values)


def _encode(value: Value) -> bytes:
    if value is None:
        return b"\x05"
    if isinstance(value, bool):
        return b"\x01\x01" if value else b"\x01\x00"
    if isinstance(value, (int, float)):
        return b"\x00" + _DOUBLE.pack(value)
    if isinstance(value, str):
        text = value.encode()
        if len(text) < 65536:
            return b"\x02" + len(text).to_bytes(2, "big") + text
        return b"\x0c" + len(text).to_bytes(4, "big") + text
    if isinstance(value, dict):
        return b"\x03" + b"".join(_name(k) + _encode(v) for k, v in value.items()) + b"\x00\x00\x09"
    return b"\x0a" + len(value).to_bytes(4, "big") + b"".join(_encode(v) for v in value)


def _name(name: str) -> bytes:
    text = name.encode()[:65535]
    return len(text).to_bytes(2, "big") + text


def content(payload: bytes) -> bytes:
    """Return the AMF0 in a message of a type for AMF3 (15, 17): it follows a zero, which some writers leave out."""
    return payload.removeprefix(b"\x00")


def decode(data: bytes) -> list[Value]:
    """Decode all values of `data`. Raise `AmfError` for anything malformed or absurdly nested."""
    return _Decoder(data).values()


class _Decoder(Reader):
    def values(self) -> list[Value]:
        values = []
        while self.at < len(self.data):
            values.append(self.value(0))
        return values

    def value(self, depth: int) -> Value:
        self.spend(depth)
        marker = self.number(1)
        if marker == _NUMBER:
            return self.double()
        if marker == _BOOLEAN:
            return self.number(1) != 0
        if marker == _STRING:
            return self.text(self.number(2))
        if marker in (_LONG_STRING, _XML):
            return self.text(self.number(4))
        if marker in (_NULL, _UNDEFINED, _UNSUPPORTED):
            return None
        if marker == _OBJECT:
            return self.members(depth)
        if marker == _ECMA_ARRAY:
            self.take(4)  # the announced length; writers get it wrong, the end marker counts
            return self.members(depth)
        if marker == _TYPED_OBJECT:
            self.text(self.number(2))
            return self.members(depth)
        if marker == _STRICT_ARRAY:
            return [self.value(depth + 1) for _ in range(min(self.number(4), MAX_VALUES + 1))]
        if marker == _DATE:
            milliseconds = self.double()
            self.take(2)
            return milliseconds
        if marker == _AVMPLUS:
            return amf3.decode(self, depth)
        raise AmfError(f"AMF0 has no type {marker}")

    def members(self, depth: int) -> dict[str, Value]:
        members: dict[str, Value] = {}
        while True:
            name = self.text(self.number(2))
            if not name and self.data[self.at : self.at + 1] == b"\x09":
                self.at += 1
                return members
            members[name] = self.value(depth + 1)
            if self.at >= len(self.data):
                return members  # some encoders leave the end marker out
