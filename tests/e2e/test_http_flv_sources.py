"""Sources by FLV over HTTP and HTTPS, without a child: made through the official SDK, judged by decoded pictures."""

import socket
import subprocess
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.e2e.cloud import Cloud
from tests.e2e.conftest import PenstockServer, ServerFactory, until
from tests.e2e.nginx import Nginx
from tests.e2e.test_http_sources import assert_every_picture, children
from tests.e2e.test_relay import assert_paced, assert_rising, publishing, well
from tests.media import clip, ffmpeg_exe, publish
from tests.rtmp_peer import SinkThread
from tests.tls_front import TlsFront


@pytest.fixture
def server(penstock_server: ServerFactory) -> PenstockServer:
    """A Penstock with one worker that may reach loopback."""
    return penstock_server(workers=1)


def test_the_hubs_own_stream(cloud: Cloud, server: PenstockServer, sink: SinkThread, tmp_path: Path) -> None:
    """No child is needed; when its publisher is gone and back, the destination's clock runs on."""
    source = f"{server.media}/live/camera.flv"
    with publish(f"{server.rtmp}/live/camera", "av"):
        task_id = assert_every_picture(cloud, source, sink, tmp_path)
        assert children(server) == []
        assert "taken apart by FFmpeg" not in server.command("task", "show", task_id).stdout
    until(lambda: "the server has ended the stream" in server.command("task", "show", task_id).stdout)
    [connection] = sink.connections
    frames = len(connection.frames)
    with publish(f"{server.rtmp}/live/camera", "av"):
        sink.until(lambda: len(connection.frames) > frames + 50)
        until(lambda: well(cloud, task_id))
    assert len(sink.connections) == 1
    assert_rising(connection)
    cloud.delete(task_id)
    sink.until(lambda: connection.unpublished)


def test_by_way_of_a_proxy_and_redirects_to_https(
    penstock_server: ServerFactory, sink: SinkThread, tmp_path: Path
) -> None:
    """nginx sends us on twice, the second time to a server with a certificate of a private authority."""
    hub = penstock_server(workers=1)
    proxy = f"location /live/ {{ proxy_pass {hub.media}; proxy_http_version 1.1; proxy_buffering off; }}"
    moved = "rewrite ^/camera.flv$ /moved.flv redirect; rewrite ^/moved.flv$ https://{}/live/camera.flv permanent;"
    with (
        publish(f"{hub.rtmp}/live/camera", "av"),
        Nginx(tmp_path / "proxy", http=proxy) as nginx,
        TlsFront(tmp_path / "tls", nginx.http_port) as front,
        Nginx(tmp_path / "nginx", http=moved.format(f"127.0.0.1:{front.port}")) as director,
    ):
        source = f"{director.http_url}/camera.flv?key=hush"
        server = penstock_server(workers=1, env={"SSL_CERT_FILE": str(front.ca)})
        keys = server.account()
        client = Cloud(server.http, keys["secret_id"], keys["secret_key"])
        assert_every_picture(client, source, sink, tmp_path)
        assert children(server) == []
        assert_paced(sink.connections[0].frames[25:])


def test_source_that_cannot_be_had_says_why(
    cloud: Cloud, server: PenstockServer, sink: SinkThread, tmp_path: Path
) -> None:
    """A certificate that nobody vouches for, a stream that is not there."""
    with Nginx(tmp_path / "nginx") as nginx, TlsFront(tmp_path / "tls", urlsplit(server.media).port or 0) as front:
        said = {
            f"https://127.0.0.1:{front.port}/live/camera.flv?key=hush": "the setting tls.insecure_hosts can permit it",
            f"{nginx.http_url}/nothing.flv?key=hush": "HTTP status 404",
        }
        for source, why in said.items():
            task_id = cloud.create(source, sink.url)
            until(lambda: why in cloud.describe(task_id).ErrorInfo)  # noqa: B023 - called at once
            assert "hush" not in cloud.describe(task_id).ErrorInfo
    assert sink.connections == []


def test_stream_that_never_begins_is_asked_for_again(cloud: Cloud, sink: SinkThread) -> None:
    """Its server answers well, and then says nothing more."""
    with socket.create_server(("127.0.0.1", 0)) as listener, ExitStack() as connections:
        listener.settimeout(20)
        port = listener.getsockname()[1]
        task_id = cloud.create(f"http://127.0.0.1:{port}/live/camera.flv", sink.url)
        client, _ = listener.accept()
        connections.enter_context(client)
        client.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: video/x-flv\r\n\r\n")
        until(lambda: "connected, but no media within" in cloud.describe(task_id).ErrorInfo)
        connections.enter_context(listener.accept()[0])
    assert not [message for connection in sink.connections for message in connection.messages]


def test_file_is_played_at_its_own_pace(cloud: Cloud, server: PenstockServer, sink: SinkThread, tmp_path: Path) -> None:
    """What has a length is no live stream: a child reads it no faster than it plays."""
    with Nginx(tmp_path / "nginx") as nginx:
        copy = [ffmpeg_exe(), "-nostdin", "-v", "error", "-i", str(clip("av")), "-c", "copy"]
        subprocess.run([*copy, str(nginx.www / "file.flv")], check=True)
        cloud.create(f"{nginx.http_url}/file.flv", sink.url)
        connection = publishing(sink, frames=130)
        assert len(children(server)) == 1
    arrived, played = (connection.frames[100].at - connection.frames[25].at), 75 / 25
    assert arrived > played / 2
    assert_rising(connection)
