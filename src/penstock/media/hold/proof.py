"""What shows that a viewer really gets pictures, and what all watching has in common."""

from typing import Protocol

from penstock.errors import SourceError
from penstock.media.packet import AUDIO, HEADERLESS, VIDEO, Kind, codec_name, kind_of

#: Seconds for the first keyframe, once an edge has agreed: a GOP may take ten, and a cold edge fetches it first.
FIRST_KEYFRAME = 20.0
#: Seconds without a byte after which a stream that plays is no longer warm.
STALL = 15.0


class Watched(Protocol):
    """A stream whose first keyframe has come."""

    @property
    def received(self) -> int:
        """Bytes so far."""
        ...

    @property
    def sent(self) -> int: ...

    @property
    def stall(self) -> float:
        """Seconds without a byte after which it is no longer warm."""
        ...

    async def hold(self) -> None:
        """Keep it until it fails; always raises `MediaError` or `AddressRefused`."""
        ...

    def close(self, reason: str) -> None:
        """End it; `hold` raises for this reason."""
        ...


class Proof:
    """Follows a stream's messages until its codec's header and a keyframe have come."""

    def __init__(self) -> None:
        self.complete = False
        self._header = self._sound = self._picture = False

    def take(self, type_: int, payload: bytes) -> None:
        """Look at one message."""
        if type_ == AUDIO:
            self._sound = True
        if type_ != VIDEO:
            return
        kind = kind_of(type_, payload)
        self._picture = True
        self._header = self._header or kind is Kind.HEADER
        if kind is Kind.KEYFRAME and (self._header or codec_name(type_, payload) in HEADERLESS):
            self.complete = True

    def late(self) -> SourceError:
        """Say what has not come in time."""
        if self._picture:
            missing = "no keyframe" if self._header else "no codec header"
        else:
            missing = "sound, but no picture" if self._sound else "no media"
        return SourceError(f"connected, but {missing} within {FIRST_KEYFRAME:g} s")
