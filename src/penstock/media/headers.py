"""Codec headers and metadata of one output: what may follow on the same connection, and when it is sent."""

from collections.abc import Callable
from typing import Protocol

from penstock.media.packet import (
    AUDIO,
    DATA,
    HEADERLESS,
    MAX_EXTRAS,
    VIDEO,
    Kind,
    aac_config,
    codec_name,
    extra_key,
)
from penstock.media.silence import Silence, duration, silence


class Emit(Protocol):
    """Takes the output: message type, timestamp, payload, what it is."""

    def __call__(self, type_: int, timestamp: int, payload: bytes, kind: Kind, /) -> None: ...


class Headers:
    """What the source on air has announced, and what receivers were sent.

    `on_break` is called with a reason before what cannot follow on this connection is given to `emit`; then receivers
    that have got nothing yet take the place of those that were there.
    """

    def __init__(self, emit: Emit, on_break: Callable[[str], None]) -> None:
        self._emit = emit
        self._on_break = on_break
        self.announced: dict[int, bytes] = {}
        self.metadata: bytes | None = None
        self.sent: dict[int, bytes] = {}
        self._sent_metadata: bytes | None = None
        #: By kind, what told receivers the codec: its header, or the first media of one that has none.
        self._told: dict[int, bytes] = {}
        #: Extra headers by `extra_key`.
        self._extras: dict[tuple[int, int, int], bytes] = {}
        self._sent_extras: dict[tuple[int, int, int], bytes] = {}
        #: How long a sound lasts, in ms: one under the header in force, or the newest.
        self.sound = 1024_000 / 48_000
        #: What can be sent instead of sound; None: there is none of the kind that receivers were told of.
        self.silence: Silence | None = None

    def switch(self) -> None:
        """Begin a new source, which has announced nothing yet."""
        self.announced = {}
        self.metadata = None
        self._extras = {}

    def announce_extra(self, type_: int, payload: bytes) -> None:
        """Take an extra header; it follows the kind's own."""
        key = extra_key(type_, payload)
        if key in self._extras or len(self._extras) < MAX_EXTRAS:
            self._extras[key] = payload

    @property
    def settled(self) -> bool:
        """Whether receivers have all that was announced."""
        return all(self.announced.get(type_) == self.sent.get(type_) for type_ in (VIDEO, AUDIO)) and all(
            self._sent_extras.get(key) == payload for key, payload in self._extras.items()
        )

    def send(self, type_: int, dts: int, payload: bytes = b"") -> None:
        """Send what must come before media of this kind, `payload`: the headers that differ from those last sent."""
        if type_ == AUDIO and payload:
            self.sound = duration(payload) or self.sound
        header = self.announced.get(type_)
        if header and type_ == AUDIO and payload and payload[0] >> 4 != header[0] >> 4:
            del self.announced[AUDIO]  # it went over to a codec that has no header
            header = None
        if header is None or header != self.sent.get(type_):
            self._send_own(type_, dts, header, payload)
        if self._extras:
            self._send_extras(type_, dts)

    def _send_own(self, type_: int, dts: int, header: bytes | None, payload: bytes) -> None:
        if header is None and codec_name(type_, payload) not in HEADERLESS:
            return  # nobody can tell what it is
        before, told = self._told.get(type_), header or payload
        if before is not None and (reason := incompatibility(type_, before, told)):
            self._on_break(reason)
            if type_ == VIDEO and AUDIO in self.sent:
                self.announced.setdefault(AUDIO, self.sent[AUDIO])  # for silence, if the source has no sound
            self.sent, self._sent_metadata, self._told, self._sent_extras = {}, None, {}, {}
            self.silence = None
            # The new connection begins with all headers of the source: what changes with this one breaks nothing more.
            self._send_headers([VIDEO, AUDIO], dts)
        elif header is not None:
            self._send_headers([type_], dts)
        self._tell(type_, told)

    def _send_headers(self, types: list[int], dts: int) -> None:
        """Send these headers, and metadata before them, as far as they are known and differ from those last sent."""
        if self.metadata is not None and self.metadata != self._sent_metadata:
            self._emit(DATA, dts, self.metadata, Kind.METADATA)
            self._sent_metadata = self.metadata
        for type_ in types:
            header = self.announced.get(type_)
            if header is not None and header != self.sent.get(type_):
                self._emit(type_, dts, header, Kind.HEADER)
                self.sent[type_] = header
                self._tell(type_, header)
                self._sent_extras = {key: extra for key, extra in self._sent_extras.items() if key[0] != type_}

    def _tell(self, type_: int, told: bytes) -> None:
        self._told[type_] = told
        if type_ == AUDIO:
            self.sound, self.silence = duration(told) or self.sound, silence(told)

    def _send_extras(self, type_: int, dts: int) -> None:
        for key, payload in self._extras.items():
            if key[0] == type_ and self._sent_extras.get(key) != payload:
                self._emit(type_, dts, payload, Kind.EXTRA_HEADER)
                self._sent_extras[key] = payload


def incompatibility(type_: int, before: bytes, after: bytes) -> str:
    """Say why a receiver of `before` cannot take `after` on the same connection; empty if it can.

    Each is a header, or media of a codec that has none.

    Size, profile and B-frames may change under H.264 and HEVC; sample rate and channels of AAC may not:
    MediaMTX plays them at the wrong pitch or not at all.
    """
    old, new = codec_name(type_, before), codec_name(type_, after)
    if old != new:
        return f"the codec changes from {old or 'unknown'} to {new or 'unknown'}"
    if type_ == AUDIO and old == "aac" and aac_config(before) != aac_config(after):
        return f"the AAC configuration changes from {_describe(before)} to {_describe(after)}"
    return ""


def _describe(header: bytes) -> str:
    config = aac_config(header)
    return "unknown" if config is None else f"{config[0]} Hz {config[1]} ch"
