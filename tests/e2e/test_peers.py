"""Real peers: nginx-rtmp and FFmpeg, old and new, as sources, destinations and viewers."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.cloud import Cloud
from tests.e2e.conftest import PenstockServer, ServerFactory, until
from tests.e2e.nginx import Nginx
from tests.e2e.test_relay import assert_complete
from tests.media import counters, ffmpeg_exe, publish
from tests.parts import debian_ffmpeg
from tests.patience import PATIENCE


@pytest.fixture
def server(penstock_server: ServerFactory) -> PenstockServer:
    """A Penstock with one worker that may reach loopback."""
    return penstock_server(workers=1)


@pytest.fixture
def nginx(tmp_path: Path) -> Iterator[Nginx]:
    """nginx-rtmp with an application ``live``."""
    with Nginx(tmp_path / "nginx") as running:
        yield running


@pytest.fixture(params=["FFmpeg 9", "Debian's FFmpeg"])
def ffmpeg(request: pytest.FixtureRequest) -> str | Path:
    """Both FFmpegs, one after the other."""
    return ffmpeg_exe() if request.param == "FFmpeg 9" else debian_ffmpeg()


def delivers(cloud: Cloud, task_id: str) -> bool:
    """Whether Describe says that media flows."""
    info = cloud.describe(task_id)
    return not info.ErrorInfo and info.RecentPullInfo.OffsetTime > 0


def record(ffmpeg: str | Path, url: str, path: Path, seconds: float = 4) -> list[int]:
    """What a viewer sees: the counters of the decoded pictures. No decoder or demuxer may complain."""
    command = [ffmpeg, "-nostdin", "-v", "error", "-i", url, "-t", str(seconds), "-c", "copy", "-y", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    shown = counters(path)
    assert None not in shown
    # The cut is made in the order of decoding: of the last group the B-frames may be missing.
    return [number for number in shown if number is not None][:-3]


def test_from_nginx_to_nginx(cloud: Cloud, nginx: Nginx, tmp_path: Path) -> None:
    """Pulled from one nginx application and pushed to another, watched there."""
    with publish(f"{nginx.url}/live/camera", "av"):
        task_id = cloud.create(f"{nginx.url}/live/camera", f"{nginx.url}/live/relayed")
        until(lambda: delivers(cloud, task_id))

        numbers = record(debian_ffmpeg(), f"{nginx.url}/live/relayed", tmp_path / "out.flv")

    assert len(numbers) >= 70
    assert_complete(numbers)


def test_viewers_of_the_hub(server: PenstockServer, cloud: Cloud, ffmpeg: str | Path, tmp_path: Path) -> None:
    """A publisher's stream, relayed within the hub by its domain name, over RTMP and over HTTP-FLV."""
    with publish(f"{server.rtmp}/live/camera", "av"):
        task_id = cloud.create(
            "rtmp://localhost/live/camera", "", DomainName="localhost", AppName="live", StreamName="relayed"
        )
        until(lambda: delivers(cloud, task_id))

        over_rtmp = record(ffmpeg, f"{server.rtmp}/live/relayed", tmp_path / "rtmp.flv")
        over_http = record(ffmpeg, f"{server.media}/live/relayed.flv", tmp_path / "http.flv")

    for numbers in (over_rtmp, over_http):
        assert len(numbers) >= 70
        assert_complete(numbers)


def test_an_nginx_source_that_goes_and_comes_back(cloud: Cloud, nginx: Nginx) -> None:
    """nginx keeps its players connected when the publisher leaves; the task says so, and recovers."""
    source = f"{nginx.url}/live/camera"
    with publish(source, "av"):
        task_id = cloud.create(source, f"{nginx.url}/live/relayed")
        until(lambda: delivers(cloud, task_id))

    until(lambda: "source: the publisher has left" in cloud.describe(task_id).ErrorInfo)

    with publish(source, "av"):
        until(lambda: not cloud.describe(task_id).ErrorInfo)
