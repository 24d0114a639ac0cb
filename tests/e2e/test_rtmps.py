"""RTMPS in and out: certificates are verified, unless the operator names the host."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import pytest

from tests.e2e.cloud import Cloud
from tests.e2e.conftest import ServerFactory, until
from tests.e2e.test_relay import assert_complete, assert_paced, assert_rising, decoded, publishing, well
from tests.media import clip
from tests.rtmp_peer import OriginThread, SinkThread
from tests.tls_front import TlsFront


class Peers(NamedTuple):
    """A source and a destination behind TLS."""

    origin: OriginThread
    sink: SinkThread
    source: str
    destination: str
    ca: Path


def secured(front: TlsFront, url: str, host: str = "127.0.0.1") -> str:
    """The URL of what is behind."""
    return f"rtmps://{host}:{front.port}{urlsplit(url).path}"


@pytest.fixture
def peers(tmp_path: Path) -> Iterator[Peers]:
    """Both have the same certificate."""
    with ExitStack() as stack:
        origin, sink = stack.enter_context(OriginThread(clip("av"))), stack.enter_context(SinkThread())
        fronts = [
            stack.enter_context(TlsFront(tmp_path / "tls", urlsplit(peer.url).port or 0)) for peer in (origin, sink)
        ]
        source, destination = secured(fronts[0], origin.url), secured(fronts[1], sink.url)
        yield Peers(origin, sink, source, destination, fronts[0].ca)


def cloud(penstock_server: ServerFactory, **env: str) -> Cloud:
    """The SDK of a server with this environment."""
    server = penstock_server(workers=1, env=env)
    keys = server.account()
    return Cloud(server.http, keys["secret_id"], keys["secret_key"])


def test_every_picture_over_tls_in_both_directions(
    penstock_server: ServerFactory, peers: Peers, tmp_path: Path
) -> None:
    """And when it is deleted, the destination is told so."""
    client = cloud(penstock_server, SSL_CERT_FILE=str(peers.ca))
    task_id = client.create(peers.source, peers.destination)
    connection = publishing(peers.sink, frames=100)
    until(lambda: well(client, task_id))
    assert_rising(connection)
    numbers = decoded(connection, tmp_path / "out.flv")
    assert_complete(numbers)
    assert_paced(connection.frames[25:])

    peers.origin.call(peers.origin.peer.end)
    until(lambda: "source" in client.describe(task_id).ErrorInfo)
    peers.origin.call(peers.origin.peer.resume)
    frames = len(connection.frames)
    peers.sink.until(lambda: len(connection.frames) > frames + 25)
    client.delete(task_id)
    peers.sink.until(lambda: connection.unpublished)
    assert len(peers.sink.connections) == 1


def test_certificate_that_nobody_vouches_for(penstock_server: ServerFactory, peers: Peers) -> None:
    """It is refused on both sides, and says how it could be permitted."""
    client = cloud(penstock_server)
    plain = client.create(peers.origin.url, peers.destination)
    secure = client.create(peers.source, f"{peers.sink.url}2")
    for task_id in (plain, secure):
        until(lambda: "the setting tls.insecure_hosts can permit it" in client.describe(task_id).ErrorInfo)  # noqa: B023
        assert "the certificate of 127.0.0.1 is not trusted" in client.describe(task_id).ErrorInfo
    assert peers.sink.connections == []


def test_certificate_of_another_name_and_of_a_host_that_is_named(penstock_server: ServerFactory, peers: Peers) -> None:
    """What is named is served; what is not, is not, although it is the same server."""
    client = cloud(penstock_server, PENSTOCK_TLS_INSECURE_HOSTS="127.0.0.2,127.0.0.1")
    task_id = client.create(peers.source, peers.destination)
    publishing(peers.sink, frames=25)
    until(lambda: well(client, task_id))


def test_server_that_speaks_no_tls_says_so(penstock_server: ServerFactory, peers: Peers) -> None:
    client = cloud(penstock_server)
    task_id = client.create(peers.origin.url.replace("rtmp:", "rtmps:"), peers.sink.url)
    until(lambda: "no TLS with 127.0.0.1" in client.describe(task_id).ErrorInfo)
