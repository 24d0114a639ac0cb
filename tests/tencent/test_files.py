"""Tasks of files as users of the SDKs see them."""

from datetime import UTC, datetime
from typing import Any

import pytest

from penstock.log import mask_url
from penstock.tasks.accounts import NewAccount
from penstock.tasks.model import Playback, State
from tests.endpoint import Endpoint
from tests.tencent.client import Client
from tests.tencent.test_live import at, created, described, short, wish
from tests.tencent.test_mainland import made

FILES = [f"http://127.0.0.1/{name}.mp4?key=s3cret" for name in "abc"]
MODIFY, STATUS = "ModifyLivePullStreamTask", "DescribeLivePullStreamTaskStatus"
CREATE, RESTART = "CreateLivePullStreamTask", "RestartLivePullStreamTask"


def files(**changes: Any) -> dict[str, Any]:
    """A channel of three files."""
    return {"SourceType": "PullVodPushLive", "SourceUrls": FILES, **changes}


def playback(item: int = 1, **fields: Any) -> Playback:
    """12.9 s into a file of 59.6 s, in the third round."""
    values = {"offset_ms": 12_900, "duration_ms": 59_600, "rounds": 2} | fields
    return Playback(item=item, url=mask_url(FILES[item]), next_url=mask_url(FILES[(item + 1) % 3]), **values)


def test_a_channel_is_described_as_it_was_created(client: Client) -> None:
    kept = {"VodRefreshType": "ContinueBreakPoint", "VodLocalMode": 1, **files()}
    info = described(client, created(client, VodLoopTimes="3", FileIndex=2, OffsetTime=7, **kept))

    assert {name: info[name] for name in kept} == kept
    assert (info["VodLoopTimes"], info["ErrorInfo"]) == (3, "")


def test_a_channel_loops_for_ever_unless_told(client: Client) -> None:
    assert described(client, created(client, **files()))["VodLoopTimes"] == -1


def test_a_channel_that_has_not_begun_pulls_nothing(client: Client) -> None:
    task_id = created(client, **files(StartTime=at(minutes=5)))

    recent = {"FileUrl": "", "OffsetTime": 0, "ReportTime": "", "LoopedTimes": 0}
    assert described(client, task_id)["RecentPullInfo"] == recent


def test_a_channel_says_where_it_is(client: Client, endpoint: Endpoint) -> None:
    task_id = created(client, **files())
    task = endpoint.run(task_id, playback=playback())
    reported = datetime.fromtimestamp(endpoint.reports.by_key[task.key].at // 1000, UTC)

    recent = described(client, task_id)["RecentPullInfo"]
    status = client.call(STATUS, TaskId=task_id)["TaskStatusInfo"]

    report_time = reported.strftime("%Y-%m-%dT%H:%M:%SZ")
    assert recent == {"FileUrl": FILES[1], "OffsetTime": 12, "ReportTime": report_time, "LoopedTimes": 2}
    assert status == {**recent, "RunStatus": "active", "FileDuration": 60, "NextFileUrl": FILES[2]}


def test_a_paused_channel_remembers_where_it_was(client: Client, endpoint: Endpoint) -> None:
    task_id = created(client, **files())
    endpoint.run(task_id, playback=playback())
    client.call(MODIFY, TaskId=task_id, Operator="a", Status="pause")
    task = next(task for task in endpoint.claimed() if task.id == task_id)
    endpoint.store.write_now(
        lambda tx: tx.release(task.key, owner="w-1", epoch=task.epoch, state=State.PAUSED, at=endpoint.now())
    )

    recent = described(client, task_id)["RecentPullInfo"]
    status = client.call(STATUS, TaskId=task_id)["TaskStatusInfo"]

    assert (recent["FileUrl"], recent["OffsetTime"], recent["LoopedTimes"]) == ("", 12, 2)
    assert (status["RunStatus"], status["LoopedTimes"], status["FileDuration"]) == ("inactive", -1, 0)


def test_the_mainlands_sdk_reads_where_a_channel_is(endpoint: Endpoint, account: NewAccount) -> None:
    [create] = made(endpoint, account, (CREATE, wish(**files(FileIndex=2, OffsetTime=7))))
    endpoint.keep_fresh(endpoint.run(create["TaskId"], playback=playback(2)))
    [status] = made(endpoint, account, (STATUS, {"TaskId": create["TaskId"]}))

    info = status["TaskStatusInfo"]
    assert (info["FileUrl"], info["NextFileUrl"]) == (FILES[2], FILES[0])
    assert (info["OffsetTime"], info["FileDuration"], info["LoopedTimes"]) == (12, 60, 2)


def test_another_place_is_named_whole(client: Client, endpoint: Endpoint) -> None:
    task_id = created(client, **files())
    endpoint.run(task_id, playback=playback())
    for half in ({"FileIndex": 1}, {"OffsetTime": 10}):
        code, message = client.refused(MODIFY, TaskId=task_id, Operator="a", **half)
        assert (code, "must come with" in message) == ("InvalidParameterValue", True)
    client.call(MODIFY, TaskId=task_id, Operator="a", FileIndex=1, OffsetTime=10)

    # Where it was is no answer any more, where it will be not yet.
    assert described(client, task_id)["RecentPullInfo"]["OffsetTime"] == 0


def test_other_files_are_checked_as_the_first_ones_were(client: Client) -> None:
    task_id = created(client, **files(FileIndex=3))
    before = described(client, task_id)
    refused = {
        "InvalidParameter.InvalidSourceUrl": ["http://127.0.0.1/a.mp4", "http://10.0.0.1/b.mp4"],
        "InvalidParameterValue": [],
    }
    for code, urls in refused.items():
        assert client.refused(MODIFY, TaskId=task_id, Operator="a", SourceUrls=urls)[0] == code
    assert described(client, task_id) == before
    client.call(MODIFY, TaskId=task_id, Operator="a", SourceUrls=FILES[:1])
    assert described(client, task_id)["SourceUrls"] == FILES[:1]
    code, message = client.refused(MODIFY, TaskId=task_id, Operator="a", FileIndex=2, OffsetTime=0)
    assert (code, message) == ("InvalidParameterValue", "FileIndex must be 1 to 1, the number of SourceUrls.")


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"SourceUrls": FILES[:1] * 31}, "InvalidParameterValue"),
        ({"SourceUrls": ["not a url", *FILES]}, "InvalidParameter.InvalidSourceUrl"),
        ({"SourceUrls": ["http://10.0.0.1/a.mp4", *FILES]}, "InvalidParameter.InvalidSourceUrl"),
        ({"SourceUrls": ["file:///etc/passwd", *FILES]}, "InvalidParameter.InvalidSourceUrl"),
        ({"FileIndex": 4}, "InvalidParameterValue"),
        ({"FileIndex": 0}, "InvalidParameterValue"),
        ({"FileIndex": 31}, "InvalidParameterValue"),
        ({"FileIndex": "1"}, "InvalidParameter"),
        ({"OffsetTime": 10}, "InvalidParameterValue"),
        ({"FileIndex": 1, "OffsetTime": -1}, "InvalidParameterValue"),
        ({"VodLoopTimes": "-2"}, "InvalidParameterValue"),
        ({"VodLoopTimes": "1.5"}, "InvalidParameterValue"),
        ({"VodRefreshType": "Later"}, "InvalidParameterValue"),
        ({"VodLocalMode": 2}, "InvalidParameterValue"),
    ],
    ids=short,
)
def test_a_channel_that_cannot_be_is_refused(client: Client, changes: dict[str, Any], code: str) -> None:
    refused, message = client.refused(CREATE, **wish(**files(**changes)))

    assert (refused, bool(message)) == (code, True)


def test_a_source_type_never_changes(client: Client) -> None:
    task_id = created(client, **files())

    assert client.refused(MODIFY, TaskId=task_id, Operator="a", SourceType="PullLivePushLive")[0] == "UnknownParameter"


def test_a_channel_that_has_played_its_last_round_is_restarted(client: Client, endpoint: Endpoint) -> None:
    task_id = created(client, **files(VodLoopTimes="2"))
    task = endpoint.run(task_id)
    endpoint.store.write_now(
        lambda tx: tx.release(task.key, owner="w-1", epoch=task.epoch, state=State.ENDED, at=endpoint.now())
    )

    code, message = client.refused(MODIFY, TaskId=task_id, Operator="a", Status="enable")
    assert code == "FailedOperation.ConflictAction"
    assert message == "The last round has been played; restart the task, or give it a later EndTime."
    client.call(RESTART, TaskId=task_id, Operator="a")
    assert next(row for row in endpoint.claimed() if row.id == task_id).epoch == task.epoch + 1
