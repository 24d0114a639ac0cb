"""One file, taken apart by an FFmpeg child as fast as it is read: whoever takes its media sets the pace."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from penstock.errors import MediaError, SourceError
from penstock.media.child import Children, exit_words
from penstock.media.ffmpeg import OPEN, PREAMBLE, is_playlist, take
from penstock.media.pump import Connection, OnMessage, Pump
from penstock.net import Policy

#: A connection that breaks is taken up again where it broke, so often, and after so many seconds at most.
_RECONNECT = ["-reconnect", "1", "-reconnect_max_retries", "3", "-reconnect_delay_max", "2"]
#: Microseconds without a byte after which a connection has broken.
_TIMEOUT = ["-rw_timeout", "5000000"]
#: What FFmpeg says of an input, each line with how grave it is: its length and start, and that it only guesses.
_LENGTH = re.compile(rb"^\[info\]   Duration: (\d+):(\d\d):(\d\d)\.(\d\d)(?:, start: (-?\d+\.\d+))?", re.MULTILINE)
_GUESS = b"Estimating duration from bitrate"
_STREAM = re.compile(rb"^\[info\]   Stream #0:\d+\S* (Video|Audio): (\w+)", re.MULTILINE)
_OUTPUT = b"[info] Output #0"
_MAX_WORDS = 1 << 16
#: FFmpeg's last words where a codec has no place in FLV, and where it does not know what a file is.
_UNFIT, _UNKNOWN = "Could not write header", "Invalid data found"
#: Codecs that FLV has a place for and receivers know, and with what the others are encoded.
_VIDEO_CODECS, _AUDIO_CODECS = frozenset({"h264", "hevc", "av1", "vp9"}), frozenset({"aac", "mp3", "opus"})
ENCODERS = {
    "h264": ("libx264", "-preset", "veryfast"),
    "hevc": ("libx265", "-preset", "ultrafast", "-x265-params", "log-level=none"),
}


class Conversion(NamedTuple):
    """What is encoded anew; the rest is copied."""

    #: Codec of the picture: a key of `ENCODERS`; empty: copied.
    video: str = ""
    #: Sample rate (Hz) and channels of AAC; None: the sound is copied.
    audio: tuple[int, int] | None = None


COPY = Conversion()


class Facts(NamedTuple):
    """What a file says of itself; times in ms."""

    #: None: unknown.
    duration_ms: int | None
    #: What its timestamps begin with.
    start_ms: int


class Unfit(SourceError):
    """A codec of this file must be converted; `conversion` says to what."""

    def __init__(self, message: str, conversion: Conversion) -> None:
        super().__init__(message)
        self.conversion = conversion


class FileEnded(SourceError):
    """The file has been read to its end."""


class FileSource:
    """Reads one file from `offset_ms` on: from the keyframe at or before.

    `local` is a copy of it on this machine. `tell` takes what it says of itself, before any media.
    Timestamps are the file's own if `offset_ms` is not 0, else they begin near 0.
    """

    def __init__(
        self,
        program: str,
        children: Children,
        policy: Policy,
        pump: Pump,
        url: str,
        *,
        offset_ms: int = 0,
        conversion: Conversion = COPY,
        local: Path | None = None,
        tell: Callable[[Facts], None],
    ) -> None:
        self._program = program
        self._children = children
        self._policy = policy
        self._pump = pump
        self._url = url
        self._offset_ms = offset_ms
        self._conversion = conversion
        self._local = local
        self._tell = tell
        self._words = b""
        self._told = False

    async def run(self, connected: Callable[[Connection], None], on_media: OnMessage) -> None:
        """Take media until it ends; always raises: `FileEnded`, `Unfit` or another `SourceError`."""
        try:
            reason = await self._read(connected, on_media)
        except MediaError as error:
            raise error if isinstance(error, Unfit) else SourceError(error.message) from error
        raise SourceError(reason) if reason else FileEnded("ended")

    async def _read(self, connected: Callable[[Connection], None], on_media: OnMessage) -> str:
        if self._local is not None:
            inputs = ["-protocol_whitelist", "file", "-format_whitelist", "mov", "-i", str(self._local)]
            return await self._run(inputs, connected, on_media)
        door, options = OPEN[urlsplit(self._url).scheme](self._policy, self._children.posing, self._url)
        async with door:
            reason = await self._run([*options, *_TIMEOUT, *_RECONNECT, "-i", door.url], connected, on_media)
        return door.failure or reason if reason else ""

    async def _run(self, inputs: list[str], connected: Callable[[Connection], None], on_media: OnMessage) -> str:
        """Return why it broke off; empty: it did not. Raise `Unfit`."""
        argv = self._command(inputs)
        code, reason = await take(self._children, self._pump, argv, connected, on_media, hear=self._hear)
        if _UNFIT in reason and (conversion := self._fitting()) != self._conversion:
            codecs = " and ".join(codec for _, codec in sorted(_codecs(self._words).items(), reverse=True))
            raise Unfit(f"{codecs} cannot all be published as they are", conversion)
        return "" if code == 0 and reason == exit_words(0) else self._why(reason)

    def _command(self, inputs: list[str]) -> list[str]:
        seek = ["-copyts", "-ss", f"{self._offset_ms / 1000:.3f}"] if self._offset_ms else []
        # Of a stream in several qualities FFmpeg takes the best; a cover is no picture.
        several = is_playlist(self._url) or ".mpd" in self._url.lower()
        streams = [] if several else ["-map", "0:V:0?", "-map", "0:a:0?"]
        return [
            *(self._program, "-nostdin", "-hide_banner", "-nostats", "-v", "level+info", *seek, *inputs, *streams),
            *(
                "-sn",
                "-dn",
                "-c",
                "copy",
                *self._encoders(),
                "-f",
                "flv",
                "-flvflags",
                "no_duration_filesize",
                "pipe:1",
            ),
        ]

    def _encoders(self) -> list[str]:
        video, audio = self._conversion
        options: list[str] = []
        if video:
            options += ["-c:v", *ENCODERS[video], "-pix_fmt", "yuv420p", "-bf", "0", "-threads", "1"]
            options += ["-force_key_frames", "expr:gte(t,n_forced*2)"]
        if audio:
            options += ["-c:a", "aac", "-ar", str(audio[0]), "-ac", str(audio[1])]
        return options

    def _hear(self, words: bytes) -> None:
        """Find out what the file says of itself: it stands before what FFmpeg says of its output."""
        if self._told:
            return
        self._words += words
        if _OUTPUT in self._words or len(self._words) > _MAX_WORDS:
            self._words = self._words.partition(_OUTPUT)[0]
            self._told = True
            self._tell(_facts(self._words))

    def _fitting(self) -> Conversion:
        """What must be converted for FLV."""
        codecs = _codecs(self._words)
        video, audio = self._conversion
        if codecs.get("Video", "h264") not in _VIDEO_CODECS:
            video = video or "h264"
        if codecs.get("Audio", "aac") not in _AUDIO_CODECS:
            audio = audio or (48000, 2)
        return Conversion(video, audio)

    def _why(self, reason: str) -> str:
        """Say more than FFmpeg's last words, where those say nothing."""
        reason = reason.removeprefix(PREAMBLE)
        if reason.startswith(_UNKNOWN) and b"[error] moov atom not found" in self._words:
            return (
                "it is no MP4 file, breaks off before its index, or has that at its end and a server that gives no "
                "parts of files (moov atom not found)"
            )
        return "it is no media file that can be read" if reason.startswith(_UNKNOWN) else reason


def _facts(words: bytes) -> Facts:
    found = _LENGTH.search(words)
    if found is None:
        return Facts(None, 0)
    hours, minutes, seconds, hundredths = map(int, found.groups()[:4])
    length = ((hours * 60 + minutes) * 60 + seconds) * 1000 + hundredths * 10
    return Facts(None if _GUESS in words else length, round(float(found[5] or 0) * 1000))


def _codecs(words: bytes) -> dict[str, str]:
    """FFmpeg's names of the codecs of the first picture and sound, by ``Video`` and ``Audio``."""
    return {kind.decode(): codec.decode() for kind, codec in reversed(_STREAM.findall(words))}
