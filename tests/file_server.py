"""An HTTP server that serves files as a good one does (ranges, validators), or badly, as it is told."""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple, Self

from tests.patience import settled


class Fault(NamedTuple):
    """What is wrong with how one file is served."""

    #: Ranges are ignored, and not offered.
    no_ranges: bool = False
    #: Added to the length that is told.
    length_off: int = 0
    #: Nothing more is sent after so many bytes of each answer: the connection stays (`stalls`) or closes.
    stalls_after: int | None = None
    breaks_after: int | None = None
    #: Seconds before anything is said.
    late: float = 0.0


class FileServer:
    """Serves `files` by their paths on 127.0.0.1, each with the fault that `faults` has for it."""

    def __init__(self, files: Mapping[str, Path] | None = None) -> None:
        self.files = dict(files or {})
        self.faults: dict[str, Fault] = {}
        #: (path, its Range header) of each request.
        self.requests: list[tuple[str, str]] = []
        self.port = 0

    def url(self, path: str) -> str:
        """That of a file."""
        return f"http://127.0.0.1:{self.port}{path}"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        await settled()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await self._answer((await reader.readuntil(b"\r\n\r\n")).decode("latin-1"), writer)
        except (OSError, asyncio.IncompleteReadError):
            pass  # the client has had enough
        finally:
            writer.close()

    async def _answer(self, head: str, writer: asyncio.StreamWriter) -> None:
        path = head.split(" ")[1].partition("?")[0]
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head.split("\r\n")[1:])}
        asked = headers.get("range", "")
        self.requests.append((path, asked))
        fault = self.faults.get(path, Fault())
        await asyncio.sleep(fault.late)
        if path not in self.files:
            writer.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            return
        content = self.files[path].read_bytes()
        first = int(asked.removeprefix("bytes=").partition("-")[0] or 0) if asked and not fault.no_ranges else 0
        lines = ["HTTP/1.1 206 Partial Content" if asked and not fault.no_ranges else "HTTP/1.1 200 OK"]
        if not fault.no_ranges:
            lines.append("Accept-Ranges: bytes")
        if asked and not fault.no_ranges:
            lines.append(f"Content-Range: bytes {first}-{len(content) - 1}/{len(content)}")
        lines += [f"Content-Length: {len(content) - first + fault.length_off}", "Connection: close", "", ""]
        writer.write("\r\n".join(lines).encode())
        limit = fault.stalls_after if fault.stalls_after is not None else fault.breaks_after
        writer.write(content[first:][:limit])
        await writer.drain()
        if fault.stalls_after is not None and fault.stalls_after < len(content) - first:
            await asyncio.sleep(3600)
