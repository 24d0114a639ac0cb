"""A file that stands in for a live source: asked for through the official SDK, judged by the pictures that arrive."""

import subprocess
from itertools import groupby, pairwise
from pathlib import Path

import pytest

from tests.e2e.cloud import Cloud
from tests.e2e.conftest import PenstockServer, ServerFactory, until
from tests.e2e.nginx import Nginx
from tests.e2e.test_relay import assert_rising, decoded, destination, publishing
from tests.media import clip, counters, ffmpeg_exe
from tests.rtmp_peer import OriginThread, SinkThread

FILES = "PullVodPushLive"
#: The first picture of the file; those of the live source have smaller counters. 25 a second.
FIRST = 300


@pytest.fixture
def server(penstock_server: ServerFactory) -> PenstockServer:
    """A Penstock that would return soon, if files were not played to their end."""
    return penstock_server(workers=1, env={"PENSTOCK_SOURCE_RETURN_AFTER": "1"})


def record(path: Path) -> None:
    """Make the file: 3 s of the clip `av`, from that picture on."""
    path.parent.mkdir(parents=True, exist_ok=True)
    codec = ["-c:v", "libx264", "-preset", "veryfast", "-bf", "0", "-g", "25", "-sc_threshold", "0", "-c:a", "aac"]
    cut = ["-ss", str(FIRST / 25), "-i", str(clip("av")), "-t", "3"]
    subprocess.run([ffmpeg_exe(), "-nostdin", "-v", "error", *cut, *codec, str(path)], check=True)


@pytest.mark.parametrize("asked", ["Create", "Modify"])
def test_a_file_is_played_from_its_beginning_to_its_end_while_the_source_is_gone(
    asked: str, server: PenstockServer, cloud: Cloud, sink: SinkThread, tmp_path: Path
) -> None:
    """Round by round, then, when one is over, the source again, on one connection; the API says what is so."""
    with Nginx(tmp_path / "nginx") as nginx, OriginThread(clip("plain")) as source:
        record(path := nginx.www / "stands-in.mp4")
        url = f"{nginx.http_url}/stands-in.mp4"
        if asked == "Create":
            task_id = cloud.create(source.url, destination(sink), BackupSourceType=FILES, BackupSourceUrl=url)
        else:
            task_id = cloud.create(source.url, destination(sink))
            cloud.modify(task_id, BackupVodUrl=url)
        info = cloud.describe(task_id)
        assert (info.BackupSourceType, info.BackupSourceUrl) == (FILES, url)

        def on_air() -> str:
            return str(cloud.describe(task_id).RecentPullInfo.FileUrl)

        connection = publishing(sink, frames=100)
        source.call(source.peer.end)
        until(lambda: on_air() == url)
        until(lambda: " source: " in cloud.describe(task_id).ErrorInfo)
        until(lambda: cloud.run_status(task_id) == "active")
        source.call(source.peer.resume)
        until(lambda: on_air() == source.url)
        until(lambda: not cloud.describe(task_id).ErrorInfo)
        frames = len(connection.frames)
        sink.until(lambda: len(connection.frames) > frames + 50)
        told = [event["name"] for event in server.task(task_id)["events"]]
        cloud.delete(task_id)

    assert [name for name in told if name.startswith("switch.")] == ["switch.closed", "switch.returned"]
    assert "file.finished" in told[told.index("switch.closed") : told.index("switch.returned")]
    assert len(sink.connections) == 1
    assert_rising(connection)
    live, file, live_again = pieces(decoded(connection, tmp_path / "out.flv"))
    assert all(is_next(*pair) for pair in pairwise(live))
    whole = counters(path)
    assert whole[0] == FIRST
    assert len(file) >= len(whole)
    assert file == (whole * len(file))[: len(file)]
    assert live_again[0] % 25 == 0
    assert all(is_next(*pair) for pair in pairwise(live_again))


def pieces(numbers: list[int]) -> list[list[int]]:
    """The pictures of the source and of the file, as they take turns."""
    return [list(those) for _, those in groupby(numbers, key=lambda number: number >= FIRST)]


def is_next(number: int, later: int) -> bool:
    """Whether one picture of the clip `plain`, which is played again and again, follows another."""
    return later == (number + 1) % 150
