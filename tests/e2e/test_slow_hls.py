"""HLS that brings a segment a minute: nothing wedges, storms or leaks, and the user is told, by the official SDK."""

import json
import re
import socketserver
import subprocess
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import datetime
from functools import cache
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.e2e.cloud import Cloud
from tests.e2e.conftest import PenstockServer, ServerFactory, until
from tests.e2e.test_http_sources import children
from tests.e2e.test_relay import assert_rising, decoded, publishing, well
from tests.media import clip, ffmpeg_exe
from tests.rtmp_peer import SinkThread

#: Seconds that a segment lasts, and what a bad server takes for one.
DURATION, MINUTE = 2, 60.0
#: Pictures of a segment.
PICTURES = 50
#: Segments that are served well at first. All are in the playlist that are there.
GOOD = 2
#: Pieces in which a segment trickles.
PIECES = 600
#: Requests of one child until it is given up, at most: its playlist once a second, each segment once, and some more.
MOST_REQUESTS = 60
#: Descriptors that a worker may have more than before: a child's and its requests', of each source.
SLACK = 12


@cache
def segments() -> list[bytes]:
    """The clip `av` in MPEG-TS."""
    with TemporaryDirectory() as folder:
        command = [ffmpeg_exe(), "-nostdin", "-v", "error", "-i", str(clip("av")), "-c", "copy", "-f", "hls"]
        command += ["-hls_time", str(DURATION), "-hls_list_size", "0", "-hls_segment_filename", "%02d.ts", "index.m3u8"]
        subprocess.run(command, check=True, cwd=folder)
        return [path.read_bytes() for path in sorted(Path(folder).glob("*.ts"))]


class Request(socketserver.StreamRequestHandler):
    """A GET for the playlist or a segment."""

    server: "Camera"

    def handle(self) -> None:
        path = self.rfile.readline().split()[1].decode()
        while self.rfile.readline().strip():
            pass
        self.server.requests.append(path)
        try:
            if path.endswith(".m3u8"):
                self._answer(self.server.playlist())
            else:
                self._segment(int(path.strip("/").removesuffix(".ts")))
        except OSError:
            pass  # the client has had enough

    def _segment(self, number: int) -> None:
        data, camera = segments()[number], self.server
        if number < GOOD or camera.well.is_set() or camera.fault == "absent":
            self._answer(data)
        elif camera.fault == "late":
            camera.well.wait(MINUTE)
            self._answer(data)
        else:
            size = -(-len(data) // PIECES)
            self._head(data)
            for at in range(0, len(data), size):
                self.wfile.write(data[at : at + size])
                camera.well.wait(MINUTE / PIECES)

    def _answer(self, data: bytes) -> None:
        self._head(data)
        self.wfile.write(data)

    def _head(self, data: bytes) -> None:
        self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % len(data))


class Camera(socketserver.ThreadingTCPServer):
    """Serves HLS. After `GOOD` segments the next is ``absent`` from the playlist, ``late``, or comes in ``drops``."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, fault: str) -> None:
        super().__init__(("127.0.0.1", 0), Request)
        self.fault = fault
        #: Set: nothing is wrong any more.
        self.well = threading.Event()
        self.requests: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/live.m3u8"

    def playlist(self) -> bytes:
        """What there is; once all is well, the rest, too, and that it is over."""
        well = self.well.is_set()
        there = len(segments()) if well else GOOD + (self.fault != "absent")
        lines = ["#EXTM3U", "#EXT-X-VERSION:3", f"#EXT-X-TARGETDURATION:{DURATION}", "#EXT-X-MEDIA-SEQUENCE:0"]
        lines += [line for number in range(there) for line in (f"#EXTINF:{DURATION},", f"{number:02}.ts")]
        return "\n".join([*lines, *(["#EXT-X-ENDLIST"] if well else []), ""]).encode()


@pytest.fixture
def cameras() -> Iterator[list[Camera]]:
    """One of each kind."""
    with ExitStack() as stack:
        running = []
        for fault in ("absent", "late", "drops"):
            camera = stack.enter_context(Camera(fault))
            thread = threading.Thread(target=camera.serve_forever)
            thread.start()
            stack.callback(thread.join)
            stack.callback(camera.shutdown)
            stack.callback(camera.well.set)
            running.append(camera)
        yield running


def descriptors(server: PenstockServer) -> list[Path]:
    """What its worker has open."""
    return list(Path(f"/proc/{server.pid_of('worker')}/fd").iterdir())


def tries(cloud: Cloud, task_id: str) -> int:
    """Which try is next, as Describe says."""
    said = re.search(r"source: no media for 1 s .*, retry (\d+) ", cloud.describe(task_id).ErrorInfo)
    return int(said[1]) if said else 0


def losses(server: PenstockServer, task_id: str) -> list[tuple[float, str]]:
    """When (Unix time) its source was lost, and why."""
    lines = map(json.loads, server.command("task", "logs", task_id, "--json").stdout.splitlines())
    return [
        (datetime.fromisoformat(line["at"]).timestamp(), line["text"])
        for line in lines
        if line["name"] == "source.lost"
    ]


def test_a_segment_a_minute_is_told_and_outlived(
    penstock_server: ServerFactory, cameras: list[Camera], tmp_path: Path
) -> None:
    """The destination stays connected; once segments come as they should, so do pictures."""
    server = penstock_server(workers=1, env={"PENSTOCK_SOURCE_STALL": "1", "PENSTOCK_SINK_HOLD": "600"})
    keys = server.account()
    cloud = Cloud(server.http, keys["secret_id"], keys["secret_key"])
    with ExitStack() as stack:
        sinks = [stack.enter_context(SinkThread()) for _ in cameras]
        tasks = [cloud.create(camera.url, sink.url) for camera, sink in zip(cameras, sinks, strict=True)]
        for task_id, sink in zip(tasks, sinks, strict=True):
            publishing(sink)
            until(lambda: tries(cloud, task_id), what="Describe says that nothing comes")  # noqa: B023 - called at once
        before = len(descriptors(server)) + SLACK

        for camera, task_id in zip(cameras, tasks, strict=True):
            until(lambda: tries(cloud, task_id) >= 2, what="it has been tried again")  # noqa: B023
            until(lambda: cloud.run_status(task_id) == "active", what="the destination gets silence")  # noqa: B023
            until(lambda: len(losses(server, task_id)) >= 2, what="the history says so")  # noqa: B023
            lost = losses(server, task_id)
            assert all("no media for 1 s, after " in why for _, why in lost)
            # What was good of it has been played each time.
            assert all(later - sooner > GOOD * DURATION - 1 for (sooner, _), (later, _) in pairwise(lost))
            assert len(camera.requests) <= MOST_REQUESTS * (len(lost) + 1)

        connections = [sink.connections[0] for sink in sinks]
        enough = [len(connection.frames) + (GOOD + 2) * PICTURES for connection in connections]
        for camera in cameras:
            camera.well.set()
        for task_id, sink, connection, frames in zip(tasks, sinks, connections, enough, strict=True):
            sink.until(lambda: len(connection.frames) >= frames)  # noqa: B023
            until(lambda: well(cloud, task_id), what="Describe says that it delivers")  # noqa: B023
            assert_rising(connection)
            assert max(decoded(connection, tmp_path / f"{task_id}.flv")) >= (GOOD + 1) * PICTURES
            assert len(sink.connections) == 1
        until(lambda: len(children(server)) == len(tasks), what="no child is left over")
        until(lambda: len(descriptors(server)) <= before, what="nothing is left open")
