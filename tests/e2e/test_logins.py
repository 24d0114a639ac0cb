"""User and password in URLs, made through the official SDK: they open what is closed, and are shown nowhere."""

from pathlib import Path

import pytest

from tests.e2e.cloud import Cloud
from tests.e2e.conftest import PenstockServer, ServerFactory, until
from tests.e2e.nginx import Nginx
from tests.e2e.test_http_sources import assert_every_picture, children
from tests.e2e.test_relay import destination, well
from tests.media import publish
from tests.rtmp_login import Guard
from tests.rtmp_peer import OriginThread, SinkThread


@pytest.fixture
def server(penstock_server: ServerFactory) -> PenstockServer:
    """A Penstock with one worker that may reach loopback."""
    return penstock_server(workers=1)


@pytest.mark.parametrize("kind", ["adobe", "llnw"])
def test_rtmp_source_and_destination(
    cloud: Cloud, server: PenstockServer, origin: OriginThread, sink: SinkThread, kind: str
) -> None:
    """By either kind of login; with a wrong password ErrorInfo says so. It stands in no log and no history."""
    origin.peer.guard, sink.peer.guard = (Guard(kind, password="p@ssword") for _ in range(2))
    source, to = (url.replace("://", "://ann:p%40ssword@") for url in (origin.url, destination(sink)))
    task_id = cloud.create(source, to)
    sink.until(lambda: sum(len(connection.frames) for connection in sink.connections) > 50)
    until(lambda: well(cloud, task_id))
    assert cloud.describe(task_id).SourceUrls == [source]

    cloud.modify(task_id, SourceUrls=[source.replace("word", "words")])
    error = until(lambda: cloud.describe(task_id).ErrorInfo)
    assert " source: refused by the server, the user name or the password is wrong: NetConnection.Connect" in error
    assert f"rtmp://***@127.0.0.1:{origin.peer.port}/live/***" in error
    shown = [error, server.log, *(server.command("task", verb, task_id).stdout for verb in ("show", "logs"))]
    assert not any(secret in text for text in shown for secret in ("p@ss", "p%40ss", "response="))


def test_http_flv_source(cloud: Cloud, server: PenstockServer, sink: SinkThread, tmp_path: Path) -> None:
    """By the plain password that nginx knows."""
    users = tmp_path / "users"
    users.write_text("ann:{PLAIN}p@ss/word\n")
    closed = f"proxy_pass {server.media}; proxy_http_version 1.1; proxy_buffering off;"
    closed = f'location /live/ {{ auth_basic "x"; auth_basic_user_file {users}; {closed} }}'
    with publish(f"{server.rtmp}/live/camera", "av"), Nginx(tmp_path / "nginx", http=closed) as nginx:
        source = f"http://ann:p%40ss%2Fword@127.0.0.1:{nginx.http_port}/live/camera.flv"
        task_id = assert_every_picture(cloud, source, sink, tmp_path)
        assert children(server) == []
        cloud.modify(task_id, SourceUrls=[source.replace("word", "words")])
        error = until(lambda: cloud.describe(task_id).ErrorInfo)
    assert " source: HTTP status 401, the user name or the password is wrong" in error
    assert not any("p%40ss" in text or "p@ss" in text for text in (error, server.log))
