"""Real relays: created through the official SDK, run by `penstock serve`, judged by what arrives."""

import signal
import time
from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from tencentcloud.common.exception.tencent_cloud_sdk_exception import TencentCloudSDKException

from tests.e2e.cloud import Cloud, utc
from tests.e2e.conftest import PenstockServer, ServerFactory, until
from tests.e2e.running import leave
from tests.media import clip, counters
from tests.rtmp_peer import Arrival, Connection, OriginThread, SinkThread
from tests.rtmp_wire import DATA, Message, flv_file

FRAME = 40


@pytest.fixture
def server(penstock_server: ServerFactory) -> PenstockServer:
    """A Penstock with two workers that may reach loopback."""
    return penstock_server()


def destination(sink: SinkThread) -> str:
    """A destination URL with a key that must stand nowhere else."""
    return f"{sink.url}?key=hush"


def publishing(sink: SinkThread, number: int = 1, frames: int = 25) -> Connection:
    """The destination's connection of this number, once it has carried so many pictures."""
    sink.until(lambda: len(sink.connections) >= number and len(sink.connections[number - 1].frames) >= frames)
    return sink.connections[number - 1]


def assert_rising(connection: Connection) -> None:
    """DTS rises strictly for pictures and for sound."""
    for messages in (connection.frames, connection.sounds):
        times = [message.timestamp for message in messages]
        assert all(after > before for before, after in pairwise(times)), times


def assert_paced(frames: Sequence[Arrival]) -> None:
    """They come one by one, none half a second after another, but for two that a busy machine may hold up."""
    assert sorted(later.at - sooner.at for sooner, later in pairwise(frames))[-3] < 0.5


def decoded(connection: Connection, path: Path) -> list[int]:
    """The frame counters of the pictures that a destination got."""
    path.write_bytes(flv_of(connection.messages))
    shown = counters(path)
    assert None not in shown
    # What has arrived may end in the middle of a group: the last P-frame is there, its B-frames are not.
    return [number for number in shown if number is not None][:-3]


def assert_complete(numbers: Sequence[int], clip_frames: int = 500) -> None:
    """Every picture once, in order; the clip (`av`) may have begun anew."""
    assert numbers == [(numbers[0] + at) % clip_frames for at in range(len(numbers))]


def flv_of(messages: Iterable[Arrival]) -> bytes:
    """What a destination got, as an FLV file; script data is of no use here."""
    return flv_file(Message(one.type, one.timestamp, one.payload) for one in messages if one.type != DATA)


def well(cloud: Cloud, task_id: str) -> bool:
    """Whether Describe says that the task delivers."""
    info = cloud.describe(task_id)
    return not info.ErrorInfo and info.RecentPullInfo is not None and bool(info.RecentPullInfo.FileUrl)


def test_a_task_made_through_the_sdk_delivers_every_frame(
    cloud: Cloud, origin: OriginThread, sink: SinkThread, tmp_path: Path
) -> None:
    """Pictures arrive complete and in order, Describe tells the truth, and Delete ends it in order."""
    task_id = cloud.create(origin.url, destination(sink))
    connection = publishing(sink, frames=75)

    info = until(lambda: (found := cloud.describe(task_id)).RecentPullInfo.OffsetTime >= 1 and found)

    assert (info.Status, info.ErrorInfo) == ("enable", "")
    assert info.RecentPullInfo.FileUrl == origin.url
    cloud.delete(task_id)
    sink.until(lambda: connection.unpublished)
    assert_rising(connection)
    numbers = decoded(connection, tmp_path / "out.flv")
    assert_complete(numbers)
    assert cloud.describe(task_id) is None


def test_a_task_is_restarted_through_the_sdk_and_by_the_command(
    server: PenstockServer, cloud: Cloud, origin: OriginThread, sink: SinkThread
) -> None:
    """Both sides are left in order and connected again at once, and the history says by whom."""
    task_id = cloud.create(origin.url, destination(sink))
    publishing(sink)
    cloud.call("RestartLivePullStreamTask", TaskId=task_id, Operator="night")
    publishing(sink, 2)
    done = server.command("task", "restart", task_id)
    publishing(sink, 3)

    assert done.stdout == f"Task {task_id} begins anew.\n"
    assert [connection.unpublished for connection in sink.connections] == [True, True, False]
    until(lambda: well(cloud, task_id))
    restarts = [event["by"] for event in server.task(task_id)["events"] if event["name"] == "task.restarted"]
    assert restarts == ["night", "operator"]
    cloud.modify(task_id, Status="pause")
    refused = server.command("task", "restart", task_id, check=False)
    assert (refused.returncode, refused.stderr) == (1, "penstock: The task is paused; enable it instead.\n")


def test_a_source_that_comes_back_is_spliced_into_the_same_connection(
    cloud: Cloud, origin: OriginThread, sink: SinkThread
) -> None:
    """The destination notices neither a reconnect nor a step back in time, and has sound all the while."""
    task_id = cloud.create(origin.url, destination(sink))
    connection = publishing(sink)
    origin.call(origin.peer.end)
    until(lambda: "source" in cloud.describe(task_id).ErrorInfo)
    frames, sounds = len(connection.frames), len(connection.sounds)
    sink.until(lambda: len(connection.sounds) > sounds + 25)

    origin.call(origin.peer.resume)

    sink.until(lambda: len(connection.frames) > frames + 50)
    until(lambda: well(cloud, task_id))
    assert len(sink.connections) == 1
    assert_rising(connection)
    times = [message.timestamp for message in connection.sounds]
    assert max(after - before for before, after in pairwise(times)) <= 2 * FRAME


def test_a_source_may_be_silent_for_as_long_as_the_operator_says(
    penstock_server: ServerFactory, origin: OriginThread, sink: SinkThread
) -> None:
    """`source.stall` in place of the source's own rhythm."""
    server = penstock_server(env={"PENSTOCK_SOURCE_STALL": "1.7"})
    keys = server.account()
    cloud = Cloud(server.http, keys["secret_id"], keys["secret_key"])
    task_id = cloud.create(origin.url, destination(sink))
    publishing(sink)
    origin.call(origin.peer.stall)
    until(lambda: "source: no media for 1.7 s" in cloud.describe(task_id).ErrorInfo)


def test_killing_the_api_loses_no_frame_and_the_next_one_answers_truly(
    server: PenstockServer, cloud: Cloud, origin: OriginThread, sink: SinkThread, tmp_path: Path
) -> None:
    """Media does not know of the API; the new one knows of the media."""
    task_id = cloud.create(origin.url, destination(sink))
    connection = publishing(sink)
    until(lambda: well(cloud, task_id))
    before = cloud.describe(task_id)

    server.kill("api")
    frames = len(connection.frames)
    after = until(lambda: cloud.describe(task_id))

    assert not after.ErrorInfo
    assert after.RecentPullInfo.OffsetTime >= before.RecentPullInfo.OffsetTime
    sink.until(lambda: len(connection.frames) > frames + 50)
    assert len(sink.connections) == 1
    numbers = decoded(connection, tmp_path / "out.flv")
    assert_complete(numbers)


def test_replacing_the_api_by_sighup_loses_no_frame_and_no_call(
    server: PenstockServer, cloud: Cloud, origin: OriginThread, sink: SinkThread, tmp_path: Path
) -> None:
    """Every call during it is answered, and truly."""
    task_id = cloud.create(origin.url, destination(sink))
    connection = publishing(sink)
    until(lambda: well(cloud, task_id))
    seen = {server.pids["api"]}

    for _ in range(2):
        server.process.send_signal(signal.SIGHUP)
        seen.add(until(lambda: well(cloud, task_id) and server.pids["api"] not in (None, *seen) and server.pids["api"]))

    frames = len(connection.frames)
    sink.until(lambda: len(connection.frames) > frames + 25)
    assert len(sink.connections) == 1
    numbers = decoded(connection, tmp_path / "out.flv")
    assert_complete(numbers)


def test_killing_the_worker_brings_media_back_within_three_seconds_under_a_new_epoch(
    server: PenstockServer, cloud: Cloud, origin: OriginThread, sink: SinkThread
) -> None:
    """Another worker takes the task over as soon as the lock of the dead one is free."""
    task_id = cloud.create(origin.url, destination(sink))
    publishing(sink)
    before = server.task(task_id)

    server.kill_owner(before)
    killed_at = time.monotonic()

    connection = publishing(sink, number=2, frames=1)
    assert connection.frames[0].at - killed_at < 3 * leave()
    until(lambda: well(cloud, task_id))
    assert server.task(task_id)["epoch"] == before["epoch"] + 1


def test_after_everything_is_killed_a_start_runs_every_enabled_task_again(
    server: PenstockServer, cloud: Cloud, origin: OriginThread, sink: SinkThread
) -> None:
    """A paused task stays paused, the enabled one delivers again, and the API knows both."""
    enabled = cloud.create(origin.url, destination(sink))
    paused = cloud.create(origin.url, destination(sink).replace("/test", "/other"))
    cloud.modify(paused, Status="pause")
    publishing(sink)
    sink.until(lambda: all(each.closed for each in sink.connections if "other" in each.name))
    seen = len(sink.connections)

    server.kill_all()
    server.start()

    again = publishing(sink, number=seen + 1)
    assert again.name.startswith("test")
    until(lambda: well(cloud, enabled))
    assert cloud.describe(paused).Status == "pause"
    assert len(sink.connections) == seen + 1


def test_pause_ends_the_media_in_order_and_enable_begins_it_again(
    cloud: Cloud, origin: OriginThread, sink: SinkThread
) -> None:
    """The row stays, its Status says what was asked for."""
    task_id = cloud.create(origin.url, destination(sink))
    connection = publishing(sink)

    cloud.modify(task_id, Status="pause")

    sink.until(lambda: connection.unpublished and connection.closed)
    info = cloud.describe(task_id)
    assert (info.Status, info.ErrorInfo) == ("pause", "")
    cloud.modify(task_id, Status="enable")
    publishing(sink, number=2)
    until(lambda: well(cloud, task_id))
    assert cloud.describe(task_id).Status == "enable"


def test_the_end_time_ends_the_media_in_order(cloud: Cloud, origin: OriginThread, sink: SinkThread) -> None:
    """A change of EndTime alone leaves the media alone; when it has passed, the destination is left, the row stays."""
    task_id = cloud.create(origin.url, destination(sink))
    connection = publishing(sink)

    cloud.modify(task_id, EndTime=utc(5))

    sink.until(lambda: connection.unpublished)
    assert len(sink.connections) == 1
    assert_rising(connection)
    assert until(lambda: not well(cloud, task_id))
    assert cloud.describe(task_id).ErrorInfo == ""


def test_a_new_source_keeps_the_destinations_connection(
    cloud: Cloud, origin: OriginThread, sink: SinkThread, tmp_path: Path
) -> None:
    """SourceUrls of a running task change: the new source is spliced in."""
    task_id = cloud.create(origin.url, destination(sink))
    connection = publishing(sink)
    with OriginThread(clip("plain")) as other:
        cloud.modify(task_id, SourceUrls=[other.url])
        other.until(lambda: bool(other.connections))
        frames = len(connection.frames)
        sink.until(lambda: len(connection.frames) > frames + 50)
        until(lambda: well(cloud, task_id) and cloud.describe(task_id).RecentPullInfo.FileUrl == other.url)

    assert len(sink.connections) == 1
    assert_rising(connection)
    assert decoded(connection, tmp_path / "out.flv")


def test_a_destination_that_refuses_is_named_in_error_info(
    cloud: Cloud, origin: OriginThread, sink: SinkThread
) -> None:
    """When, which side, what, where (the key masked), what next; and nothing claims to be active."""
    sink.peer.refuse = "NetStream.Publish.Denied"
    task_id = cloud.create(origin.url, destination(sink))

    until(lambda: " sink: " in cloud.describe(task_id).ErrorInfo)
    error = cloud.describe(task_id).ErrorInfo

    assert " sink: refused by the server, not authorized: NetStream.Publish.Denied" in error
    assert f"rtmp://127.0.0.1:{sink.peer.port}/live/***" in error
    assert "retry" in error
    assert "hush" not in error


def test_a_source_that_is_not_there_is_named_in_error_info(cloud: Cloud, sink: SinkThread) -> None:
    """A refused connection, in words."""
    with OriginThread(clip("av")) as gone:
        pass

    task_id = cloud.create(gone.url, destination(sink))

    until(lambda: " source: connection refused" in cloud.describe(task_id).ErrorInfo)


@pytest.mark.parametrize(
    ("values", "code"),
    [
        ({"SourceUrls": ["not a url"]}, "InvalidParameter.InvalidSourceUrl"),
        ({"SourceUrls": ["rtmp://10.1.2.3/live/x"]}, "InvalidParameter.InvalidSourceUrl"),
        ({"ToUrl": "rtmp://169.254.169.254/live/x"}, "InvalidParameter.InvalidToUrl"),
        ({"EndTime": "2020-01-01T00:00:00Z"}, "InvalidParameter.InvalidTaskTime"),
    ],
)
def test_a_bad_task_is_refused_with_the_vendors_code(cloud: Cloud, values: dict[str, Any], code: str) -> None:
    """And leaves nothing behind."""
    with pytest.raises(TencentCloudSDKException) as refused:
        cloud.create("rtmp://localhost/live/a", "rtmp://localhost/live/b", **values)

    assert refused.value.get_code() == code
    assert cloud.call("DescribeLivePullStreamTasks").TotalNum == 0


def test_a_wrong_secret_is_refused(server: PenstockServer, cloud: Cloud) -> None:
    """With the vendor's code."""
    keys = server.account("other")

    with pytest.raises(TencentCloudSDKException) as refused:
        Cloud(server.http, keys["secret_id"], "wrong").describe("10001")

    assert refused.value.get_code() == "AuthFailure.SignatureFailure"
