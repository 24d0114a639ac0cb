"""Copies of MP4 files on this machine's disk, so that a server that is away stops nothing. Bounded; the oldest go."""

import asyncio
import os
import time
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from tempfile import NamedTemporaryFile
from urllib.parse import urlsplit

import structlog

from penstock.errors import AddressRefused, MediaError, SourceError
from penstock.log import mask_url
from penstock.media.http import Response, get
from penstock.net import Door

log = structlog.get_logger()

#: Bytes that are written at once.
_BLOCK = 1 << 20
#: Seconds without a byte after which a server is given up, and until a file is asked for again that could not be had.
_SILENCE, _REST = 20.0, 60.0
_ENDING = ".mp4"
#: What has no such ending is on its way, or was left behind by a process that died (seconds since it was written).
_LEFT_BEHIND = 3600.0


class Copies:
    """Keeps files in `directory`, `limit` bytes in all, as several workers may do at once.

    A copy is named by its URL alone: a file that changes under the same URL is not fetched again while its copy is
    here. Those that were not used for the longest time make room.
    """

    def __init__(self, directory: Path, limit: int, door: Door) -> None:
        self._directory = directory
        self._limit = limit
        self._door = door
        self._fetching: dict[str, asyncio.Task[None]] = {}
        #: Until when (loop time) a file is not asked for again.
        self._resting: dict[str, float] = {}

    def find(self, url: str) -> Path | None:
        """Return the copy of this file if there is one; else begin to make it, if it is an MP4 file."""
        parts = urlsplit(url)
        if not self._limit or parts.scheme not in ("http", "https") or not parts.path.lower().endswith(_ENDING):
            return None
        path = self._path(url)
        with suppress(OSError):
            os.utime(path)
            return path
        loop = asyncio.get_running_loop()
        if url not in self._fetching and loop.time() >= self._resting.get(url, 0.0):
            task = self._fetching[url] = loop.create_task(self._fetch(url, path), name="file copy")
            task.add_done_callback(lambda _: self._fetching.pop(url))
        return None

    def drop(self, url: str) -> None:
        """Remove the copy of a file that cannot be played."""
        with suppress(OSError):
            self._path(url).unlink(missing_ok=True)

    def _path(self, url: str) -> Path:
        return self._directory / f"{sha256(url.encode()).hexdigest()}{_ENDING}"

    async def _fetch(self, url: str, path: Path) -> None:
        loop = asyncio.get_running_loop()
        try:
            response = await get(self._door, url)
            try:
                await self._receive(response, path)
            finally:
                response.close()
        except (MediaError, AddressRefused, OSError, TimeoutError) as error:
            self._resting = {other: until for other, until in self._resting.items() if until > loop.time()}
            self._resting[url] = loop.time() + _REST
            log.warning("a file could not be copied", url=mask_url(url), error=str(error) or "it comes too slowly")
        else:
            log.info("a file has been copied", url=mask_url(url), bytes=response.received)

    async def _receive(self, response: Response, path: Path) -> None:
        """Write the content into a file of another name, which it has only when it is whole."""
        self._check(response.length or 0)
        self._directory.mkdir(parents=True, exist_ok=True)
        written, block = 0, bytearray()
        with NamedTemporaryFile(dir=self._directory, prefix="part-") as file:
            more = True
            while more:
                async with asyncio.timeout(_SILENCE):
                    data = await response.read()
                block, more = block + data, bool(data)
                if len(block) >= _BLOCK or not more:
                    await asyncio.to_thread(file.write, bytes(block))
                    written, block = written + len(block), bytearray()
                    self._check(written)
            if response.length is not None and written != response.length:
                raise SourceError(f"it breaks off after {written} of {response.length} bytes")
            file.flush()
            await asyncio.to_thread(self._settle, file.name, path)

    def _check(self, size: int) -> None:
        if size > self._limit:
            raise SourceError(f"it is larger than all copies together may be ({self._limit} bytes)")

    def _settle(self, part: str, path: Path) -> None:
        """Give a file that is whole its name, and make room for it."""
        with suppress(FileExistsError):  # another worker was faster
            os.link(part, path)
        self._make_room()

    def _make_room(self) -> None:
        """Remove what was not used for the longest time, until the rest may stay."""
        copies = []
        for path in self._directory.iterdir():
            with suppress(OSError):
                used, size = path.stat().st_mtime, path.stat().st_size
                if path.suffix == _ENDING:
                    copies.append((used, size, path))
                elif time.time() - used > _LEFT_BEHIND:
                    path.unlink()
        size = sum(size for _, size, _ in copies)
        for _, length, path in sorted(copies):
            if size <= self._limit:
                break
            with suppress(OSError):
                path.unlink()
            size -= length
