"""FFmpeg children as sinks: our FLV goes in, what only FFmpeg can write goes out, copied, never encoded."""

import asyncio
from collections.abc import Callable, Sequence
from urllib.parse import urlsplit

from penstock.errors import MediaError, SinkError
from penstock.media.child import Child
from penstock.media.conceal import conceal
from penstock.media.direct import Direct, Srt
from penstock.media.ffmpeg import Door, FfmpegLeaf, last_words
from penstock.media.framing import flv
from penstock.media.meter import Meter
from penstock.media.packet import VIDEO, Kind, video_kind
from penstock.media.parameter_sets import parameter_sets, with_parameter_sets
from penstock.media.pump import Connection
from penstock.media.rtmp.chunk import Shortcut, Take
from penstock.media.rtsp import RtspRelay
from penstock.media.stream import Receiver, Stream
from penstock.net import Policy

#: Seconds in which a child that has been given media must have sent some on.
PATIENCE = 10.0
#: Seconds between two looks at that.
_LOOK_EVERY = 1.0
#: Seconds in which a child may send what is queued for it, and take leave of its peer.
GOODBYE = 1.5
#: FFmpeg's words before what is wrong with an output.
_PREAMBLE = "Error opening output files: "
#: Bytes of a line of progress, at most.
_MAX_LINE = 4096


def open_rtsp(policy: Policy, url: str) -> tuple[Door, list[str]]:
    """The relay to an RTSP server, and FFmpeg's output options: everything over its one TCP connection."""
    return RtspRelay(policy, url), ["-f", "rtsp", "-rtsp_transport", "tcp"]


def open_srt(policy: Policy, url: str) -> tuple[Door, list[str]]:
    """The way to an SRT peer that listens, and FFmpeg's output options: MPEG-TS."""
    way = Srt(policy, url)
    return way, ["-f", "mpegts", *way.options]


def open_rtp(policy: Policy, url: str) -> tuple[Door, list[str]]:
    """The way to an RTP receiver, and FFmpeg's output options: MPEG-TS, which needs no description (RFC 2250)."""
    return Direct(policy, url), ["-f", "rtp_mpegts"]


#: How a child delivers, by the scheme of the URL.
OPEN = {"rtsp": open_rtsp, "rtp": open_rtp, "srt": open_srt}


def command(program: str, output: Sequence[str]) -> list[str]:
    """FFmpeg's arguments to copy FLV from its standard input to an output, and to tell of its progress."""
    return [
        *(program, "-nostdin", "-hide_banner", "-v", "error", "-progress", "pipe:1", "-stats_period", "0.5"),
        # What is in it is told by its header and first tags; there is no need to wait for more.
        *("-protocol_whitelist", "pipe", "-format_whitelist", "flv", "-f", "flv"),
        *("-analyzeduration", "1000000", "-fpsprobesize", "0", "-i", "pipe:0"),
        *("-dn", "-c", "copy", "-max_interleave_delta", "1000000", "-flush_packets", "1", *output),
    ]


class Progress:
    """Reads what a child tells of its progress, as the pump's readers do. `out_time`: microseconds sent on."""

    def __init__(self, begun: Callable[[], None]) -> None:
        """`begun` is called when the first media has gone out."""
        self.out_time = 0
        self._begun = begun
        self._rest = b""

    def read(self, data: memoryview, _take: Take, _shortcut: Shortcut | None = None) -> None:
        """Take in whole lines ``name=value``."""
        *lines, self._rest = (self._rest + bytes(data)).split(b"\n")
        self._rest = self._rest[-_MAX_LINE:]
        for line in lines:
            name, _, value = line.strip().partition(b"=")
            if name == b"out_time_us" and value.isdigit() and int(value) > 0:
                before, self.out_time = self.out_time, int(value)
                if not before:
                    self._begun()

    def acknowledgement(self) -> bytes:
        """Return what the child is to be told of that: nothing."""
        return b""


class FlvFile:
    """The framing for one child: an FLV file, whose header says what the stream has when it begins.

    Keyframes have their parameter sets with them: FFmpeg does not tell its receivers when those change.
    """

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._begun = False
        self._parameter_sets = b""

    def __call__(self, type_: int, timestamp: int, payload: bytes) -> bytes:
        if type_ == VIDEO:
            kind = video_kind(payload)
            if kind is Kind.HEADER:
                self._parameter_sets = parameter_sets(payload)
            elif kind is Kind.KEYFRAME:
                payload = with_parameter_sets(payload, self._parameter_sets)
        tag = flv(type_, timestamp, payload)
        if self._begun:
            return tag
        self._begun = True
        return self._stream.flv_header() + tag


class FfmpegSink(FfmpegLeaf):
    """Delivers a stream. It is connected once the child has sent media on."""

    async def run(self, connected: Callable[[Connection, Receiver], None], stream: Stream, meter: Meter) -> None:
        """Deliver `stream` until it fails; always raises `SinkError` (or `AddressRefused`). Cancelled, take leave."""
        try:
            door, options = OPEN[urlsplit(self._url).scheme](self._policy, self._url)
            async with door:
                argv = command(self._program, [*options, door.url])
                async with self._children.run(argv) as child:
                    conceal(child, door.secrets)
                    reason = await self._deliver(child, connected, stream, meter)
        except MediaError as error:
            raise SinkError(error.message) from error
        raise SinkError(door.failure or door.explain(reason.removeprefix(_PREAMBLE)))

    async def _deliver(
        self, child: Child, connected: Callable[[Connection, Receiver], None], stream: Stream, meter: Meter
    ) -> str:
        """Return why no more can be delivered."""

        def begun() -> None:
            child.settle()
            connected(connection, receiver)

        progress = Progress(begun)
        connection = self._pump.add(child.sock, progress)
        receiver = stream.add(connection, FlvFile(stream), meter)
        try:
            if stalled := await _stall(connection, progress):
                return stalled
            return await last_words(child, "closed by the child")
        finally:
            stream.remove(receiver)
            connection.finish()
            await asyncio.wait([connection.closed], timeout=GOODBYE)
            connection.close(None)


async def _stall(connection: Connection, progress: Progress) -> str:
    """Return what is wrong if the child is given media and sends none on; nothing once it has ended."""
    loop = asyncio.get_running_loop()
    moved_at, taken, out_time = loop.time(), 0, 0
    while True:
        await asyncio.wait([connection.closed], timeout=_LOOK_EVERY)
        if connection.is_closed:
            return ""
        idle = connection.sent == taken and not connection.queued
        if idle or progress.out_time != out_time:
            moved_at, out_time = loop.time(), progress.out_time
        elif loop.time() - moved_at > PATIENCE:
            did = "takes nothing any more" if progress.out_time else "does not answer"
            return f"the destination {did}: no media has reached it for {PATIENCE:.0f} s"
        taken = connection.sent
