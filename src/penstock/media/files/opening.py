"""Finds the file that is played next: opens one after another until one can be played, and makes it fit."""

import asyncio
from collections.abc import Sequence

from penstock.errors import SourceError
from penstock.log import mask_url
from penstock.media.files.item import Item
from penstock.media.files.order import Place
from penstock.media.files.shelf import Shelf
from penstock.media.files.source import COPY, ENCODERS, Conversion
from penstock.media.headers import incompatibility
from penstock.media.packet import AUDIO, VIDEO, aac_config, codec_name
from penstock.media.transport import OnEvent

#: A file that could not be opened is left alone for so long, doubled each time up to the last (seconds).
FIRST_REST, LAST_REST = 5.0, 60.0
#: Files that one message names as bad, at most.
_MOST_NAMED = 3


class Opening:
    """What is known of a playlist's files. `sent` are the headers in force, by message type: what follows must fit."""

    def __init__(self, shelf: Shelf, on_event: OnEvent) -> None:
        self._shelf = shelf
        self._on_event = on_event
        self.sent: dict[int, bytes] = {}
        self._conversions: dict[str, Conversion] = {}
        #: By URL: when (loop time) it may be tried again, after how many seconds' rest, and what was wrong.
        self._resting: dict[str, tuple[float, float, str]] = {}

    async def find(self, candidates: Sequence[tuple[Place, str]], *, local: bool) -> tuple[Place, Item]:
        """Return the first of these files that can be played. Raise `SourceError` if none can."""
        now, bad = asyncio.get_running_loop().time, []
        for place, url in candidates:
            until, rest, why = self._resting.get(url, (0.0, 0.0, ""))
            if now() >= until:
                item, why = await self._open(place, url, local=local)
                if item is not None:
                    self._resting.pop(url, None)
                    return place, item
                rest = min(LAST_REST, rest * 2 or FIRST_REST)
                self._resting[url] = (now() + rest, rest, why)
                self._on_event("alarm.PullFileFailed", f"{named(place, url)} cannot be played: {why}")
            bad.append(f"{named(place, url)}: {why}")
        # Whoever asks again has rested himself.
        self._resting = {url: (0.0, rest, why) for url, (_, rest, why) in self._resting.items()}
        more = f"; and {len(bad) - _MOST_NAMED} more" if len(bad) > _MOST_NAMED else ""
        raise SourceError(f"no file can be played: {'; '.join(bad[:_MOST_NAMED])}{more}")

    async def _open(self, place: Place, url: str, *, local: bool) -> tuple[Item | None, str]:
        """Return a file that can be played now, else None and why."""
        while True:
            item = self._shelf.open(place, url, self._conversions.get(url, COPY), local=local)
            try:
                why = await item.ready()
            except BaseException:
                await item.close()
                raise
            conversion, reason = self._fit(item)
            if conversion == item.conversion:
                if not why:
                    return item, ""
                await item.close()
                self._shelf.spoiled(item)
                return None, why
            await item.close()
            self._conversions[url] = conversion
            self._on_event("file.converted", f"{named(place, url)} is converted: {reason}")

    def _fit(self, item: Item) -> tuple[Conversion, str]:
        """Return what of a file must be converted so that it can follow on the same connection, and why."""
        video, audio = item.conversion
        if item.unfit is not None:
            fitting = item.unfit.conversion if self._shelf.transcode else item.conversion
            return fitting, item.unfit.message
        reasons = []
        for type_, sent in self.sent.items():
            header = item.headers.get(type_)
            reason = "" if header is None or item.live else incompatibility(type_, sent, header)
            if reason and type_ == AUDIO and not audio and (config := aac_config(sent)):
                audio = config
                reasons.append(reason)
            codec = codec_name(type_, sent)
            if reason and type_ == VIDEO and not video and codec in ENCODERS and self._shelf.transcode:
                video = codec
                reasons.append(reason)
        return Conversion(video, audio), "; ".join(reasons)


def named(place: Place, url: str) -> str:
    """Return a file as people know it: its number in the list, from 1, and its URL without secrets."""
    return f"file {place.item + 1} ({mask_url(url)})"
