"""What the decoders of AMF0 and AMF3 share: the bytes, and how much may come out of them."""

from struct import Struct

from penstock.errors import MediaError

#: What AMF carries, as Python has it. Undefined and null are both None, a date is its milliseconds since 1970.
Value = float | bool | str | None | dict[str, "Value"] | list["Value"]

MAX_DEPTH = 16
MAX_VALUES = 4096
#: So many bytes of text that is there by reference count as one more value.
_TEXT_BYTES = 256
_DOUBLE = Struct(">d")


class AmfError(MediaError):
    """The AMF data is malformed."""


class Reader:
    """Bytes, how far they are read, and how many values they have become."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0
        self.count = 0

    def spend(self, depth: int = 0, values: int = 1, text: int = 0) -> None:
        """Count values, so deep inside others, and bytes of text. Raise `AmfError` beyond what is reasonable."""
        self.count += values + text // _TEXT_BYTES
        if depth > MAX_DEPTH or self.count > MAX_VALUES:
            raise AmfError("AMF data is nested too deep or has too many values")

    def take(self, size: int) -> bytes:
        """Return the next bytes."""
        piece = self.data[self.at : self.at + size]
        if len(piece) < size:
            raise AmfError("AMF data ends in the middle of a value")
        self.at += size
        return piece

    def number(self, size: int) -> int:
        """Return an unsigned integer of so many bytes."""
        return int.from_bytes(self.take(size), "big")

    def double(self) -> float:
        """Return a floating point number of 64 bits."""
        return float(_DOUBLE.unpack(self.take(8))[0])

    def text(self, size: int) -> str:
        """Return so many bytes of UTF-8; what is none becomes U+FFFD."""
        return self.take(size).decode("utf-8", "replace")
