"""How long the first viewer waits on a real nginx edge that fetches from a slow origin: cold, and warmed.

An encoder publishes 2 Mbps, a keyframe each second, to nginx. What that origin says reaches the edge 100 ms late. The
edge pulls RTMP, and caches HLS (segments of 1 s, of which a viewer fetches the newest three). The viewers begin evenly
spread over a second, cold ones each when the edge has nothing.
"""

import asyncio
import random
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from ipaddress import ip_network
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent))

from bench.relay_peers import clip
from penstock.app import viewers
from penstock.media.hold.drain import Drain
from penstock.media.plan import Hold, Plan
from penstock.media.warming import Warming, watch_with
from penstock.net import Policy
from tests.e2e.nginx import Nginx
from tests.e2e.running import until
from tests.media import ffmpeg_exe

TRIES = 20
#: Seconds that whatever the origin says is under way.
DELAY = 0.1
#: Seconds after which all segments that an edge has cached are of the past.
PAST = 3.0
POLICY = Policy([ip_network("127.0.0.0/8")])
HLS = "hls on; hls_path {folder}/www/live; hls_fragment 1s; hls_playlist_length 5s; idle_streams off;"
CACHE = "proxy_cache_path {folder}/cache keys_zone=live:1m;"
EDGE = """
location / {{ proxy_pass http://127.0.0.1:{port}; proxy_cache live; proxy_cache_lock on; proxy_cache_valid 200 1m; }}
location ~ m3u8$ {{ proxy_pass http://127.0.0.1:{port}; }}
"""


class FarAway:
    """A way to a port of this machine on which answers take `DELAY`."""

    def __init__(self, port: int) -> None:
        self._behind = port
        self._open = 0
        #: Set while nobody is connected.
        self.idle = asyncio.Event()
        self.idle.set()
        self.port = 0

    async def start(self) -> None:
        """Listen."""
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open += 1
        self.idle.clear()
        behind, to_behind = await asyncio.open_connection("127.0.0.1", self._behind)
        late = asyncio.create_task(self._copy(behind, writer, DELAY))
        await self._copy(reader, to_behind, 0)
        late.cancel()
        writer.close()
        self._open -= 1
        if not self._open:
            self.idle.set()

    async def _copy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, delay: float) -> None:
        loop = asyncio.get_running_loop()

        def write(data: bytes) -> None:
            if not writer.transport.is_closing():
                writer.write(data)

        with suppress(OSError):
            while data := await reader.read(65536):
                loop.call_later(delay, write, data)
        loop.call_later(delay, writer.close)


def hold(protocol: str, edge: Nginx) -> Hold:
    """The stream on the edge."""
    rtmp = protocol == "rtmp"
    return Hold(
        id=f"edge/{protocol}",
        edge="edge",
        area="global",
        url="rtmp://play.example.com/live/match",
        protocol="rtmp" if rtmp else "hls",
        host="127.0.0.1",
        port=edge.port if rtmp else edge.http_port,
        vhost="play.example.com",
        path="/live/match" if rtmp else "/live/match.m3u8",
    )


async def waits(wanted: Hold, ready: Callable[[], Awaitable[None]]) -> list[float]:
    """How many ms each of the viewers waits; each comes when the edge is `ready`, at its own part of a second."""
    loop, drain, found = asyncio.get_running_loop(), Drain(), []
    for number in range(TRIES):
        await ready()
        await asyncio.sleep((number / TRIES - loop.time()) % 1)
        began = loop.time()
        watched = await watch_with(POLICY, drain)(wanted)
        found.append((loop.time() - began) * 1000)
        watched.close("")
    return found


async def compare(origin: Nginx, folder: Path) -> None:
    """Measure, and print the table."""
    far_rtmp, far_http = FarAway(origin.port), FarAway(origin.http_port)
    await far_rtmp.start()
    await far_http.start()

    async def until_cold() -> None:
        await asyncio.wait_for(far_rtmp.idle.wait(), 10)

    async def until_past() -> None:
        await asyncio.sleep(PAST)

    async def at_once() -> None:
        """It is warm."""

    http, cache = EDGE.format(port=far_http.port), CACHE.format(folder=folder)
    with Nginx(folder, f"pull rtmp://127.0.0.1:{far_rtmp.port}/live;", http, all_http=cache) as edge:
        print(f"\n{TRIES} viewers each, ms until the first keyframe (HLS: three segments): median, least to most\n")
        print("| | cold edge | warmed edge | of cold |\n|---|---|---|---|")
        for protocol, cold in (("rtmp", until_cold), ("hls", until_past)):
            wanted = hold(protocol, edge)
            before = await waits(wanted, cold)
            crew = viewers(POLICY, rng=random.Random())
            warm = asyncio.Event()
            warming = Warming(Plan(holds=(wanted,)), viewers=crew, task=1, on_event=lambda *_: warm.set())  # noqa: B023
            await asyncio.wait_for(warm.wait(), 30)
            after = await waits(wanted, at_once)
            await warming.close()
            cells = [f"{statistics.median(x):.0f}, {min(x):.0f} to {max(x):.0f}" for x in (before, after)]
            share = statistics.median(after) / statistics.median(before)
            print(f"| {protocol.upper()} | {cells[0]} | {cells[1]} | {share:.2f} |")


@contextmanager
def publishing(origin: Nginx) -> Iterator[None]:
    """An encoder."""
    endless = ["-nostdin", "-v", "fatal", "-re", "-stream_loop", "-1", "-i", str(clip()), "-c", "copy", "-f", "flv"]
    encoder = subprocess.Popen([ffmpeg_exe(), *endless, f"{origin.url}/live/match"])
    try:
        until((origin.www / "live" / "match.m3u8").exists, within=20)
        yield
    finally:
        encoder.kill()
        encoder.wait()


def main() -> int:
    """Measure."""
    with tempfile.TemporaryDirectory() as name:
        folders = [Path(name, part) for part in ("origin", "edge")]
        for folder in folders:
            folder.mkdir()
        try:
            with Nginx(folders[0], HLS.format(folder=folders[0])) as origin, publishing(origin):
                asyncio.run(compare(origin, folders[1]))
        except pytest.skip.Exception as missing:
            print(missing)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
