"""The fast lane: sends on messages that need no decision as the slices of the receive buffer that they are.

While a source flows steadily, the Timeline would only add a constant to each timestamp, and the chunks that a source
sends are those that its sinks want, but for the header. So headers are rewritten and payloads, whatever their chunks,
are passed on as they lie in the buffer. Whatever is not plainly such a message (a codec header, a step of the clock,
a chunk of another stream in between, an extended timestamp, …) is left to the Timeline, and the lane goes on after
it. `tests/unit/test_lane.py` proves that receivers get the same messages with and without it.
"""

from collections.abc import Callable
from struct import Struct

from penstock.media.clocks import LONGEST_FRAME, MAX_STEP_FORWARD
from penstock.media.framing import RtmpPublish, rtmp_publish
from penstock.media.meter import Meter
from penstock.media.packet import AUDIO, VIDEO
from penstock.media.rtmp import chunk
from penstock.media.rtmp.chunk import ChunkReader, message
from penstock.media.steady import Steady
from penstock.media.stream import Block, Stream
from penstock.media.timeline import SOUND_PATIENCE, Timeline

#: Chunk sizes below this cost receivers more than the lane saves us; ours for commands must fit, too.
MIN_CHUNK_SIZE = 4096
#: A message that is not all there is awaited up to this size (bytes), rather than collected chunk by chunk.
MAX_AWAITED = 1 << 17
#: The first two bytes of coded pictures (AVC and HEVC, key and inter) and of AAC frames: the second is the packet type,
#: not a header.
_PLAIN = {0x1701: VIDEO, 0x2701: VIDEO, 0x1C01: VIDEO, 0x2C01: VIDEO, 0xAF01: AUDIO}
_INTER = 0x2000
_HEADER = Struct(">Q").pack
#: Header (first byte, time, length, type), then the first two bytes of the payload, and the next four: a composition
#: time and one more.
_TYPE_1 = Struct(">QHI").unpack_from
_TYPE_0 = Struct(">Q4xHI").unpack_from
_LONGEST_HEADER = 18
_LEAD = 6
_EXTENDED = 0xFFFFFF
_WRAP = 1 << 32
_NEVER = 1 << 62


class Lane:
    """The shortcut of one source that is on air, for `ChunkReader.read`.

    `progressed` is called after each run that sent something on; `open_` says whether the source is on air.
    """

    __slots__ = (
        "_meter",
        "_open",
        "_progressed",
        "_reader",
        "_stream",
        "_timeline",
        "_version",
        "_written",
    )

    def __init__(
        self,
        reader: ChunkReader,
        timeline: Timeline,
        stream: Stream,
        meter: Meter,
        *,
        open_: Callable[[], bool],
        progressed: Callable[[], None],
    ) -> None:
        self._reader = reader
        self._timeline = timeline
        self._stream = stream
        self._meter = meter
        self._open = open_
        self._progressed = progressed
        #: Last timestamp written to each chunk stream, the same for every receiver; of the stream's `version` only.
        self._written: dict[int, int] = {}
        self._version = -1

    def run(self, buffer: bytes, at: int) -> tuple[int, bool]:
        """Send on what can be; see `penstock.media.rtmp.chunk.Shortcut`."""
        framing = self._lockstep()
        if framing is None or not self._open() or (now := self._timeline.steady()) is None:
            return at, True
        stream = self._stream
        stream.flush()
        if stream.version != self._version:
            self._version = stream.version
            self._written.clear()
        return self._run(buffer, at, framing, now)

    def _lockstep(self) -> RtmpPublish | None:
        """Return the framing that all receivers share, in the source's chunk size; None if they do not."""
        receivers, size = self._stream.receivers, self._reader.chunk_size
        if not receivers or size < MIN_CHUNK_SIZE:
            return None
        first = receivers[0].framing
        for receiver in receivers:
            framing = receiver.framing
            if not receiver.joined or receiver.clogged or framing is not first:
                return None
        if not isinstance(first, RtmpPublish):
            return None
        if first.chunk_size != size:
            self._stream.flush()
            first = rtmp_publish(first.stream_id, size)
            for receiver in receivers:
                receiver.connection.send(chunk.control(chunk.SET_CHUNK_SIZE, size))
                receiver.framing = first
        return first

    def _run(self, buffer: bytes, at: int, framing: RtmpPublish, now: Steady) -> tuple[int, bool]:  # noqa: C901 - the hot path
        reader, written = self._reader, self._written
        streams, size, view = reader.streams, reader.chunk_size, memoryview(buffer)
        end = len(buffer)
        last_header = end - _LONGEST_HEADER
        video_shift, video_last, video_dts, video_end = now.video_shift, now.video_last, now.video_dts, now.video_end
        audio_shift, audio_last, audio_dts, audio_end = now.audio_shift, now.audio_last, now.audio_dts, now.audio_end
        frame, sound = now.frame, now.sound
        half, hole = sound / 2, sound * 1.5
        video_base, audio_base = video_last - video_last % _WRAP, audio_last - audio_last % _WRAP
        pieces: list[bytes | memoryview] = []
        videos = audios = keys = 0
        newest = -1
        more = True
        while at <= last_header:
            # The header, in the two forms that carry nearly all media, and the payload's first six bytes.
            first = buffer[at]
            csid = first & 63
            stream = streams.get(csid)
            if stream is None or stream.started:
                break
            if first & 0xC0 == 0x40:
                value, lead, next_ = _TYPE_1(buffer, at)
                payload = at + 8
                field = value >> 32 & 0xFFFFFF
                time = stream.timestamp + field
            elif first < 0x40:
                value, lead, next_ = _TYPE_0(buffer, at)
                payload = at + 12
                time = field = value >> 32 & 0xFFFFFF
            else:
                break
            length, type_ = value >> 8 & 0xFFFFFF, value & 255
            if _PLAIN.get(lead) != type_ or field == _EXTENDED or time >= _WRAP or length < _LEAD:
                break
            # The payload: all there, in chunks of this stream alone.
            after = payload + length
            if length > size:
                after += (length - 1) // size
                separator, cut = 0xC0 | csid, payload + size
                while cut < after and cut < end and buffer[cut] == separator:
                    cut += size + 1
                if cut < after and cut < end:
                    break
            if after > end:
                more = length > MAX_AWAITED
                break
            # What the Timeline would do.
            if type_ == VIDEO:
                clock = time + video_base
                dts = clock + video_shift
                if (
                    not 0 < clock - video_last <= MAX_STEP_FORWARD
                    or dts <= video_dts
                    or dts >= audio_end + half + SOUND_PATIENCE
                ):
                    break
                if clock - video_last < LONGEST_FRAME:
                    frame = frame * 0.8 + (clock - video_last) * 0.2
                video_last = clock
                video_dts = dts
                cts = next_ >> 8
                if cts & 0x800000:
                    cts -= 1 << 24
                if dts + cts + frame > video_end:
                    video_end = dts + cts + frame
                videos += 1
                if lead < _INTER:
                    keys += 1
            else:
                clock = time + audio_base
                dts = clock + audio_shift
                if (
                    not 0 < clock - audio_last <= MAX_STEP_FORWARD
                    or dts <= audio_dts
                    or not -half <= dts - audio_end <= hole
                ):
                    break
                audio_last = clock
                audio_dts = dts
                audio_end = dts + sound
                audios += 1
            delta = dts - written.get(csid, _NEVER)
            if 0 <= delta < _EXTENDED:
                pieces.append(_HEADER((0x40 | csid) << 56 | delta << 32 | length << 8 | type_))
                pieces.append(view[payload:after])
            else:
                whole = b"".join([view[i : min(i + size, after)] for i in range(payload, after, size + 1)])
                pieces.append(message(csid, type_, framing.stream_id, dts, whole, size))
            written[csid] = newest = dts
            stream.timestamp, stream.field, stream.length, stream.type = time, field, length, type_
            stream.extended = False
            at = after
        if pieces:
            now.video_last, now.video_dts, now.video_end = video_last, video_dts, video_end
            now.audio_last, now.audio_dts, now.audio_end = audio_last, audio_dts, audio_end
            now.frame = frame
            self._meter.passed(videos, audios, keys, video_last, audio_last)
            self._stream.send(Block(b"".join(pieces), newest & 0xFFFFFFFF, videos, audios, keys))
            self._progressed()
        return at, more and at < end
