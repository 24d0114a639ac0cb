"""The hub of a real server: what it says of its streams, and what becomes of them when somebody leaves."""

import asyncio
import json
import os
import re
import signal
import subprocess
from typing import Any
from urllib.parse import urlsplit

import pytest
from tencentcloud.common.exception.tencent_cloud_sdk_exception import TencentCloudSDKException

from tests.e2e.cloud import Cloud
from tests.e2e.conftest import PenstockServer, ServerFactory, until
from tests.media import ffmpeg_exe, publish
from tests.parts import own_address
from tests.patience import PATIENCE
from tests.rtmp_client import Client
from tests.rtmp_peer import OriginThread, SinkThread


@pytest.fixture
def server(penstock_server: ServerFactory) -> PenstockServer:
    """A Penstock with two workers."""
    return penstock_server()


def player(url: str) -> "subprocess.Popen[bytes]":
    """A viewer that throws away what it sees."""
    return subprocess.Popen(
        [ffmpeg_exe(), "-nostdin", "-v", "error", "-i", url, "-c", "copy", "-f", "null", "/dev/null"]
    )


def streams(server: PenstockServer) -> list[dict[str, Any]]:
    """What `stream list --json` prints."""
    shown: list[dict[str, Any]] = json.loads(server.command("stream", "list", "--json").stdout)
    return shown


def metric(server: PenstockServer, name: str) -> float:
    """One value of /metrics without labels."""
    _, text = server.get("/metrics")
    found = re.search(rf"^{name} (\S+)$", text, re.MULTILINE)
    assert found, text
    return float(found[1])


def test_streams_and_their_players_are_told_by_command_and_by_metrics(
    server: PenstockServer, cloud: Cloud, origin: OriginThread
) -> None:
    """Whose they are, what an encoder and a task send, who plays them, and totals without a stream's name."""
    assert streams(server) == []
    task_id = cloud.create(origin.url, f"{server.rtmp}/live/relayed")
    with publish(f"{server.rtmp}/live/camera", "av"), player(f"{server.rtmp}/live/camera") as viewer:
        until(lambda: len(found := streams(server)) == 2 and found[0]["players"] and found[0]["players"][0]["bitrate"])
        camera, relayed = streams(server)
        shown = server.command("stream", "show", "live/camera").stdout
        until(lambda: metric(server, "penstock_hub_players") == 1)
        assert metric(server, "penstock_hub_streams") == 2
        received, sent = (metric(server, f"penstock_hub_{way}_bytes_total") for way in ("received", "sent"))
        assert received > sent > 0
        assert "live/camera" not in server.get("/metrics")[1]
        viewer.terminate()
    assert (camera["stream"], camera["task"], camera["account"]) == ("live/camera", None, "demo")
    assert (camera["publisher"], camera["video_codec"], camera["audio_codec"]) == ("127.0.0.1", "h264", "aac")
    assert camera["bitrate"] > 50_000
    assert camera["keyframes"] > 0
    (one,) = camera["players"]
    assert (one["player"], one["protocol"], one["dropped"]) == ("127.0.0.1", "rtmp", 0)
    assert one["bytes"] > 0
    assert (relayed["stream"], relayed["task"], relayed["players"]) == ("live/relayed", task_id, [])
    assert re.search(r"^127\.0\.0\.1 +rtmp .*Mbit/s", shown, re.MULTILINE), shown
    until(lambda: [stream["stream"] for stream in streams(server)] == ["live/relayed"])
    assert metric(server, "penstock_hub_sent_bytes_total") >= sent


def test_a_stream_that_nobody_publishes_is_not_shown(server: PenstockServer) -> None:
    """Nor are streams where no hub runs."""
    done = server.command("stream", "show", "live/none", check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert "Nobody publishes a stream 'live/none'" in done.stderr
    server.stop()
    done = server.command("stream", "list", check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert "No hub runs on this DATA" in done.stderr


def test_when_a_publisher_leaves_its_viewers_end_and_a_task_knows_why(
    server: PenstockServer, cloud: Cloud, sink: SinkThread
) -> None:
    """FFmpeg comes to its end over RTMP and over HTTP-FLV; the task takes it for a source that has closed."""
    with publish(f"{server.rtmp}/live/camera", "av") as encoder:
        until(lambda: streams(server))
        viewers = [player(f"{server.rtmp}/live/camera"), player(f"{server.media}/live/camera.flv")]
        task_id = cloud.create("rtmp://localhost/live/camera", sink.url)
        sink.until(lambda: sink.connections and len(sink.connections[0].frames) > 25)
        until(lambda: [len(stream["players"]) for stream in streams(server)] == [3])
        encoder.kill()
        assert [viewer.wait(PATIENCE) for viewer in viewers] == [0, 0]
    events = until(
        lambda: [event["text"] for event in server.task(task_id)["events"] if event["name"] == "source.lost"]
    )
    assert "the publisher has left" in events[0]


def test_another_worker_takes_the_stream_over_from_one_that_stands_still(
    penstock_server: ServerFactory, origin: OriginThread
) -> None:
    """The one that stands still holds its connection to the hub; going on it cannot come back."""
    server = penstock_server(env={"PENSTOCK_SERVER_WATCHDOG": "60"})
    keys = server.account()
    cloud = Cloud(server.http, keys["secret_id"], keys["secret_key"])
    task_id = cloud.create(origin.url, f"{server.rtmp}/live/relayed")
    (before,) = until(lambda: [stream for stream in streams(server) if stream["keyframes"]])
    owner, epoch = (server.task(task_id)[name] for name in ("owner", "epoch"))
    lock = server.data / "run" / f"{owner}.lock"
    stopped = int(lock.read_text())
    os.kill(stopped, signal.SIGSTOP)
    lock.unlink()  # what the others take for its death, though its sockets live

    (after,) = until(lambda: [stream for stream in streams(server) if stream["since"] > before["since"]])
    assert after["task"] == task_id
    until(lambda: server.task(task_id)["epoch"] == epoch + 1)
    os.kill(stopped, signal.SIGCONT)
    until(lambda: "a task belongs to another worker now" in server.log)

    async def watch() -> int:
        viewer = await Client.play(urlsplit(server.rtmp).port or 0, "live", "relayed")
        await viewer.until(lambda: len(viewer.media) > 50)
        await viewer.close()
        return len(viewer.media)

    assert asyncio.run(watch()) > 50
    (still,) = streams(server)
    assert still["since"] == after["since"]


def test_hub_that_listens_everywhere_is_reached_by_this_machines_own_address(penstock_server: ServerFactory) -> None:
    """No setting permits that address. A stream is the same one there and on loopback."""
    server = penstock_server(workers=1, arguments=["--rtmp", "0.0.0.0:0"])
    keys = server.account()
    cloud = Cloud(server.http, keys["secret_id"], keys["secret_key"])
    port = urlsplit(server.rtmp).port
    here, loopback = (f"rtmp://{host}:{port}/live" for host in (own_address("203.0.113.1"), "127.0.0.1"))
    with publish(f"{loopback}/camera", "av"):
        task_id = cloud.create(f"{here}/camera", f"{here}/relayed")
        until(lambda: {stream["task"] for stream in streams(server)} == {None, task_id})
    with pytest.raises(TencentCloudSDKException, match="the task itself pulls from") as refused:
        cloud.create(f"{here}/camera", f"{loopback}/camera")
    assert refused.value.code == "InvalidParameter.InvalidToUrl"
