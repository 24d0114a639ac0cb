"""The RTMP chunk stream (RTMP 1.0, section 5.3), sans-IO: bytes in, messages out, and back."""

from collections.abc import Callable

from penstock.errors import MediaError

#: Protocol control and command message types (RTMP 1.0, sections 5.4 and 7.1).
SET_CHUNK_SIZE, ABORT, ACKNOWLEDGEMENT, USER_CONTROL, WINDOW_SIZE, PEER_BANDWIDTH = 1, 2, 3, 4, 5, 6
DATA_AMF3, COMMAND_AMF3, COMMAND, AGGREGATE = 15, 17, 20, 22

DEFAULT_CHUNK_SIZE = 128
#: What we announce and send: one chunk holds nearly every message.
OUT_CHUNK_SIZE = 65536
#: The longest message taken from a peer, in bytes; the header's 24 bits allow no more.
MAX_MESSAGE = 0xFFFFFF
#: Bytes of unfinished messages that one peer may make us hold.
MAX_PENDING = 32 << 20
MAX_CHUNK_STREAMS = 256
#: Messages that an aggregate may hold: the smallest takes 15 bytes of it, and much more of our memory.
MAX_AGGREGATED = 10_000
_EXTENDED = 0xFFFFFF

#: (message type, timestamp in ms modulo 2^32, payload)
Message = tuple[int, int, bytes]
Take = Callable[[Message], None]
#: Given a buffer and where a chunk begins in it, returns where the first chunk that it left begins, and whether that
#: one is to be read now; if not, more bytes are awaited.
Shortcut = Callable[[bytes, int], tuple[int, bool]]


class ChunkError(MediaError):
    """The peer does not speak RTMP."""


class ChunkStream:
    """What type 1 to 3 headers of one chunk stream leave out."""

    __slots__ = ("extended", "field", "length", "pending", "started", "timestamp", "type")

    def __init__(self) -> None:
        self.timestamp = 0
        #: The header's timestamp field: absolute after type 0, else the delta; a type 3 repeats it.
        self.field = 0
        self.length = 0
        self.type = 0
        #: The field did not fit 24 bits, four bytes follow each header.
        self.extended = False
        self.pending = bytearray()
        self.started = False


class ChunkReader:
    """Turns a peer's byte stream into messages.

    Chunk size changes and aborts are obeyed here, the window is noted; every other message is handed out, also the
    protocol's.
    """

    __slots__ = (
        "_acknowledged",
        "_current",
        "_missing",
        "_pending",
        "_tail",
        "chunk_size",
        "received",
        "streams",
        "window",
    )

    def __init__(self) -> None:
        self.chunk_size = DEFAULT_CHUNK_SIZE
        #: Bytes that the peer sends before it wants an acknowledgement; 0: it has not said.
        self.window = 0
        #: Bytes taken in since the connection began, for acknowledgements.
        self.received = 0
        self._acknowledged = 0
        #: By chunk stream id.
        self.streams: dict[int, ChunkStream] = {}
        #: A header that is not all there.
        self._tail = b""
        #: The chunk whose payload is not all there, and how many bytes it misses.
        self._current = ChunkStream()
        self._missing = 0
        self._pending = 0

    def feed(self, data: bytes | bytearray | memoryview) -> list[Message]:
        """Return the messages that `data` completes, in order. Raise `ChunkError` if it is not RTMP."""
        messages: list[Message] = []
        self.read(data, messages.append)
        return messages

    def read(self, data: bytes | bytearray | memoryview, take: Take, shortcut: Shortcut | None = None) -> None:
        """Hand each message that `data` completes to `take`. Raise `ChunkError` if it is not RTMP.

        A `shortcut` is asked first wherever a chunk begins: it may take whole messages out of the buffer itself.
        """
        self.received += len(data)
        buffer = self._tail + data if self._tail else bytes(data)
        end = len(buffer)
        at = 0
        if self._missing:
            at = self._payload(buffer, at, take)
        while at < end:
            if shortcut is not None:
                at, more = shortcut(buffer, at)
                if not more:
                    break
            after = self._chunk(buffer, at, take)
            if after == at:
                break
            at = after
        self._tail = buffer[at:]

    def acknowledgement(self) -> bytes:
        """Return the acknowledgement that the peer is due, as chunks; empty while it is due none."""
        if not self.window or self.received - self._acknowledged < self.window // 2:
            return b""
        self._acknowledged = self.received
        return control(ACKNOWLEDGEMENT, self.received & 0xFFFFFFFF)

    @property
    def held(self) -> int:
        """Bytes that wait for the rest of their message."""
        return self._pending + len(self._tail)

    def _chunk(self, buffer: bytes, at: int, take: Take) -> int:
        """Read the chunk at `at`; return where its payload ends or is broken off, or `at` if its header is."""
        end = len(buffer)
        fmt = buffer[at] >> 6
        csid = buffer[at] & 63
        head = at + 1
        if csid < 2:
            head += csid + 1
            if head > end:
                return at
            csid = 64 + buffer[at + 1] + (buffer[at + 2] << 8 if csid else 0)
        stream = self.streams.get(csid) or self._open(csid, fmt)
        # Read into locals first: nothing may change before the whole header is there.
        field, length, type_, extended = stream.field, stream.length, stream.type, stream.extended
        if fmt < 3:
            size = 11 if fmt == 0 else 7 if fmt == 1 else 3
            if head + size > end:
                return at
            field = buffer[head] << 16 | buffer[head + 1] << 8 | buffer[head + 2]
            if fmt < 2:
                length = buffer[head + 3] << 16 | buffer[head + 4] << 8 | buffer[head + 5]
                type_ = buffer[head + 6]
            head += size
            extended = field == _EXTENDED
        if extended:
            found = buffer[head : head + 4]
            # Some writers leave the field out of type 3 headers: only an equal value is the field.
            if fmt < 3 or field.to_bytes(4, "big").startswith(found):
                if len(found) < 4:
                    return at
                field = int.from_bytes(found, "big")
                head += 4
        if not stream.started:
            stream.timestamp = field if fmt == 0 else (stream.timestamp + field) & 0xFFFFFFFF
            stream.field, stream.length, stream.type, stream.extended = field, length, type_, extended
        elif length != stream.length:
            raise ChunkError(f"a new message begins inside another on chunk stream {csid}")
        size = min(self.chunk_size, length - len(stream.pending))
        after = head + size
        if size == length and after <= end:
            self._finish(stream, buffer[head:after], take)
            return after
        stream.started = True
        self._current, self._missing = stream, size
        return self._payload(buffer, head, take)

    def _payload(self, buffer: bytes, at: int, take: Take) -> int:
        """Take what is there of the current chunk's payload; return where that ends."""
        stream = self._current
        piece = buffer[at : at + self._missing]
        stream.pending += piece
        self._missing -= len(piece)
        self._pending += len(piece)
        if len(stream.pending) == stream.length:
            payload = bytes(stream.pending)
            self._drop(stream)
            self._finish(stream, payload, take)
        elif self._pending > MAX_PENDING:
            raise ChunkError(f"more than {MAX_PENDING} bytes of unfinished messages")
        return at + len(piece)

    def _open(self, csid: int, fmt: int) -> ChunkStream:
        if len(self.streams) >= MAX_CHUNK_STREAMS:
            raise ChunkError(f"more than {MAX_CHUNK_STREAMS} chunk streams")
        # librtmp starts its data stream with a type 1 header; only a length is really needed.
        if fmt > 1:
            raise ChunkError(f"chunk stream {csid} begins without a header")
        stream = self.streams[csid] = ChunkStream()
        return stream

    def _finish(self, stream: ChunkStream, payload: bytes, take: Take) -> None:
        type_ = stream.type
        if type_ == SET_CHUNK_SIZE:
            size = int.from_bytes(payload[:4], "big") & 0x7FFFFFFF
            if len(payload) < 4 or not size:
                raise ChunkError("the peer announced a chunk size of 0")
            self.chunk_size = min(size, MAX_MESSAGE)
        elif type_ == WINDOW_SIZE:
            self.window = int.from_bytes(payload[:4], "big")
        elif type_ == ABORT and len(payload) >= 4:
            aborted = self.streams.get(int.from_bytes(payload[:4], "big"))
            if aborted is not None:
                self._drop(aborted)
        elif type_ == AGGREGATE:
            for message in _split(payload, stream.timestamp):
                take(message)
        else:
            take((type_, stream.timestamp, payload))

    def _drop(self, stream: ChunkStream) -> None:
        self._pending -= len(stream.pending)
        stream.pending = bytearray()
        stream.started = False


def _split(payload: bytes, timestamp: int) -> list[Message]:
    """Take an aggregate message apart (RTMP 1.0, section 7.1.6): FLV tags, times relative to the first."""
    messages: list[Message] = []
    base: int | None = None
    at = 0
    while at + 11 <= len(payload):
        length = int.from_bytes(payload[at + 1 : at + 4], "big")
        tag_time = int.from_bytes(payload[at + 4 : at + 7], "big") | payload[at + 7] << 24
        body = payload[at + 11 : at + 11 + length]
        if len(body) < length:
            raise ChunkError("an aggregate message ends in the middle of a tag")
        if len(messages) == MAX_AGGREGATED:
            raise ChunkError(f"more than {MAX_AGGREGATED} messages in one")
        base = tag_time if base is None else base
        messages.append((payload[at], (timestamp + tag_time - base) & 0xFFFFFFFF, body))
        at += 11 + length + 4
    return messages


def message(csid: int, type_: int, stream_id: int, timestamp: int, payload: bytes, chunk_size: int) -> bytes:
    """Return one message as chunks: a type 0 header, then type 3. `csid` is 2 to 63, the time modulo 2^32 ms.

    The extended timestamp is repeated in every type 3 chunk: nginx-rtmp, MediaMTX and FFmpeg require it.
    """
    timestamp &= 0xFFFFFFFF
    extended = b"" if timestamp < _EXTENDED else timestamp.to_bytes(4, "big")
    header = b"".join(
        (
            bytes((csid,)),
            min(timestamp, _EXTENDED).to_bytes(3, "big"),
            len(payload).to_bytes(3, "big"),
            bytes((type_,)),
            stream_id.to_bytes(4, "little"),
            extended,
        )
    )
    if len(payload) <= chunk_size:
        return header + payload
    separator = bytes((0xC0 | csid,)) + extended
    pieces = [payload[i : i + chunk_size] for i in range(0, len(payload), chunk_size)]
    return header + separator.join(pieces)


def control(type_: int, value: int) -> bytes:
    """Return a protocol control message that carries one 32-bit number."""
    return message(2, type_, 0, 0, value.to_bytes(4, "big"), DEFAULT_CHUNK_SIZE)


def user_control(event: int, *values: int) -> bytes:
    """Return a user control message (RTMP 1.0, section 7.1.7)."""
    payload = event.to_bytes(2, "big") + b"".join(v.to_bytes(4, "big") for v in values)
    return message(2, USER_CONTROL, 0, 0, payload, DEFAULT_CHUNK_SIZE)


def answer(type_: int, payload: bytes) -> bytes:
    """Return what a protocol message is to be answered with, as chunks: a ping, a limit of bandwidth; else nothing."""
    if type_ == USER_CONTROL and len(payload) >= 6 and int.from_bytes(payload[:2], "big") == PING:
        return user_control(PONG, int.from_bytes(payload[2:6], "big"))
    if type_ == PEER_BANDWIDTH and len(payload) >= 4:
        return control(WINDOW_SIZE, int.from_bytes(payload[:4], "big"))
    return b""


#: User control events.
STREAM_BEGIN, STREAM_EOF, SET_BUFFER_LENGTH, STREAM_IS_RECORDED, PING, PONG = 0, 1, 3, 4, 6, 7
