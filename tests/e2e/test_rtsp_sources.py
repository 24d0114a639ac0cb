"""RTSP sources: a real server on gortsplib, a task made through the official SDK, decoded pictures."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.e2e.cloud import Cloud
from tests.e2e.conftest import until
from tests.e2e.test_http_sources import assert_every_picture, server
from tests.media import clip, ffmpeg_exe
from tests.parts import require
from tests.rtmp_peer import SinkThread

__all__ = ["server"]

SERVER = Path(__file__).parents[2] / ".clients" / "rtsp" / "rtsp"
PASSWORD = "s3 cret"


@contextmanager
def rtsp_server() -> Iterator[int]:
    """Takes what anybody publishes, and plays it to the viewer alone; yields its port."""
    program = require(str(SERVER), package="golang-go")
    arguments: list[str | Path] = [program, "127.0.0.1", "viewer", PASSWORD]
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        try:
            yield int(running.stdout.readline())
        finally:
            running.kill()


@contextmanager
def camera() -> Iterator[int]:
    """An RTSP server whose path /camera shows the clip `av`; yields its port."""
    with rtsp_server() as port:
        command = [ffmpeg_exe(), "-nostdin", "-v", "error", "-re", "-stream_loop", "-1", "-i", str(clip("av"))]
        command += ["-c", "copy", "-f", "rtsp", "-rtsp_transport", "tcp", f"rtsp://127.0.0.1:{port}/camera"]
        with subprocess.Popen(command, stderr=subprocess.DEVNULL) as publisher:
            try:
                yield port
            finally:
                publisher.kill()


@pytest.fixture
def port() -> Iterator[int]:
    """Where the camera is."""
    with camera() as port:
        yield port


def test_camera_with_a_password(cloud: Cloud, port: int, sink: SinkThread, tmp_path: Path) -> None:
    """By a digest, over one TCP connection; from an address that redirects to it.

    This server says only after five seconds how its clocks for picture and sound belong together.
    """
    real = f"rtsp://viewer:s3%20cret@127.0.0.1:{port}/camera"
    assert_every_picture(cloud, f"rtsp://127.0.0.1:{port}/moved?{real}", sink, tmp_path, pictures=275)


def test_camera_that_cannot_be_had_says_why(cloud: Cloud, port: int, sink: SinkThread) -> None:
    """A wrong password, a camera that is not there, a redirect to where nobody may go."""
    said = {
        f"rtsp://viewer:wrong@127.0.0.1:{port}/camera": "Server returned 401 Unauthorized",
        f"rtsp://viewer:s3%20cret@127.0.0.1:{port}/nothing": "Server returned 404 Not Found",
        f"rtsp://127.0.0.1:{port}/moved?rtsp://[::1]:{port}/camera": "the setting network.allow can permit it",
        f"rtsp://127.0.0.1:{port}/moved?http://127.0.0.1/camera": "redirects to something else than RTSP",
    }
    tasks = {cloud.create(url, f"{sink.url}{number}"): words for number, (url, words) in enumerate(said.items())}
    for task_id, words in tasks.items():
        until(lambda: words in cloud.describe(task_id).ErrorInfo, what=words)  # noqa: B023 - called at once
        assert "wrong" not in cloud.describe(task_id).ErrorInfo
    assert sink.connections == []
