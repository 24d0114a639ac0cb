"""How a playlist's files are opened: by FFmpeg, by the transports of live sources, or from memory."""

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from urllib.parse import urlsplit

from penstock.media.child import Children
from penstock.media.files.copies import Copies
from penstock.media.files.item import Clip, Item
from penstock.media.files.order import Place
from penstock.media.files.source import COPY, Conversion, Facts, FileSource
from penstock.media.pump import Pump
from penstock.media.transport import SourceLeaf
from penstock.net import Policy

#: Bytes of clips in memory, of all playlists of a worker together.
CLIPS_BYTES = 64 << 20
#: Seconds after which a file in memory is read again: it may be another one by now.
TRUSTED = 30.0


def is_live(url: str) -> bool:
    """Whether a URL means no file, but a source that plays at its own pace and ends when its server says so."""
    return urlsplit(url).scheme not in ("http", "https")


class Shelf:
    """Opens files for all playlists of a worker. `live` makes the leaf of a source that is no file."""

    def __init__(
        self,
        program: str,
        children: Children,
        policy: Policy,
        pump: Pump,
        live: Callable[[str], SourceLeaf],
        copies: Copies,
        *,
        transcode: bool,
    ) -> None:
        self._make = partial(FileSource, program, children, policy, pump)
        self._live = live
        self._copies = copies
        #: Whether a picture may be encoded anew, where its codec is not the first file's.
        self.transcode = transcode
        self._clips: OrderedDict[tuple[str, Conversion], tuple[float, Clip]] = OrderedDict()
        self._clip_bytes = 0

    def open(self, place: Place, url: str, conversion: Conversion = COPY, *, local: bool = False) -> Item:
        """Begin to read a file."""
        if is_live(url):
            return Item(place, url, lambda _: self._live(url), live=True)
        clip = None if place.offset_ms else self._clip(url, conversion)
        copy = self._copies.find(url) if local and clip is None else None

        def leaf(tell: Callable[[Facts], None]) -> SourceLeaf:
            return self._make(url, offset_ms=place.offset_ms, conversion=conversion, local=copy, tell=tell)

        return Item(place, url, leaf, conversion=conversion, clip=clip)

    def spoiled(self, item: Item) -> None:
        """A file cannot be played: keep no copy of it."""
        self._copies.drop(item.url)

    def keep(self, item: Item) -> None:
        """Keep a file that has been read, if it is short."""
        key = (item.url, item.conversion)
        if (clip := item.hand_over()) is None or self._is_old(item.opened_at):
            return
        self._drop(key)
        self._clips[key] = (item.opened_at, clip)
        self._clip_bytes += clip.bytes
        while self._clip_bytes > CLIPS_BYTES:
            self._drop(next(iter(self._clips)))

    def _clip(self, url: str, conversion: Conversion) -> Clip | None:
        key = (url, conversion)
        since, clip = self._clips.get(key, (0.0, None))
        if clip is None:
            return None
        if self._is_old(since):
            self._drop(key)
            return None
        self._clips.move_to_end(key)
        return clip

    @staticmethod
    def _is_old(since: float) -> bool:
        return asyncio.get_running_loop().time() - since > TRUSTED

    def _drop(self, key: tuple[str, Conversion]) -> None:
        if key in self._clips:
            self._clip_bytes -= self._clips.pop(key)[1].bytes
