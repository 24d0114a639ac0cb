"""FFmpeg children as sources: what only FFmpeg can read comes to the pump as FLV, copied, never decoded."""

import asyncio
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol, Self
from urllib.parse import urlsplit

from penstock.errors import MediaError, SourceError
from penstock.media.child import Child, Children
from penstock.media.conceal import conceal
from penstock.media.direct import Srt
from penstock.media.flv import FlvChunks
from penstock.media.posing import Posing
from penstock.media.proxy import HttpProxy
from penstock.media.pump import Connection, OnMessage, Pump
from penstock.media.readrate import PacedFlv
from penstock.media.rtsp import RtspRelay
from penstock.net import Policy

#: Seconds for a child to connect, to find out what the source is, and to hand us the first of it.
PATIENCE = 20
#: Seconds that a child may take to end once it has nothing more to say.
_END = 2
#: Microseconds without a byte after which FFmpeg gives up.
_TIMEOUT = "10000000"
#: FFmpeg's words before what is wrong with an input.
PREAMBLE = "Error opening input files: "

#: What may be opened, and how it may be read: nothing that could name a file, a device or another protocol.
_PROTOCOLS = "http,https,tls,tcp,httpproxy,crypto"
_FORMATS = "hls,dash,mpegts,flv,live_flv,mov,matroska,mpeg,aac,ac3,eac3,mp3,ogg,flac,wav"
#: Segments may be called anything: what they are is told by what is in them. Each comes on a connection of its own,
#: asked for as it stands in the playlist: otherwise FFmpeg 9 silently skips byte ranges of one fragmented MP4.
_PLAYLIST = [
    *("-f", "hls", "-http_persistent", "0", "-http_seekable", "0", "-extension_picky", "0"),
    *("-allowed_extensions", "ALL", "-allowed_segment_extensions", "ALL"),
]


class Door(Protocol):
    """The one way of a child to a caller's address: `penstock.media.loopback`, `penstock.media.direct`."""

    @property
    def url(self) -> str:
        """What the child is given; known while the door is open."""
        ...

    @property
    def failure(self) -> str:
        """Why what the child wanted could not be had; empty: nothing is known here."""
        ...

    @property
    def secrets(self) -> Sequence[str]:
        """Arguments that are to be concealed."""
        ...

    def explain(self, reason: str, /) -> str:
        """What the child's last words mean."""
        ...

    async def __aenter__(self) -> Self: ...
    async def __aexit__(self, *_: object) -> None: ...


def is_playlist(url: str) -> bool:
    """Whether a URL means HLS."""
    return ".m3u8" in url.lower()


def open_http(policy: Policy, posing: Posing, url: str) -> tuple[Door, list[str]]:
    """The proxy for a source over HTTP (HLS, DASH, MPEG-TS, audio, files), and FFmpeg's options."""
    proxy = HttpProxy(policy, url, posing)
    return proxy, [
        *("-protocol_whitelist", _PROTOCOLS, "-format_whitelist", _FORMATS, "-http_proxy", proxy.proxy),
        *("-rw_timeout", _TIMEOUT, *(_PLAYLIST if is_playlist(url) else ())),
    ]


def open_rtsp(policy: Policy, _: Posing, url: str) -> tuple[Door, list[str]]:
    """The relay for an RTSP source, and FFmpeg's input options: everything over its one TCP connection."""
    return RtspRelay(policy, url), [
        *("-protocol_whitelist", "tcp", "-format_whitelist", "rtsp"),
        *("-rtsp_transport", "tcp", "-timeout", _TIMEOUT),
    ]


def open_srt(policy: Policy, _: Posing, url: str) -> tuple[Door, list[str]]:
    """The way to an SRT source, and FFmpeg's input options: MPEG-TS from the address that was checked."""
    way = Srt(policy, url)
    return way, ["-protocol_whitelist", "srt", "-format_whitelist", "mpegts", "-timeout", _TIMEOUT, *way.options]


#: How a child takes a source, by the scheme of its URL.
OPEN = {"http": open_http, "https": open_http, "rtsp": open_rtsp, "srt": open_srt}


def command(program: str, inputs: Sequence[str]) -> list[str]:
    """FFmpeg's arguments to copy the best picture and sound of an input into FLV on its standard output."""
    return [
        *(program, "-nostdin", "-hide_banner", "-v", "error", *inputs),
        *("-sn", "-dn", "-c", "copy", "-f", "flv"),
        # A sound that is missing holds the picture up for no longer than a second.
        *("-max_interleave_delta", "1000000", "-flvflags", "no_duration_filesize", "-flush_packets", "1", "pipe:1"),
    ]


class Ending(NamedTuple):
    """How a child that handed us media has ended."""

    #: Its exit code; None: it brought nothing, or lives on and is of no more use.
    code: int | None
    #: What it said last, or how it died.
    reason: str


async def take(
    children: Children,
    pump: Pump,
    argv: Sequence[str],
    connected: Callable[[Connection], None],
    on_media: OnMessage,
    *,
    paced: bool = False,
    secrets: Sequence[str] = (),
    hear: Callable[[bytes], None] | None = None,
) -> Ending:
    """Run a child that writes FLV, and have the pump take it. Raise `MediaError` if it cannot be started.

    `connected` is called once there is something. Of one that is `paced`, media is taken no sooner than it is due.
    `secrets` are concealed; `hear` takes what the child says.
    """
    async with children.run(argv, hear=hear) as child:
        conceal(child, secrets)
        try:
            async with asyncio.timeout(PATIENCE):
                await child.spoken()
        except TimeoutError:
            return Ending(None, f"no media within {PATIENCE} s")
        except MediaError as error:
            return Ending(None, error.message)
        wire = PacedFlv(pump, child.sock) if paced else child.sock
        connection = pump.add(wire, FlvChunks(), on_media=on_media)
        connected(connection)
        try:
            reason = await connection.wait_closed()
        finally:
            connection.close(None)
        words = await last_words(child, reason or "ended")
        return Ending(child.gone.result() if child.gone.done() else None, words)


class FfmpegLeaf:
    """What a leaf has that works by one FFmpeg child, which reaches `url` through a door of ours."""

    def __init__(self, program: str, children: Children, policy: Policy, pump: Pump, url: str) -> None:
        self._program = program
        self._children = children
        self._policy = policy
        self._pump = pump
        self._url = url


class FfmpegSource(FfmpegLeaf):
    """Takes a live source; a file at its own pace."""

    async def run(self, connected: Callable[[Connection], None], on_media: OnMessage) -> None:
        """Take media until it ends; always raises `SourceError`."""
        scheme = urlsplit(self._url).scheme
        paced = scheme in ("http", "https")
        try:
            door, options = OPEN[scheme](self._policy, self._children.posing, self._url)
            async with door:
                argv = command(self._program, [*options, "-i", door.url])
                ending = await take(
                    self._children, self._pump, argv, connected, on_media, paced=paced, secrets=door.secrets
                )
        except MediaError as error:
            raise SourceError(error.message) from error
        raise SourceError(door.failure or door.explain(ending.reason.removeprefix(PREAMBLE)))


async def last_words(child: Child, otherwise: str) -> str:
    """Why a child has ended that has closed its output; `otherwise` if it stays all the same."""
    done, _ = await asyncio.wait([child.gone], timeout=_END)
    return await child.ended() if done else otherwise
