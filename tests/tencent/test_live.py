"""The pull stream tasks as users of the international SDK see them."""

# ruff: noqa: RUF001 (Chinese punctuation is meant)

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from tencentcloud.live.v20180801 import models

from penstock.tasks.accounts import NewAccount
from penstock.tasks.model import State
from tests.endpoint import Endpoint
from tests.tencent.client import Client

SOURCE = "rtmp://127.0.0.1:1935/live/source?key=secret"


def short(value: object) -> str:
    return str(value)[:50]


def at(**delta: float) -> str:
    return (datetime.now(UTC) + timedelta(**delta)).strftime("%Y-%m-%dT%H:%M:%SZ")


def wish(**changes: Any) -> dict[str, Any]:
    """A task that the vendor's first sample would make."""
    return {
        "SourceType": "PullLivePushLive",
        "SourceUrls": [SOURCE],
        "DomainName": "127.0.0.1",
        "AppName": "live",
        "StreamName": "stream1",
        "StartTime": at(minutes=-1),
        "EndTime": at(hours=1),
        "Operator": "vinson",
        **changes,
    }


def created(client: Client, **changes: Any) -> str:
    task_id = client.call("CreateLivePullStreamTask", **wish(**changes))["TaskId"]
    assert isinstance(task_id, str)
    return task_id


def described(client: Client, task_id: str) -> dict[str, Any]:
    [info] = client.call("DescribeLivePullStreamTasks", TaskId=task_id)["TaskInfos"]
    assert isinstance(info, dict)
    return info


def test_a_task_is_described_as_it_was_created(client: Client) -> None:
    """Through the SDK's own models, which raise or warn at what they do not know."""
    request = models.CreateLivePullStreamTaskRequest()
    asked = wish(
        StartTime=(datetime.now(UTC) - timedelta(days=1)).strftime("%Y-%m-%dT%H:%M:%S+08:00"),
        EndTime=(datetime.now(UTC) + timedelta(days=10)).strftime("%Y-%m-%dT%H:%M:%S+08:00"),
        PushArgs="bak=1",
        CallbackEvents=["TaskStart", "TaskExit"],
        VodLoopTimes="3",
        VodRefreshType="ContinueBreakPoint",
        CallbackUrl="http://127.0.0.1/callback",
        Comment="重要活动",
        WatermarkList=[],
        BackupSourceType="",
    )
    request._deserialize(asked)
    task_id = client.sdk.CreateLivePullStreamTask(request).TaskId
    lookup = models.DescribeLivePullStreamTasksRequest()
    lookup.TaskId = task_id
    answer = client.sdk.DescribeLivePullStreamTasks(lookup)

    assert re.fullmatch("[0-9]{5,}", task_id)
    [info] = answer.TaskInfos
    given = {name: getattr(info, name) for name in asked if name not in ("Operator", "VodLoopTimes")}
    assert given == {name: asked[name] for name in given}
    assert (info.TaskId, info.Region, info.VodLoopTimes) == (task_id, "ap-singapore", 3)
    assert (info.CreateBy, info.UpdateBy, info.Status) == ("vinson", "vinson", "enable")
    assert info.CreateTime == info.UpdateTime
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", info.CreateTime)
    page = (answer.PageNum, answer.PageSize, answer.TotalNum, answer.TotalPage, answer.LimitTaskNum)
    assert page == (1, 10, 1, 1, 20)


def test_a_task_may_name_its_whole_destination(client: Client) -> None:
    to_url = "rtmp://127.0.0.1/live/stream1?txSecret=1"
    task_id = created(client, DomainName="", AppName="", StreamName="", ToUrl=to_url)

    info = described(client, task_id)
    assert (info["DomainName"], info["AppName"], info["StreamName"]) == ("", "", "")


def test_tasks_come_in_pages_the_last_changed_first(client: Client) -> None:
    ids = [created(client) for _ in range(5)]
    client.call("ModifyLivePullStreamTask", TaskId=ids[1], Operator="a", Comment="changed")

    pages = [client.call("DescribeLivePullStreamTasks", PageNum=number, PageSize=2) for number in (1, 2, 3, 4)]

    assert [[info["TaskId"] for info in page["TaskInfos"]] for page in pages] == [
        [ids[1], ids[4]],
        [ids[3], ids[2]],
        [ids[0]],
        [],
    ]
    assert {(page["TotalNum"], page["TotalPage"], page["PageSize"]) for page in pages} == {(5, 3, 2)}
    assert [page["PageNum"] for page in pages] == [1, 2, 3, 4]


def test_a_task_is_paused_and_enabled(client: Client, endpoint: Endpoint) -> None:
    task_id = created(client)
    hints = endpoint.hints.count
    client.call("ModifyLivePullStreamTask", TaskId=task_id, Operator="night", Status="pause")
    paused = described(client, task_id)
    client.call("ModifyLivePullStreamTask", TaskId=task_id, Operator="day", Status="enable")
    enabled = described(client, task_id)

    assert (paused["Status"], paused["UpdateBy"], paused["CreateBy"]) == ("pause", "night", "vinson")
    assert (enabled["Status"], enabled["UpdateBy"]) == ("enable", "day")
    assert endpoint.hints.count == hints + 2


def test_a_running_task_is_restarted(client: Client, endpoint: Endpoint) -> None:
    task_id = created(client)
    task = endpoint.run(task_id)
    hints = endpoint.hints.count
    client.call("RestartLivePullStreamTask", TaskId=task_id, Operator="night")
    [row] = [row for row in endpoint.claimed() if row.key == task.key]

    assert (row.state, row.owner, row.epoch) == (State.STARTING, "w-1", task.epoch)
    assert endpoint.hints.count == hints + 1
    assert (described(client, task_id)["Status"], described(client, task_id)["UpdateBy"]) == ("enable", "night")


def test_a_paused_task_is_not_restarted(client: Client) -> None:
    task_id = created(client, SpecifyTaskId="restarted")
    client.call("ModifyLivePullStreamTask", TaskId=task_id, Operator="a", Status="pause")

    code, message = client.refused("RestartLivePullStreamTask", SpecifyTaskId=task_id, Operator="a")
    assert (code, message) == ("FailedOperation.ConflictAction", "The task is paused; enable it instead.")


def test_times_are_changed_and_come_back_as_given(client: Client) -> None:
    task_id = created(client)
    later = (datetime.now(UTC) + timedelta(days=2)).strftime("%Y-%m-%dT%H:%M:%S+08:00")
    before = described(client, task_id)
    client.call("ModifyLivePullStreamTask", TaskId=task_id, Operator="a", EndTime=later)
    after = described(client, task_id)

    assert (after["EndTime"], after["StartTime"]) == (later, before["StartTime"])


def test_a_deleted_task_is_gone(client: Client) -> None:
    task_id = created(client)
    client.call("DeleteLivePullStreamTask", TaskId=task_id, Operator="a")

    page = client.call("DescribeLivePullStreamTasks", TaskId=task_id)
    assert (page["TaskInfos"], page["TotalNum"], page["TotalPage"]) == ([], 0, 0)


@pytest.mark.parametrize(
    ("action", "parameters"),
    [
        ("DeleteLivePullStreamTask", {"Operator": "a"}),
        ("ModifyLivePullStreamTask", {"Operator": "a", "Status": "pause"}),
        ("RestartLivePullStreamTask", {"Operator": "a"}),
        ("DescribeLivePullStreamTaskStatus", {}),
    ],
)
def test_an_unknown_task_is_refused(client: Client, action: str, parameters: dict[str, str]) -> None:
    code, message = client.refused(action, TaskId="99999999", **parameters)

    assert (code, message) == ("InvalidParameter.TaskNotExist", "The task does not exist.")


def test_another_accounts_task_is_unknown(client: Client, endpoint: Endpoint) -> None:
    task_id = created(client)
    other = Client(endpoint, endpoint.account())

    assert other.call("DescribeLivePullStreamTasks")["TotalNum"] == 0
    assert other.call("DescribeLivePullStreamTasks", TaskId=task_id)["TaskInfos"] == []
    for action in ("DeleteLivePullStreamTask", "ModifyLivePullStreamTask", "RestartLivePullStreamTask"):
        code, _ = other.refused(action, TaskId=task_id, Operator="a")
        assert code == "InvalidParameter.TaskNotExist"
    assert other.refused("DescribeLivePullStreamTaskStatus", TaskId=task_id)[0] == "InvalidParameter.TaskNotExist"
    assert described(client, task_id)["Status"] == "enable"


def test_a_task_that_runs_says_what_it_pulls(client: Client, endpoint: Endpoint) -> None:
    task_id = created(client)
    task = endpoint.run(task_id)
    reported = datetime.fromtimestamp(endpoint.reports.by_key[task.key].at // 1000, UTC)
    report_time = reported.strftime("%Y-%m-%dT%H:%M:%SZ")

    info = described(client, task_id)
    status = client.call("DescribeLivePullStreamTaskStatus", TaskId=task_id)["TaskStatusInfo"]
    listed = client.call("DescribeLivePullStreamTasks")["TaskInfos"]

    recent = {"FileUrl": SOURCE, "OffsetTime": 95, "ReportTime": report_time, "LoopedTimes": 0}
    assert (info["RecentPullInfo"], info["ErrorInfo"]) == (recent, "")
    assert status == {**recent, "RunStatus": "active", "FileDuration": 0, "NextFileUrl": ""}
    assert ["RecentPullInfo" in one for one in listed] == [False]


def test_a_task_that_fails_says_why(client: Client, endpoint: Endpoint) -> None:
    task_id = created(client)
    why = "2026-11-20T10:00:00Z source: connection refused (rtmp://h/app/***), retry 7 in 8 s"
    endpoint.run(task_id, error=why, state=State.INACTIVE)

    assert described(client, task_id)["ErrorInfo"] == why
    status = client.call("DescribeLivePullStreamTaskStatus", TaskId=task_id)["TaskStatusInfo"]
    assert (status["RunStatus"], status["LoopedTimes"], status["ReportTime"]) == ("inactive", -1, "")


def test_the_limit_of_tasks_is_told_and_kept(endpoint: Endpoint) -> None:
    client = Client(endpoint, endpoint.account(task_limit=2))
    first = created(client)
    created(client)

    code, _ = client.refused("CreateLivePullStreamTask", **wish())
    assert code == "InvalidParameter.TaskNumMoreThanLimit"
    assert client.call("DescribeLivePullStreamTasks")["LimitTaskNum"] == 2
    client.call("DeleteLivePullStreamTask", TaskId=first, Operator="a")
    created(client)


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"SourceUrls": ["not a url"]}, "InvalidParameter.InvalidSourceUrl"),
        ({"SourceUrls": ["rtmp://10.0.0.1/live/x"]}, "InvalidParameter.InvalidSourceUrl"),
        ({"SourceUrls": ["rtmp://127.0.0.1/a/b"] * 2}, "InvalidParameter.InvalidSourceUrl"),
        ({"SourceUrls": []}, "InvalidParameterValue"),
        ({"SourceUrls": ["rtmp://127.0.0.1/a/b"] * 31}, "InvalidParameterValue"),
        ({"SourceUrls": ["srt://127.0.0.1:9000?mode=listener"]}, "InvalidParameter.InvalidSourceUrl"),
        ({"SourceUrls": ["http://10.0.0.1/live.m3u8"]}, "InvalidParameter.InvalidSourceUrl"),
        ({"SourceUrls": ["file:///etc/passwd"]}, "InvalidParameter.InvalidSourceUrl"),
        ({"SourceUrls": ["rtp://127.0.0.1:5004"]}, "InvalidParameter.InvalidSourceUrl"),
        ({"SourceUrls": "rtmp://127.0.0.1/a/b"}, "InvalidParameter"),
        ({"SourceType": "PullPicPushLive"}, "UnsupportedOperation"),
        ({"SourceType": "PullEverything"}, "InvalidParameterValue"),
        ({"DomainName": "10.0.0.1"}, "InvalidParameter.InvalidToUrl"),
        ({"ToUrl": "rtmp://127.0.0.1/a/b"}, "InvalidParameter.InvalidToUrl"),
        ({"AppName": ""}, "InvalidParameterValue"),
        ({"CallbackUrl": "ftp://127.0.0.1/"}, "InvalidParameter.InvalidCallbackUrl"),
        ({"CallbackEvents": ["TaskBegins"]}, "InvalidParameterValue"),
        ({"EndTime": "2020-01-01T00:00:00Z"}, "InvalidParameter.InvalidTaskTime"),
        ({"EndTime": "tomorrow"}, "InvalidParameter.InvalidTaskTime"),
        ({"EndTime": "2999-01-01T00:00:00Z"}, "InvalidParameter.InvalidTaskTime"),
        ({"Comment": "直" * 171}, "InvalidParameterValue"),
        ({"VodLoopTimes": "many"}, "InvalidParameterValue"),
        ({"VodLoopTimes": -1}, "InvalidParameter"),
        ({"WatermarkList": [{"PictureUrl": "http://127.0.0.1/a.png"}]}, "UnsupportedOperation"),
        ({"WatermarkList": [{"PictureUrl": "http://127.0.0.1/$(a).png"}]}, "InvalidParameterValue"),
        ({"BackupSourceType": "PullLivePushLive"}, "InvalidParameterValue"),
        ({"BackupSourceUrl": "rtmp://127.0.0.1/live/backup"}, "InvalidParameterValue"),
        (
            {"BackupSourceType": "PullLivePushLive", "BackupSourceUrl": "rtmp://10.0.0.1/live/backup"},
            "InvalidParameter.InvalidSourceUrl",
        ),
        ({"BackupToUrl": "http://127.0.0.1/a/c"}, "InvalidParameter.InvalidBackupToUrl"),
        ({"BackupToUrl": "rtmp://10.0.0.1/a/c"}, "InvalidParameter.InvalidBackupToUrl"),
        ({"BackupToUrl": "srt://127.0.0.1"}, "InvalidParameter.InvalidBackupToUrl"),
        ({"TranscodeTemplateName": "x"}, "UnsupportedOperation"),
        ({"FileIndex": 2}, "InvalidParameterValue"),
        ({"OffsetTime": 10}, "InvalidParameterValue"),
        ({"SpecifyTaskId": "a b"}, "InvalidParameter.InvalidTaskId"),
        ({"Speed": 2}, "UnknownParameter"),
    ],
    ids=short,
)
def test_a_task_that_cannot_be_is_refused(client: Client, changes: dict[str, Any], code: str) -> None:
    refused, message = client.refused("CreateLivePullStreamTask", **wish(**changes))

    assert (refused, bool(message)) == (code, True)
    assert client.call("DescribeLivePullStreamTasks")["TotalNum"] == 0


@pytest.mark.parametrize(
    "name",
    ["SourceType", "SourceUrls", "DomainName", "AppName", "StreamName", "StartTime", "EndTime", "Operator"],
)
def test_what_the_vendor_requires_is_required(client: Client, name: str) -> None:
    parameters = wish()
    del parameters[name]

    assert client.refused("CreateLivePullStreamTask", **parameters) == (
        "MissingParameter",
        f"The request is missing a required parameter `{name}`.",
    )


def test_a_task_may_be_named_by_its_callers_id(client: Client) -> None:
    task_id = created(client, SpecifyTaskId="news_at-7")
    named = {"SpecifyTaskId": "news_at-7"}
    client.call("ModifyLivePullStreamTask", Operator="a", Comment="x", **named)

    assert task_id == "news_at-7"
    assert client.call("DescribeLivePullStreamTasks", **named)["TaskInfos"][0]["Comment"] == "x"
    assert client.call("DescribeLivePullStreamTaskStatus", **named)["TaskStatusInfo"]["RunStatus"] == "inactive"
    assert client.refused("CreateLivePullStreamTask", **wish(**named))[0] == "InvalidParameter.InvalidTaskId"
    client.call("DeleteLivePullStreamTask", Operator="a", TaskId="", **named)
    assert client.call("DescribeLivePullStreamTasks")["TotalNum"] == 0


def test_a_call_names_one_task(client: Client) -> None:
    two = {"TaskId": "1", "SpecifyTaskId": "2"}

    assert client.refused("DescribeLivePullStreamTasks", **two)[0] == "InvalidParameter.InvalidTaskId"
    assert client.refused("DeleteLivePullStreamTask", Operator="a") == (
        "MissingParameter",
        "The request is missing a required parameter `TaskId`.",
    )


@pytest.mark.parametrize(
    ("page", "code"),
    [
        ({"PageSize": 0}, "InvalidParameterValue"),
        ({"PageSize": 21}, "InvalidParameterValue"),
        ({"PageNum": 0}, "InvalidParameterValue"),
        ({"PageNum": "1"}, "InvalidParameter"),
        ({"PageNum": 2**70}, "InvalidParameterValue"),
    ],
    ids=short,
)
def test_a_page_that_cannot_be_is_refused(client: Client, page: dict[str, Any], code: str) -> None:
    assert client.refused("DescribeLivePullStreamTasks", **page)[0] == code


def test_refusals_speak_chinese_on_request(endpoint: Endpoint, account: NewAccount) -> None:
    client = Client(endpoint, account, language="zh-CN")

    assert client.refused("DeleteLivePullStreamTask", TaskId="1", Operator="a")[1].startswith("任务不存在")
    assert client.refused("DeleteLivePullStreamTask", TaskId="1")[1] == "缺少参数错误：缺少必填参数 `Operator`。"
