"""AMF3 (Adobe AMF3 specification, 2013), which encoders of the Flash age put into commands and metadata."""

from collections.abc import Callable
from typing import NamedTuple, TypeVar

from penstock.media.rtmp.amf_reader import AmfError, Reader, Value

_UNDEFINED, _NULL, _FALSE, _TRUE, _INTEGER, _DOUBLE, _STRING, _XML_DOCUMENT, _DATE = range(9)
_ARRAY, _OBJECT, _XML, _BYTES, _VECTOR_INT, _VECTOR_UINT, _VECTOR_DOUBLE, _VECTOR_OBJECT, _DICTIONARY = range(9, 18)

_T = TypeVar("_T")


class _Traits(NamedTuple):
    """What objects of one class have in common."""

    members: list[str]
    dynamic: bool


def decode(reader: Reader, depth: int) -> Value:
    """Decode one value, so deep inside others. Raise `AmfError`.

    Classes are plain objects; what a class writes in a format of its own cannot be read. A byte array is text.
    """
    return _Decoder(reader).value(depth)


class _Decoder:
    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._strings: list[str] = []
        self._traits: list[_Traits] = []
        #: With the number of values that each is, itself included; None while it is being read.
        self._objects: list[tuple[Value, int | None]] = []
        self._complex: dict[int, Callable[[int, int], Value]] = {
            _XML_DOCUMENT: self._text,
            _XML: self._text,
            _BYTES: self._text,
            _DATE: lambda _size, _depth: reader.double(),
            _ARRAY: self._array,
            _VECTOR_INT: self._ints,
            _VECTOR_UINT: self._uints,
            _VECTOR_DOUBLE: self._doubles,
            _VECTOR_OBJECT: self._vector,
            _DICTIONARY: self._dictionary,
        }

    def value(self, depth: int) -> Value:
        reader = self._reader
        reader.spend(depth)
        marker = reader.number(1)
        if marker in (_UNDEFINED, _NULL):
            return None
        if marker in (_FALSE, _TRUE):
            return marker == _TRUE
        if marker == _INTEGER:
            number = self._u29()
            return float(number - (1 << 29) if number & 1 << 28 else number)
        if marker == _DOUBLE:
            return reader.double()
        if marker == _STRING:
            return self._string()
        if marker != _OBJECT and marker not in self._complex:
            raise AmfError(f"AMF3 has no type {marker}")
        return self._referable(marker, depth)

    def _u29(self) -> int:
        number = 0
        for _ in range(3):
            byte = self._reader.number(1)
            number = number << 7 | byte & 0x7F
            if byte < 0x80:
                return number
        return number << 8 | self._reader.number(1)

    def _string(self) -> str:
        size = self._u29()
        if not size & 1:
            text = _at(self._strings, size >> 1)
            self._reader.spend(values=0, text=len(text))
            return text
        text = self._reader.text(size >> 1)
        if text:
            self._strings.append(text)
        return text

    def _referable(self, marker: int, depth: int) -> Value:
        """Read a value that later ones may refer to, or such a reference."""
        size = self._u29()
        if not size & 1:
            value, values = _at(self._objects, size >> 1)
            if values is None:
                raise AmfError("an AMF3 object contains itself")
            self._reader.spend(values=values)
            return value
        place, before = len(self._objects), self._reader.count
        self._objects.append((None, None))
        value = self._object(size >> 1, depth) if marker == _OBJECT else self._complex[marker](size >> 1, depth)
        if isinstance(value, str):
            self._reader.spend(values=0, text=len(value))
        self._objects[place] = value, 1 + self._reader.count - before
        return value

    def _text(self, size: int, _depth: int) -> str:
        return self._reader.text(size)

    def _array(self, size: int, depth: int) -> Value:
        named: dict[str, Value] = {}
        while name := self._string():
            named[name] = self.value(depth + 1)
        items = self._values(size, depth)
        # An array with names is what AMF0 calls an ECMA array.
        return named | {str(at): item for at, item in enumerate(items)} if named else items

    def _values(self, size: int, depth: int) -> list[Value]:
        return [self.value(depth + 1) for _ in range(size)]

    def _object(self, flags: int, depth: int) -> Value:
        traits = self._class(flags)
        members: dict[str, Value] = {name: self.value(depth + 1) for name in traits.members}
        while traits.dynamic and (name := self._string()):
            members[name] = self.value(depth + 1)
        return members

    def _class(self, flags: int) -> _Traits:
        if not flags & 1:
            return _at(self._traits, flags >> 1)
        if flags & 2:
            raise AmfError("an AMF3 object has a format of its own")
        self._string()  # the name of the class
        size = flags >> 3
        self._reader.spend(values=size)
        traits = _Traits([self._string() for _ in range(size)], bool(flags & 4))
        self._traits.append(traits)
        return traits

    def _ints(self, size: int, _depth: int) -> Value:
        return self._numbers(size, lambda: float(int.from_bytes(self._reader.take(4), "big", signed=True)))

    def _uints(self, size: int, _depth: int) -> Value:
        return self._numbers(size, lambda: float(self._reader.number(4)))

    def _doubles(self, size: int, _depth: int) -> Value:
        return self._numbers(size, self._reader.double)

    def _numbers(self, size: int, read: Callable[[], float]) -> Value:
        self._reader.take(1)  # whether its length is fixed
        self._reader.spend(values=size)
        return [read() for _ in range(size)]

    def _vector(self, size: int, depth: int) -> Value:
        self._reader.take(1)
        self._string()  # the class of its items
        return self._values(size, depth)

    def _dictionary(self, size: int, depth: int) -> Value:
        self._reader.take(1)  # whether its keys are weak
        items: dict[str, Value] = {}
        for _ in range(size):
            key = self.value(depth + 1)
            items[key if isinstance(key, str) else str(key)] = self.value(depth + 1)
        return items


def _at(table: list[_T], index: int) -> _T:
    if index >= len(table):
        raise AmfError("an AMF3 reference points nowhere")
    return table[index]
