"""One live stream and its receivers: what comes in is written once per framing and sent to each."""

from collections import deque
from typing import NamedTuple

from penstock.media.framing import Framing, flv_header
from penstock.media.meter import Meter
from penstock.media.packet import AUDIO, DATA, MAX_EXTRAS, VIDEO, Kind, extra_key
from penstock.media.pump import QUEUE_LIMIT, Connection, Pump

#: The newest GOP is kept for receivers that join, up to this span (ms) and size (bytes).
GOP_SPAN = 10_000
GOP_BYTES = 16 << 20

#: (message type, timestamp in ms, payload, what it is)
Entry = tuple[int, int, bytes, Kind]


class Block(NamedTuple):
    """Messages as their receivers want them: bytes, time of the newest (ms, modulo 2^32), and how many there are."""

    data: bytes
    timestamp: int
    video: int
    audio: int
    keyframes: int

    @classmethod
    def of(cls, data: bytes, entries: list[Entry]) -> "Block":
        """Say what `data` contains."""
        kinds = [kind for _, _, _, kind in entries]
        keyframes = kinds.count(Kind.KEYFRAME)
        video = kinds.count(Kind.FRAME) + keyframes
        return cls(data, entries[-1][1] & 0xFFFFFFFF, video, kinds.count(Kind.SOUND), keyframes)


class Receiver:
    """One connection that takes a stream.

    It joins at a keyframe; when it is too slow it loses whole messages up to the next one. `meter` counts what it gets.
    """

    __slots__ = ("began", "connection", "framing", "joined", "meter", "timestamp")

    def __init__(self, connection: Connection, framing: Framing, meter: Meter) -> None:
        self.connection = connection
        self.framing = framing
        self.meter = meter
        self.joined = False
        #: Whether it has ever joined; only then a message that it does not get is a loss.
        self.began = False
        #: Timestamp of the newest message written to it, modulo 2^32 ms.
        self.timestamp = 0

    @property
    def clogged(self) -> bool:
        """Whether more waits for its socket than the queue may hold; half of that is needed to join again."""
        return self.connection.queued > (QUEUE_LIMIT if self.joined else QUEUE_LIMIT // 2)

    def write(self, block: Block) -> None:
        """Send messages and count them."""
        data, self.timestamp, video, audio, keyframes = block
        self.connection.send(data)
        meter = self.meter
        meter.video += video
        meter.audio += audio
        meter.keyframes += keyframes


class Stream:
    """A live stream: the headers in force, the newest GOP if wanted, and the receivers."""

    __slots__ = (
        "_gop",
        "_gop_bytes",
        "_has_pictures",
        "_pending",
        "_pump",
        "extras",
        "headers",
        "keeps_gop",
        "metadata",
        "receivers",
        "version",
    )

    def __init__(self, pump: Pump, *, keep_gop: bool = False) -> None:
        self._pump = pump
        self.keeps_gop = keep_gop
        self._gop: deque[Entry] = deque()
        self._gop_bytes = 0
        self._pending: list[Entry] = []
        self.metadata: bytes | None = None
        self.headers: dict[int, bytes] = {}
        #: Extra headers by `penstock.media.packet.extra_key`.
        self.extras: dict[tuple[int, int, int], bytes] = {}
        self.receivers: list[Receiver] = []
        self._has_pictures = False
        #: Changes whenever receivers get something other than by `send`.
        self.version = 0

    def push(self, type_: int, timestamp: int, payload: bytes, kind: Kind) -> None:
        """Take one message in; it goes out when the tick ends."""
        if kind is Kind.KEYFRAME:
            self._has_pictures = True
        elif not (kind is Kind.FRAME or kind is Kind.SOUND):
            self._note(type_, payload, kind)
        if not self._pending:
            self._pump.dirty(self)
        entry = (type_, timestamp, payload, kind)
        self._pending.append(entry)
        if self.keeps_gop:
            self._remember(entry)

    def _note(self, type_: int, payload: bytes, kind: Kind) -> None:
        """Keep what receivers that join need before any media."""
        if kind is Kind.HEADER:
            if self.headers.get(type_) != payload:
                self.extras = {key: extra for key, extra in self.extras.items() if key[0] != type_}
            self.headers[type_] = payload
        elif kind is Kind.EXTRA_HEADER:
            key = extra_key(type_, payload)
            if key in self.extras or len(self.extras) < MAX_EXTRAS:
                self.extras[key] = payload
        elif kind is Kind.METADATA:
            self.metadata = payload

    def newest(self) -> list[Entry]:
        """Return the newest GOP, if that is kept."""
        return list(self._gop)

    def forget(self) -> None:
        """What comes next has nothing to do with what came before."""
        self.flush()
        self.headers.clear()
        self.extras.clear()
        self.metadata = None
        self._has_pictures = False
        self._gop.clear()
        self._gop_bytes = 0

    def add(self, connection: Connection, framing: Framing, meter: Meter) -> Receiver:
        """Let a connection take the stream: from its newest keyframe, if that is kept, else from the next."""
        receiver = Receiver(connection, framing, meter)
        self.version += 1
        self.flush()
        if self._gop and self._gop[0][3] in (Kind.KEYFRAME, Kind.SOUND):
            self._join(receiver, list(self._gop))
        self.receivers.append(receiver)
        return receiver

    def send(self, block: Block) -> None:
        """Send what is framed for every receiver already."""
        for receiver in self.receivers:
            receiver.write(block)

    def flv_header(self) -> bytes:
        """Return how an FLV of this stream begins. A kind that is announced and never comes makes players wait."""
        audio, video = AUDIO in self.headers, self._has_pictures or VIDEO in self.headers
        return flv_header(audio=audio or not video, video=video or not audio)

    def remove(self, receiver: Receiver) -> None:
        """Let it take no more; its connection stays as it is."""
        if receiver in self.receivers:
            self.receivers.remove(receiver)

    def flush(self) -> None:
        """Send what came in to every receiver: one write each."""
        pending, self._pending = self._pending, []
        if not pending:
            return
        self.version += 1
        blocks: dict[Framing, Block] = {}
        for receiver in self.receivers:
            if receiver.clogged:
                receiver.joined = False
            if not receiver.joined:
                self._try_to_join(receiver, pending)
                continue
            framing = receiver.framing
            block = blocks.get(framing)
            if block is None:
                data = b"".join([framing(t, ts, p) for t, ts, p, _ in pending])
                block = blocks[framing] = Block.of(data, pending)
            receiver.write(block)

    def _try_to_join(self, receiver: Receiver, pending: list[Entry]) -> None:
        at = len(pending) if receiver.clogged else self._joint(pending)
        if receiver.began:
            receiver.meter.dropped += at
        if at < len(pending):
            self._join(receiver, pending[at:])

    def _joint(self, entries: list[Entry]) -> int:
        """Index of the first message that a receiver can begin with; past the end if there is none.

        It gets the headers in force now, which those do not want that came before them.
        """
        wanted = Kind.KEYFRAME if self._has_pictures or VIDEO in self.headers else Kind.SOUND
        at = len(entries)
        for i in range(len(entries) - 1, -1, -1):
            if entries[i][3] is Kind.HEADER:
                break
            if entries[i][3] is wanted:
                at = i
        return at

    def _join(self, receiver: Receiver, entries: list[Entry]) -> None:
        framing, first = receiver.framing, entries[0][1]
        headers = [(type_, self.headers[type_]) for type_ in (VIDEO, AUDIO) if type_ in self.headers]
        headers += [(key[0], payload) for key, payload in self.extras.items()]
        if self.metadata is not None:
            headers.insert(0, (DATA, self.metadata))
        pieces = [framing(type_, first, payload) for type_, payload in headers]
        pieces += [framing(t, ts, p) for t, ts, p, _ in entries]
        receiver.write(Block.of(b"".join(pieces), entries))
        receiver.joined = receiver.began = True

    def _remember(self, entry: Entry) -> None:
        _, timestamp, payload, kind = entry
        starts = kind is Kind.KEYFRAME or (kind is Kind.SOUND and VIDEO not in self.headers and not self._has_pictures)
        if starts or kind is Kind.HEADER:
            self._gop.clear()
            self._gop_bytes = 0
        if kind in (Kind.HEADER, Kind.EXTRA_HEADER) or (not starts and not self._gop):
            return
        self._gop.append(entry)
        self._gop_bytes += len(payload)
        if self._gop_bytes > GOP_BYTES or timestamp - self._gop[0][1] > GOP_SPAN:
            self._gop.clear()
            self._gop_bytes = 0
