"""Sources over HTTP, taken apart by FFmpeg children: created through the official SDK, judged by decoded pictures."""

import os
import signal
import subprocess
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from tencentcloud.common.exception.tencent_cloud_sdk_exception import TencentCloudSDKException

from tests.avmeter import measure
from tests.e2e.cloud import Cloud
from tests.e2e.conftest import PenstockServer, ServerFactory, until
from tests.e2e.nginx import Nginx
from tests.e2e.running import FOLLOWING_RHYTHM, is_running, until_gone
from tests.e2e.test_relay import assert_complete, assert_paced, assert_rising, decoded, publishing, well
from tests.media import clip, counters, ffmpeg_exe, publish
from tests.rtmp_peer import SinkThread
from tests.tls_front import TlsFront

#: Pictures that are waited for: more than two segments' worth.
PICTURES = 130
KEY = bytes(range(16))


@pytest.fixture
def server(penstock_server: ServerFactory) -> PenstockServer:
    """A Penstock with one worker that may reach loopback."""
    return penstock_server(workers=1)


@pytest.fixture
def nginx(tmp_path: Path) -> Iterator[Nginx]:
    """Serves files, and as HLS what is published to its application ``live``."""
    hls = f"hls on; hls_fragment 1s; hls_path {tmp_path}/nginx/www/hls;"
    moved = "rewrite ^/camera$ /moved redirect; rewrite ^/moved$ /live.ts permanent;"
    with Nginx(tmp_path / "nginx", more=hls, http=moved) as running:
        yield running


def package(www: Path, *options: str, source: str = "av", name: str = "index", rounds: int = 1) -> None:
    """Make an HLS playlist of a clip that is played so often, in segments of 2 s."""
    command = [ffmpeg_exe(), "-nostdin", "-v", "error", "-stream_loop", str(rounds - 1), "-i", str(clip(source))]
    hls = ["-c", "copy", "-hls_time", "2", "-hls_list_size", "0", *options, f"{name}.m3u8"]
    subprocess.run([*command, *hls], check=True, cwd=www)


def children(server: PenstockServer) -> list[int]:
    """The FFmpeg processes of a server."""

    def program(pid: int) -> str:
        try:
            return Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[0].decode()
        except OSError:
            return ""

    return [pid for pid in server.all_pids if "ffmpeg" in program(pid)]


def told(server: PenstockServer, task_id: str, event: str, words: str) -> bool:
    """Whether a task's history has an event with these words."""
    lines = server.command("task", "logs", task_id).stdout.splitlines()
    return any(event in line and words in line for line in lines)


def assert_every_picture(cloud: Cloud, source: str, sink: SinkThread, folder: Path, pictures: int = PICTURES) -> str:
    """Run a task until it has delivered so many pictures; none may be missing, and in the end sound is in step.

    Returns its TaskId.
    """
    task_id = cloud.create(source, sink.url)
    connection = publishing(sink)
    sink.until(lambda: len(connection.frames) >= pictures)
    until(lambda: well(cloud, task_id), what="Describe says that it delivers")
    assert_rising(connection)
    assert len(sink.connections) == 1
    assert len(connection.sounds) > PICTURES
    numbers = decoded(connection, folder / "out.flv")
    assert_complete(numbers)
    reading = measure(folder / "out.flv")
    assert reading.errors == []
    assert len(reading.offsets) >= 4
    assert max(map(abs, reading.offsets[-3:])) <= 45, reading
    return task_id


def test_live_hls(cloud: Cloud, server: PenstockServer, nginx: Nginx, sink: SinkThread, tmp_path: Path) -> None:
    """Segments come in bursts and go out at their own pace; deleted, the child is gone."""
    with publish(f"{nginx.url}/live/camera", "av"):
        until(lambda: len(list((nginx.www / "hls").glob("*.ts"))) > 4)
        task_id = assert_every_picture(cloud, f"{nginx.http_url}/hls/camera.m3u8", sink, tmp_path)
        assert_paced(sink.connections[0].frames[25:])
        [child] = until(lambda: children(server))
        arguments = Path(f"/proc/{child}/cmdline").read_bytes()
        assert b"camera" not in arguments
        shown = server.command("task", "show", task_id).stdout
        assert "HLS, DASH, MPEG-TS and audio over HTTP are taken apart by FFmpeg" in shown
        cloud.delete(task_id)
        until(lambda: not is_running(child), what="the child is gone")


def test_encrypted_hls_in_byte_ranges(cloud: Cloud, nginx: Nginx, sink: SinkThread, tmp_path: Path) -> None:
    """AES-128, with the key on the same server; and a playlist and segments that have no usual names."""
    (nginx.www / "key").write_bytes(KEY)
    (tmp_path / "info").write_text(f"{nginx.http_url}/key\n{nginx.www}/key\n")
    package(nginx.www, "-hls_key_info_file", str(tmp_path / "info"), "-hls_segment_filename", "part%d.jpg", name="list")
    assert_every_picture(cloud, f"{nginx.http_url}/list.m3u8?token=x", sink, tmp_path)


def test_dash(cloud: Cloud, nginx: Nginx, sink: SinkThread, tmp_path: Path) -> None:
    """A manifest, and what it names relative to itself."""
    (nginx.www / "dash").mkdir()
    command = [ffmpeg_exe(), "-nostdin", "-v", "error", "-i", str(clip("av")), "-c", "copy", "-f", "dash"]
    subprocess.run([*command, "-seg_duration", "2", "index.mpd"], check=True, cwd=nginx.www / "dash")
    assert_every_picture(cloud, f"{nginx.http_url}/dash/index.mpd?token=x", sink, tmp_path)


def test_hls_and_its_segments_over_https(
    penstock_server: ServerFactory, nginx: Nginx, sink: SinkThread, tmp_path: Path
) -> None:
    """Of a server with a certificate of a private authority."""
    package(nginx.www)
    with TlsFront(tmp_path / "tls", nginx.http_port) as front:
        server = penstock_server(workers=1, env={"SSL_CERT_FILE": str(front.ca)})
        keys = server.account()
        cloud = Cloud(server.http, keys["secret_id"], keys["secret_key"])
        assert_every_picture(cloud, f"https://127.0.0.1:{front.port}/index.m3u8?token=x", sink, tmp_path)


def test_hls_of_a_host_whose_certificate_nobody_vouches_for(
    penstock_server: ServerFactory, nginx: Nginx, sink: SinkThread, tmp_path: Path
) -> None:
    """It is refused until the operator names the host."""
    package(nginx.www)
    with TlsFront(tmp_path / "tls", nginx.http_port) as front:
        for named in ("", "localhost,127.0.0.1"):
            server = penstock_server(workers=1, env={"PENSTOCK_TLS_INSECURE_HOSTS": named})
            keys = server.account()
            cloud = Cloud(server.http, keys["secret_id"], keys["secret_key"])
            url = f"https://127.0.0.1:{front.port}/index.m3u8?token=hush"
            if named:
                assert_every_picture(cloud, url, sink, tmp_path)
            else:
                task_id = cloud.create(url, f"{sink.url}-refused")
                until(lambda: "tls.insecure_hosts" in cloud.describe(task_id).ErrorInfo)  # noqa: B023
                assert sink.connections == []
                cloud.delete(task_id)


def test_hls_in_byte_ranges_of_one_file(cloud: Cloud, nginx: Nginx, sink: SinkThread, tmp_path: Path) -> None:
    package(nginx.www, "-hls_flags", "single_file", "-hls_segment_type", "fmp4")
    assert_every_picture(cloud, f"{nginx.http_url}/index.m3u8", sink, tmp_path)


def test_hls_with_a_discontinuity(cloud: Cloud, nginx: Nginx, sink: SinkThread, tmp_path: Path) -> None:
    """Another size, rate and clock from one segment to the next: the destination's clock runs on."""
    for source in ("small", "plain"):
        package(nginx.www, source=source, name=source)
    small, plain = ((nginx.www / f"{name}.m3u8").read_text() for name in ("small", "plain"))
    joined = small.replace("#EXT-X-ENDLIST\n", "#EXT-X-DISCONTINUITY\n") + plain[plain.index("#EXTINF") :]
    (nginx.www / "joined.m3u8").write_text(joined)
    cloud.create(f"{nginx.http_url}/joined.m3u8", sink.url)
    connection = publishing(sink, frames=6 * 30 + 4 * 25)
    assert_rising(connection)
    assert len(sink.connections) == 1
    times = [message.timestamp for message in connection.frames]
    assert max(later - sooner for sooner, later in pairwise(times)) <= 120


def test_mpegts_over_http(cloud: Cloud, nginx: Nginx, sink: SinkThread, tmp_path: Path) -> None:
    """From an address that leads there by way of two others."""
    ts = ["-c", "copy", "-f", "mpegts", str(nginx.www / "live.ts")]
    subprocess.run([ffmpeg_exe(), "-nostdin", "-v", "error", "-i", str(clip("av")), *ts], check=True)
    assert_every_picture(cloud, f"{nginx.http_url}/camera", sink, tmp_path)


def test_source_that_is_no_media_says_so(cloud: Cloud, nginx: Nginx, sink: SinkThread) -> None:
    """HTML, and nothing at all."""
    (nginx.www / "page.m3u8").write_text("<!DOCTYPE html><title>Welcome</title>")
    page = cloud.create(f"{nginx.http_url}/page.m3u8?key=hush", sink.url)
    nothing = cloud.create(f"{nginx.http_url}/nothing.m3u8", sink.url)
    until(lambda: "Invalid data found" in cloud.describe(page).ErrorInfo)
    until(lambda: "404 Not Found" in cloud.describe(nothing).ErrorInfo)
    assert "hush" not in cloud.describe(page).ErrorInfo
    assert sink.connections == []


def test_child_that_is_killed_or_stopped_is_replaced(
    penstock_server: ServerFactory, nginx: Nginx, sink: SinkThread
) -> None:
    """The destination stays connected; the worker's own death ends its children, too."""
    package(nginx.www, rounds=30)
    server = penstock_server(workers=1, env=FOLLOWING_RHYTHM)
    keys = server.account()
    cloud = Cloud(server.http, keys["secret_id"], keys["secret_key"])
    task_id = cloud.create(f"{nginx.http_url}/index.m3u8", sink.url)
    connection = publishing(sink)

    for number, said in ((signal.SIGKILL, "it was ended by SIGKILL"), (signal.SIGSTOP, "no media for")):
        [child] = until(lambda: children(server))
        os.kill(child, number)
        until(lambda: not is_running(child), what="the child is gone")  # noqa: B023 - called at once
        # What it had brought before is played first.
        until(lambda: told(server, task_id, "source.lost", said), what=said)  # noqa: B023 - called at once
        frames = len(connection.frames)
        sink.until(lambda: len(connection.frames) > frames + 50)  # noqa: B023 - called at once
        until(lambda: well(cloud, task_id))
    assert len(sink.connections) == 1
    assert_rising(connection)

    [child] = children(server)
    server.kill("worker")
    until_gone([child])
    again = publishing(sink, number=2)
    assert again.frames
    assert len(children(server)) == 1


def test_the_hub_itself_is_a_source_by_its_names(penstock_server: ServerFactory) -> None:
    """Over HTTP as over RTMP, although it is on loopback, where nothing else may be reached."""
    server = penstock_server(workers=1, env={"PENSTOCK_NETWORK_ALLOW": ""})
    keys = server.account()
    cloud = Cloud(server.http, keys["secret_id"], keys["secret_key"])
    with publish(f"{server.rtmp}/live/camera", "av"):
        media = server.media.replace("127.0.0.1", "localhost")
        task_id = cloud.create(
            f"{media}/live/camera.flv", "", DomainName="localhost", AppName="live", StreamName="copy"
        )
        until(lambda: well(cloud, task_id))
        numbers = counters(f"{server.rtmp}/live/copy", seconds=2)
        assert None not in numbers
        assert len(numbers) > 25
    with pytest.raises(TencentCloudSDKException) as refused:
        cloud.create(f"{server.http}/live/camera.flv", "rtmp://sink.example/live/x")
    assert refused.value.get_code() == "InvalidParameter.InvalidSourceUrl"
