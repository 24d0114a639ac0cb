"""Each parameter of Create and Modify: kept and given back, or refused because nothing would follow it."""

import asyncio
from typing import Any

import pytest

from tests.endpoint import Endpoint
from tests.tencent.client import Client
from tests.tencent.test_live import at, created, described, wish

MODIFY = "ModifyLivePullStreamTask"
OTHER = "rtmp://127.0.0.1:9/live/other"

#: What both actions keep, and what Describe gives back of it.
KEPT: dict[str, Any] = {
    "VodRefreshType": "ContinueBreakPoint",
    "VodLocalMode": 1,
    "CallbackEvents": ["TaskAlarm"],
    "CallbackUrl": "https://127.0.0.1/called?key=secret",
    "Comment": "夜班, 2nd floor",
    "BackupToUrl": "rtmp://127.0.0.1/live/second?key=secret",
}
#: What asks for something that is not served yet.
NOT_SERVED: dict[str, Any] = {
    "WatermarkList": [{"PictureUrl": "http://127.0.0.1/logo.png"}],
}
NOT_SERVED_IN_CREATE = {**NOT_SERVED, "RecordTemplateId": "1", "TranscodeTemplateName": "hd"}
#: What says that none of that is wanted.
EMPTY: dict[str, Any] = {"BackupSourceType": "", "BackupSourceUrl": "", "BackupToUrl": "", "WatermarkList": []}


@pytest.mark.parametrize("name", KEPT)
def test_create_keeps_it(client: Client, name: str) -> None:
    assert described(client, created(client, **{name: KEPT[name]}))[name] == KEPT[name]


@pytest.mark.parametrize("name", KEPT)
def test_modify_changes_it(client: Client, name: str) -> None:
    task_id = created(client)
    client.call(MODIFY, TaskId=task_id, Operator="a", **{name: KEPT[name]})

    assert described(client, task_id)[name] == KEPT[name]


def test_loops_are_a_text_in_create_and_a_number_in_modify(client: Client) -> None:
    task_id = created(client, VodLoopTimes="3")
    before = described(client, task_id)["VodLoopTimes"]
    client.call(MODIFY, TaskId=task_id, Operator="a", VodLoopTimes=5)

    assert (before, described(client, task_id)["VodLoopTimes"]) == (3, 5)


def test_extra_commands_are_taken(client: Client) -> None:
    assert created(client, ExtraCmd="ignore_region,slate=last")
    code, message = client.refused("CreateLivePullStreamTask", **wish(ExtraCmd="slate=loud"))
    assert (code, "off, picture" in message) == ("InvalidParameterValue", True)


def test_modify_moves_source_destination_and_times(client: Client) -> None:
    task_id = created(client)
    change = {"SourceUrls": [OTHER], "ToUrl": "rtmp://127.0.0.1:9/live/x", "StartTime": at(hours=1)}
    client.call(MODIFY, TaskId=task_id, Operator="a", EndTime=at(hours=3), **change)
    info = described(client, task_id)

    assert (info["SourceUrls"], info["StartTime"]) == ([OTHER], change["StartTime"])
    assert (info["DomainName"], info["AppName"], info["StreamName"]) == ("", "", "")


@pytest.mark.parametrize("name", NOT_SERVED_IN_CREATE)
def test_create_refuses_what_is_not_served(client: Client, name: str) -> None:
    code, message = client.refused("CreateLivePullStreamTask", **wish(**{name: NOT_SERVED_IN_CREATE[name]}))

    assert (code, message.endswith("not served yet.")) == ("UnsupportedOperation", True)


@pytest.mark.parametrize("name", NOT_SERVED)
def test_modify_refuses_what_is_not_served(client: Client, name: str) -> None:
    task_id = created(client)
    before = described(client, task_id)
    change = {name: NOT_SERVED[name]}

    assert client.refused(MODIFY, TaskId=task_id, Operator="a", **change)[0] == "UnsupportedOperation"
    assert described(client, task_id) == before


def test_empty_means_that_it_is_not_wanted(client: Client) -> None:
    task_id = created(client, **EMPTY, RecordTemplateId="", TranscodeTemplateName="")
    client.call(MODIFY, TaskId=task_id, Operator="a", **EMPTY, BackupVodUrl="")
    info = described(client, task_id)

    assert {name: info[name] for name in EMPTY} == EMPTY


def test_a_backup_source_is_given_changed_and_taken_away(client: Client) -> None:
    backup = {"BackupSourceType": "PullLivePushLive", "BackupSourceUrl": "rtmp://127.0.0.1/live/backup?key=secret"}
    task_id = created(client, **backup)

    def shown() -> dict[str, Any]:
        info = described(client, task_id)
        return {name: info[name] for name in backup}

    assert shown() == backup
    for bad in ("not a url", "rtmp://10.0.0.1/live/x", "ftp://127.0.0.1/x"):
        code, _ = client.refused(MODIFY, TaskId=task_id, Operator="a", BackupSourceUrl=bad)
        assert (bad, code) == (bad, "InvalidParameter.InvalidSourceUrl")
    assert client.refused(MODIFY, TaskId=task_id, Operator="a", BackupSourceUrl="")[0] == "InvalidParameterValue"
    client.call(MODIFY, TaskId=task_id, Operator="a", Comment="absent is not empty")
    assert shown() == backup
    client.call(MODIFY, TaskId=task_id, Operator="a", BackupSourceUrl=OTHER)
    assert shown() == {**backup, "BackupSourceUrl": OTHER}
    client.call(MODIFY, TaskId=task_id, Operator="a", BackupSourceType="")
    assert shown() == {"BackupSourceType": "", "BackupSourceUrl": ""}
    client.call(MODIFY, TaskId=task_id, Operator="a", **backup)
    assert shown() == backup
    client.call(MODIFY, TaskId=task_id, Operator="a", BackupVodUrl="")
    assert shown() == backup


def test_a_file_stands_in_by_either_name(client: Client) -> None:
    url = "http://127.0.0.1/slate.mp4?key=secret"
    backup = {"BackupSourceType": "PullVodPushLive", "BackupSourceUrl": url}
    first, second = created(client, **backup), created(client)
    both = {"BackupVodUrl": url, "BackupSourceUrl": "rtmp://127.0.0.1/live/backup"}
    assert client.refused(MODIFY, TaskId=second, Operator="a", **both)[0] == "InvalidParameterValue"
    refused = client.refused(MODIFY, TaskId=second, Operator="a", BackupVodUrl="http://10.0.0.1/slate.mp4")
    assert refused[0] == "InvalidParameter.InvalidSourceUrl"
    client.call(MODIFY, TaskId=second, Operator="a", BackupVodUrl=url)
    for task_id in (first, second):
        info = described(client, task_id)
        assert {name: info[name] for name in backup} == backup
    client.call(MODIFY, TaskId=second, Operator="a", BackupVodUrl="")
    assert described(client, second)["BackupSourceUrl"] == ""


def test_a_second_destination_is_changed_and_cleared(client: Client) -> None:
    task_id = created(client, BackupToUrl=OTHER)
    first = f"rtmp://{wish()['DomainName']}/{wish()['AppName']}/{wish()['StreamName']}"
    for bad in ("not a url", "rtmp://10.0.0.1/live/x", first):
        code, _ = client.refused(MODIFY, TaskId=task_id, Operator="a", BackupToUrl=bad)
        assert (bad, code) == (bad, "InvalidParameter.InvalidBackupToUrl")
        assert described(client, task_id)["BackupToUrl"] == OTHER
    client.call(MODIFY, TaskId=task_id, Operator="a", BackupToUrl="")

    assert described(client, task_id)["BackupToUrl"] == ""


def test_a_task_is_never_its_own_source(client: Client) -> None:
    """Whichever key is in its URL."""
    to = wish()
    stream = f"rtmp://{to['DomainName']}:1935/{to['AppName']}/{to['StreamName']}"
    code, message = client.refused("CreateLivePullStreamTask", **wish(SourceUrls=[stream]))
    assert (code, "pulls from" in message) == ("InvalidParameter.InvalidToUrl", True)
    task_id = created(client)
    code, _ = client.refused(MODIFY, TaskId=task_id, Operator="a", SourceUrls=[f"{stream}?key=1"])
    assert code == "InvalidParameter.InvalidToUrl"


def test_a_task_that_has_ended_runs_again_with_a_later_end_alone(client: Client, endpoint: Endpoint) -> None:
    task_id = created(client, EndTime=at(minutes=2))
    endpoint.ahead_ms = 150_000
    try:
        asyncio.run(endpoint.store.write(lambda tx: tx.sweep(endpoint.now(), dead=())))
        code, _ = client.refused(MODIFY, TaskId=task_id, Operator="a", Status="enable")
        client.call(MODIFY, TaskId=task_id, Operator="a", Status="enable", EndTime=at(hours=1))
    finally:
        endpoint.ahead_ms = 0

    assert code == "FailedOperation.ConflictAction"
    assert described(client, task_id)["Status"] == "enable"
