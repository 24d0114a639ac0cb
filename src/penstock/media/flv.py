"""FLV from a child or a server (Adobe FLV 10.1, annex E), sans-IO: bytes in, messages out. Written by `framing.flv`."""

from struct import Struct

from penstock.errors import MediaError
from penstock.media.packet import AUDIO, DATA, VIDEO
from penstock.media.rtmp.chunk import OUT_CHUNK_SIZE, ChunkReader, Message, Shortcut, Take, message

_SIGNATURE = b"FLV\x01"
_HEADER = 9
_TAG = 11
#: What a tag begins with: its type and size, its time and the time's highest byte.
_HEAD = Struct(">II").unpack_from
#: Behind each tag stands its size.
_SIZE = 4
_NUMBER = Struct(">I").unpack_from
#: The low bits of a tag's first byte; the third highest marks what is encrypted.
_TYPE, _ENCRYPTED = 0x1F, 0x20


#: The chunk streams that tags are put on, by type.
_CHUNK_STREAMS = {AUDIO: 4, DATA: 5, VIDEO: 6}
_HEADER_1 = Struct(">Q").pack
_EXTENDED, _NEVER = 0xFFFFFF, 1 << 62


class FlvError(MediaError):
    """This is not FLV."""


class FlvReader:
    """Turns a byte stream into messages, as `penstock.media.rtmp.chunk.ChunkReader` does."""

    __slots__ = ("_begun", "_buffer")

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._begun = False

    def read(self, data: bytes | bytearray | memoryview, take: Take, shortcut: Shortcut | None = None) -> None:
        """Hand each message that `data` completes to `take`. Raise `FlvError` if it is not FLV. Knows no shortcut."""
        buffer = self._buffer
        buffer += data
        at = 0 if self._begun else self._begin()
        if not self._begun:
            return
        while at + _TAG <= len(buffer):
            first, second = _HEAD(buffer, at)
            end = at + _TAG + (first & 0xFFFFFF)
            type_ = _type(first >> 24)
            if end + _SIZE > len(buffer):
                break
            if _NUMBER(buffer, end)[0] not in (end - at, 0):
                raise FlvError("this is not FLV: a tag and its size disagree")
            take((type_, second >> 8 | (second & 0xFF) << 24, bytes(memoryview(buffer)[at + _TAG : end])))
            at = end + _SIZE
        del buffer[:at]

    def acknowledgement(self) -> bytes:
        """Return what the peer is to be told of what it has sent: nobody waits for that here."""
        return b""

    def _begin(self) -> int:
        """Return where the first tag begins, once that is known."""
        buffer = self._buffer
        if not _SIGNATURE.startswith(buffer[: len(_SIGNATURE)]):
            raise FlvError("this is not FLV")
        if len(buffer) < _HEADER + _SIZE:
            return 0
        header = int.from_bytes(buffer[5:_HEADER], "big")
        if header != _HEADER:
            raise FlvError(f"this is not FLV: its header claims {header} bytes")
        self._begun = True
        return _HEADER + _SIZE


class FlvChunks(ChunkReader):
    """Reads FLV as if it had come by RTMP, in chunks as large as ours: so that it can take the lane."""

    __slots__ = ("_chunks", "_flv", "_times")

    def __init__(self) -> None:
        super().__init__()
        self.chunk_size = OUT_CHUNK_SIZE
        self._flv = FlvReader()
        self._chunks: list[bytes] = []
        #: The newest timestamp of each type.
        self._times: dict[int, int] = {}

    def read(self, data: bytes | bytearray | memoryview, take: Take, shortcut: Shortcut | None = None) -> None:
        """Hand each message that `data` completes to `take`, or to the `shortcut`. Raise `FlvError`."""
        self._flv.read(data, self._write)
        chunks, self._chunks = self._chunks, []
        super().read(b"".join(chunks), take, shortcut)

    def acknowledgement(self) -> bytes:
        """Return what the peer is to be told of what it has sent: nobody waits for that here."""
        return b""

    def _write(self, tag: Message) -> None:
        """Write a tag as a message: its time relative to the one before, where that is possible."""
        type_, timestamp, payload = tag
        csid, step = _CHUNK_STREAMS[type_], timestamp - self._times.get(type_, _NEVER)
        self._times[type_] = timestamp
        if 0 <= step < _EXTENDED and len(payload) <= OUT_CHUNK_SIZE:
            self._chunks += (_HEADER_1((0x40 | csid) << 56 | step << 32 | len(payload) << 8 | type_), payload)
        else:
            self._chunks.append(message(csid, type_, 1, timestamp, payload, OUT_CHUNK_SIZE))


def _type(first: int) -> int:
    if first & _ENCRYPTED:
        raise FlvError("this FLV is encrypted")
    if first & _TYPE not in (AUDIO, VIDEO, DATA):
        raise FlvError(f"this is not FLV: a tag of type {first & _TYPE}")
    return first & _TYPE
