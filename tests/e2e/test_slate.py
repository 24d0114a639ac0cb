"""Slates through the official SDK: camera, slate and camera again over one connection, decoded and measured."""

import signal
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.avmeter import UNFILLED, measure
from tests.e2e.cloud import Cloud
from tests.e2e.conftest import PenstockServer, ServerFactory, until
from tests.e2e.nginx import Nginx
from tests.e2e.test_relay import assert_rising, destination, flv_of, publishing
from tests.media import clip, counters, ffmpeg_exe
from tests.parts import debian_ffmpeg
from tests.patience import PATIENCE
from tests.rtmp_peer import Connection, OriginThread, SinkThread
from tests.rtmp_wire import VIDEO
from tests.unit.test_still import picture


@pytest.fixture
def server(penstock_server: ServerFactory, tmp_path: Path) -> PenstockServer:
    """A Penstock whose slate is green."""
    green = picture(tmp_path / "green.png", "320x180", "green")
    return penstock_server(workers=1, env={"PENSTOCK_SLATE_MODE": "picture", "PENSTOCK_SLATE_PICTURE": str(green)})


def colors(path: Path) -> list[tuple[int, int, int]]:
    """The mean red, green and blue of every picture."""
    command = [ffmpeg_exe(), "-v", "error", "-i", str(path), "-vf", "scale=1:1:flags=area,format=rgb24"]
    command += ["-fps_mode", "passthrough", "-f", "rawvideo", "-"]
    done = subprocess.run(command, check=True, capture_output=True)
    assert done.stderr == b""
    return list(zip(*[iter(done.stdout)] * 3, strict=True))


def is_green(color: tuple[int, int, int]) -> bool:
    red, green, blue = color
    return green > 100 and red < 30 and blue < 30


def written(connection: Connection, path: Path) -> Path:
    """What a destination got, as FLV."""
    path.write_bytes(flv_of(list(connection.messages)))
    return path


def pictures(sink: SinkThread) -> int:
    """How many have come on the first connection, of whatever codec."""
    return len(sink.connections[0].media(VIDEO)) if sink.connections else 0


def interrupt(origin: OriginThread, sink: SinkThread, cloud: Cloud, task_id: str) -> None:
    """Take the source away until the slate has been shown for a while, and wait until the source has been again."""
    origin.call(origin.peer.end)
    until(lambda: " source: " in cloud.describe(task_id).ErrorInfo)
    shown = pictures(sink)
    sink.until(lambda: pictures(sink) > shown + 60)
    until(lambda: cloud.run_status(task_id) == "active" and not cloud.describe(task_id).RecentPullInfo.FileUrl)
    origin.call(origin.peer.resume)
    until(lambda: not cloud.describe(task_id).ErrorInfo)
    shown = pictures(sink)
    sink.until(lambda: pictures(sink) > shown + 60)


def assert_interrupted(shown: list[tuple[int, int, int]]) -> None:
    """Camera, slate, camera."""
    green = [at for at, color in enumerate(shown) if is_green(color)]
    assert green == list(range(green[0], green[-1] + 1))
    assert len(green) > 50
    assert 25 < green[0] < green[-1] < len(shown) - 25


@contextmanager
def recorded(program: str, url: str, path: Path) -> Iterator[None]:
    """A viewer on one connection, while the block lasts."""
    command = [program, "-nostdin", "-v", "error", "-i", url, "-c", "copy", "-flush_packets", "1", "-y", str(path)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as viewer:
        try:
            until(lambda: path.exists() and path.stat().st_size > 100_000)
            yield
        finally:
            viewer.send_signal(signal.SIGINT)
            _, complaints = viewer.communicate(timeout=PATIENCE)
    assert complaints == ""


def test_viewers_of_nginx_see_camera_slate_and_camera_over_one_connection(
    server: PenstockServer, cloud: Cloud, origin: OriginThread, sink: SinkThread, tmp_path: Path
) -> None:
    """Sound and picture hold together, and no decoder complains.

    Two pictures are missing where the source is cut off between a P-frame and the B-frames before it.
    """
    viewers = {"new": ffmpeg_exe(), "old": str(debian_ffmpeg())}
    with Nginx(tmp_path / "nginx") as nginx:
        url = f"{nginx.url}/live/out"
        task_id = cloud.create(origin.url, url, BackupToUrl=destination(sink))
        sink.until(lambda: pictures(sink) > 100)
        with ExitStack() as watching:
            for name, program in viewers.items():
                watching.enter_context(recorded(program, url, tmp_path / f"{name}.flv"))
            interrupt(origin, sink, cloud, task_id)
        for name, program in viewers.items():
            reading = measure(tmp_path / f"{name}.flv", ffmpeg=program)
            assert reading.errors == []
            assert reading.picture_gap <= 121, str(reading)
            assert reading.sound_gap <= UNFILLED, str(reading)
            assert len(reading.offsets) >= 3
            assert max(map(abs, reading.offsets)) <= 5, str(reading)
            assert_interrupted(colors(tmp_path / f"{name}.flv"))
    assert len(sink.connections) == 1
    assert_rising(sink.connections[0])
    events = [event["name"] for event in server.task(task_id)["events"]]
    assert [name for name in events if name.startswith("switch.")] == ["switch.closed", "switch.returned"]
    assert events.count("sink.flowing") == 1


@pytest.mark.parametrize("codec", ["hevc", "av1-opus"])
def test_other_codecs_get_a_slate_in_their_own(
    server: PenstockServer, cloud: Cloud, sink: SinkThread, tmp_path: Path, codec: str
) -> None:
    """Over the same connection, and every picture can be decoded."""
    with OriginThread(clip(codec)) as origin:
        task_id = cloud.create(origin.url, destination(sink))
        sink.until(lambda: pictures(sink) > 100)
        interrupt(origin, sink, cloud, task_id)
    assert len(sink.connections) == 1
    assert_interrupted(colors(written(sink.connections[0], tmp_path / "out.flv")))


def test_task_may_ask_for_the_last_picture(
    server: PenstockServer, cloud: Cloud, origin: OriginThread, sink: SinkThread, tmp_path: Path
) -> None:
    """By ExtraCmd, whatever the server's setting is."""
    task_id = cloud.create(origin.url, destination(sink), ExtraCmd="ignore_region,slate=last")
    connection = publishing(sink, frames=60)
    origin.call(origin.peer.end)
    until(lambda: " source: " in cloud.describe(task_id).ErrorInfo)
    frames = len(connection.frames)
    sink.until(lambda: len(connection.frames) > frames + 60)
    cloud.delete(task_id)
    sink.until(lambda: connection.unpublished)
    assert_rising(connection)
    shown = counters(written(connection, tmp_path / "out.flv"))
    last = shown[-1]
    assert last is not None
    assert shown[-40:] == [last] * 40
    first = shown[0]
    assert first is not None
    assert shown[: last - first + 1] == list(range(first, last + 1))


def test_sound_alone_is_held_on_silence(server: PenstockServer, cloud: Cloud, sink: SinkThread) -> None:
    """There is nothing to show, and the history says so."""
    with OriginThread(clip("dark")) as origin:
        task_id = cloud.create(origin.url, destination(sink))
        sink.until(lambda: sink.connections and len(sink.connections[0].sounds) > 50)
        origin.call(origin.peer.end)
        told = until(lambda: [event for event in server.task(task_id)["events"] if event["name"] == "slate.failed"])
        assert told[0]["text"] == "there is no slate: no pictures have been sent"
        sounds = len(sink.connections[0].sounds)
        sink.until(lambda: len(sink.connections[0].sounds) > sounds + 50)
        assert cloud.run_status(task_id) == "active"


def test_picture_that_is_not_there_is_no_start(penstock_server: ServerFactory, tmp_path: Path) -> None:
    """It is named."""
    missing = tmp_path / "missing.png"
    server = penstock_server(start=False, env={"PENSTOCK_SLATE_PICTURE": str(missing)})
    server.launch()
    assert server.ended() == 1
    assert f"slate.picture: {missing} cannot be read: No such file or directory" in server.log
