"""BackupToUrl through the official SDK: two real destinations of one task, each for itself."""

import json
from itertools import pairwise
from pathlib import Path

import pytest

from tests.e2e.cloud import Cloud
from tests.e2e.conftest import PenstockServer, ServerFactory, until
from tests.e2e.test_relay import assert_complete, assert_rising, decoded, destination, publishing
from tests.rtmp_peer import OriginThread, SinkThread


@pytest.fixture
def server(penstock_server: ServerFactory) -> PenstockServer:
    """A Penstock with one worker that may reach loopback."""
    return penstock_server(workers=1)


def test_second_destination_is_changed_and_cleared_and_the_first_one_loses_nothing(
    server: PenstockServer, cloud: Cloud, origin: OriginThread, sink: SinkThread, tmp_path: Path
) -> None:
    """Both get the stream; a refusal is named in ErrorInfo, without its key, while the task is active."""
    with SinkThread() as second, SinkThread() as third:
        task_id = cloud.create(origin.url, destination(sink), BackupToUrl=destination(second))
        one, two = publishing(sink), publishing(second)
        assert cloud.describe(task_id).BackupToUrl == destination(second)
        until(lambda: cloud.run_status(task_id) == "active" and not cloud.describe(task_id).ErrorInfo)
        shown = server.task(task_id)
        assert [(node["id"], node["state"]) for node in shown["sinks"]] == [
            ("sink", "flowing"),
            ("sink.backup", "flowing"),
        ]

        third.peer.refuse = "NetStream.Publish.Denied"
        cloud.modify(task_id, BackupToUrl=destination(third))
        second.until(lambda: two.unpublished)
        error = until(lambda: cloud.describe(task_id).ErrorInfo)
        assert " sink.backup: refused by the server, not authorized" in error
        assert cloud.run_status(task_id) == "active"
        text = server.command("task", "show", task_id).stdout + json.dumps(server.task(task_id)) + error
        assert "hush" not in text

        third.peer.refuse = ""
        publishing(third, number=len(third.connections) + 1)
        until(lambda: not cloud.describe(task_id).ErrorInfo)
        cloud.modify(task_id, BackupToUrl="")
        third.until(lambda: third.connections[-1].unpublished)
        frames = len(one.frames)
        sink.until(lambda: len(one.frames) > frames + 25)

    assert len(sink.connections) == len(origin.connections) == 1
    assert_rising(one)
    assert {after.timestamp - before.timestamp for before, after in pairwise(one.frames)} == {40}
    numbers = decoded(one, tmp_path / "one.flv")
    assert_complete(numbers)
