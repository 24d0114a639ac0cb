"""Backup sources through the official SDK: real publishers, real servers, and a viewer on one connection throughout."""

import signal
from collections.abc import Callable
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.avmeter import UNFILLED, measure
from tests.e2e.cloud import Cloud
from tests.e2e.conftest import PenstockServer, ServerFactory, until
from tests.e2e.nginx import Nginx
from tests.e2e.test_relay import assert_rising, destination, publishing
from tests.e2e.test_slate import recorded
from tests.gate import Gate
from tests.media import clip, ffmpeg_exe, publish
from tests.rtmp_peer import OriginThread, SinkThread
from tests.rtmp_wire import VIDEO, Message

LIVE = "PullLivePushLive"
#: The longest picture, in ms: the last one of a clip that its publisher plays again and again.
SEAM = 85


@pytest.fixture
def server(penstock_server: ServerFactory) -> PenstockServer:
    """A Penstock that returns soon, and takes no source for gone at once that a busy machine may only hold up."""
    return penstock_server(workers=1, env={"PENSTOCK_SOURCE_RETURN_AFTER": "2", "PENSTOCK_SOURCE_STALL": "1.5"})


class Show:
    """A task with a source and a backup."""

    def __init__(self, server: PenstockServer, cloud: Cloud, source: str, backup: str, sink: SinkThread, **more: Any):
        self.server = server
        self.cloud = cloud
        self.source = source
        self.backup = backup
        self.task_id = cloud.create(source, destination(sink), BackupSourceType=LIVE, BackupSourceUrl=backup, **more)

    def until_on_air(self, url: str) -> None:
        """Wait until the API says that this is on air."""
        until(lambda: self.cloud.describe(self.task_id).RecentPullInfo.FileUrl == url, what=url)

    def until_ready(self) -> None:
        """Wait until both flow, and there is something to come in with."""
        until(lambda: all(node["state"] == "flowing" for node in self.server.task(self.task_id)["sources"]))

    def switches(self) -> list[str]:
        """Their causes, so far."""
        names = [event["name"] for event in self.server.task(self.task_id)["events"]]
        return [name.removeprefix("switch.") for name in names if name.startswith("switch.")]

    def lose(self, fault: Callable[[], object], mend: Callable[[], object]) -> None:
        """Let the source be lost, and return."""
        fault()
        self.until_on_air(self.backup)
        until(lambda: self.cloud.run_status(self.task_id) == "active")
        until(lambda: " source: " in self.cloud.describe(self.task_id).ErrorInfo)
        mend()
        self.until_on_air(self.source)
        until(lambda: not self.cloud.describe(self.task_id).ErrorInfo)
        self.until_ready()


def test_viewers_see_one_stream_whatever_befalls_the_source(
    server: PenstockServer, cloud: Cloud, sink: SinkThread, tmp_path: Path
) -> None:
    """Closed, half-open, a publisher that stands still, one that is gone while its server says nothing: each time the
    backup, and the source again; sound with its picture, no hole, no complaint of a decoder."""
    with ExitStack() as stack:
        nginx = stack.enter_context(Nginx(tmp_path / "nginx"))
        gate = stack.enter_context(Gate(nginx.port))
        publishers = stack.enter_context(ExitStack())
        first = publishers.enter_context(publish(f"{nginx.url}/live/a", clip("plain")))
        stack.enter_context(publish(f"{nginx.url}/live/b", clip("plain")))
        source = f"rtmp://127.0.0.1:{gate.port}/live/a"
        show = Show(server, cloud, source, f"{nginx.url}/live/b", sink, BackupToUrl=f"{nginx.url}/live/out")
        connection = publishing(sink, frames=100)
        show.until_on_air(source)
        show.until_ready()
        with recorded(ffmpeg_exe(), f"{nginx.url}/live/out", tmp_path / "viewed.flv"):
            show.lose(gate.shut, gate.go_on)
            show.lose(gate.stop, gate.go_on)
            show.lose(lambda: first.send_signal(signal.SIGSTOP), lambda: first.send_signal(signal.SIGCONT))
            frames = len(connection.frames)
            sink.until(lambda: len(connection.frames) > frames + 50)
        causes = show.switches()
    reading = measure(tmp_path / "viewed.flv")
    away, back = causes[::2], causes[1::2]
    assert (away[0], set(away[1:]), set(back)) == ("closed", {"stalled"}, {"returned"})
    assert len(away) == len(back) >= 3  # a busy machine may hold up a source once more
    assert reading.errors == []
    assert reading.picture_gap <= SEAM, str(reading)
    assert reading.sound_gap <= UNFILLED, str(reading)
    assert len(reading.offsets) >= 10
    assert max(map(abs, reading.offsets)) <= 5, str(reading)
    assert len(sink.connections) == 1
    assert_rising(connection)
    steps = [later.timestamp - sooner.timestamp for sooner, later in pairwise(connection.frames)]
    assert max(steps) <= SEAM


def test_a_source_whose_clock_stands_is_replaced_although_bytes_come(
    server: PenstockServer, cloud: Cloud, origin: OriginThread, sink: SinkThread
) -> None:
    """What counts is media time."""
    with OriginThread(clip("av"), start=5_000_000) as backup:
        show = Show(server, cloud, origin.url, backup.url, sink)
        connection = publishing(sink, frames=150)
        show.until_ready()
        last = connection.frames[-1]
        origin.call(origin.peer.stall)
        player = origin.connections[0]

        def on_backup() -> bool:
            origin.call(lambda: player.send(Message(VIDEO, 0, last.payload, 5, 1)))
            return bool(cloud.describe(show.task_id).RecentPullInfo.FileUrl == backup.url)

        until(on_backup)
        sink.until(lambda: len(connection.frames) > 300)
        assert show.switches() == ["stalled"]
    assert len(sink.connections) == 1
    assert_rising(connection)
    steps = [later.timestamp - sooner.timestamp for sooner, later in pairwise(connection.frames)]
    # Those that said the same again were pictures, too; the two B-frames before the last P-frame may never have come.
    assert max(steps) <= 120


def test_a_backup_is_given_and_taken_away_while_the_task_runs(
    server: PenstockServer, cloud: Cloud, origin: OriginThread, sink: SinkThread
) -> None:
    """The media notices nothing of it; what is there for the operator says what is so."""
    with OriginThread(clip("av")) as backup:
        task_id = cloud.create(origin.url, destination(sink))
        connection = publishing(sink, frames=50)
        cloud.modify(task_id, BackupSourceType=LIVE, BackupSourceUrl=f"{backup.url}?token=hush")
        until(lambda: len(server.task(task_id)["sources"]) == 2)
        until(lambda: server.task(task_id)["sources"][1]["state"] == "flowing")
        text = server.command("task", "show", task_id).stdout
        assert "hush" not in text
        assert "source since" in text
        assert 'penstock_on_air{source="source"} 1.0' in server.get("/metrics")[1]
        cloud.modify(task_id, BackupSourceType="")
        until(lambda: len(server.task(task_id)["sources"]) == 1)
        until(lambda: all(player.closed for player in backup.connections))
        frames = len(connection.frames)
        sink.until(lambda: len(connection.frames) > frames + 25)
    assert len(sink.connections) == 1
    assert_rising(connection)
