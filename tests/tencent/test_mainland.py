"""What only the mainland's SDK knows: SpecifyTaskId, DescribeLivePullStreamTaskStatus, Chinese by default."""

# ruff: noqa: RUF001 (Chinese punctuation is meant)

from pathlib import Path
from typing import Any

from penstock.tasks.accounts import NewAccount
from tests.endpoint import Endpoint
from tests.other_python import answers
from tests.tencent.test_live import SOURCE, wish

SCRIPT = Path(__file__).parent / "mainland_calls.py"


def made(endpoint: Endpoint, account: NewAccount, *calls: tuple[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """What the mainland's SDK got for each call. A field that it does not know is an error."""
    return answers(".venv-mainland", SCRIPT, "error::UserWarning", endpoint, account, calls=calls)


def test_a_task_lives_under_its_callers_id(endpoint: Endpoint, account: NewAccount) -> None:
    named = {"SpecifyTaskId": "cctv-1"}
    create, again, modify, describe, idle, delete, empty = made(
        endpoint,
        account,
        ("CreateLivePullStreamTask", wish(Comment="重要活动", **named)),
        ("CreateLivePullStreamTask", wish(**named)),
        ("ModifyLivePullStreamTask", {"Operator": "夜班", "Status": "pause", **named}),
        ("DescribeLivePullStreamTasks", named),
        ("DescribeLivePullStreamTaskStatus", {"TaskId": "cctv-1"}),
        ("DeleteLivePullStreamTask", {"Operator": "夜班", **named}),
        ("DescribeLivePullStreamTasks", {}),
    )

    assert create["TaskId"] == "cctv-1"
    assert again["Code"] == "InvalidParameter.InvalidTaskId"
    assert "Code" not in modify
    [info] = describe["TaskInfos"]
    assert (info["Comment"], info["Status"], info["UpdateBy"]) == ("重要活动", "pause", "夜班")
    assert info["SourceUrls"] == [SOURCE]
    assert idle["TaskStatusInfo"] == {
        "FileUrl": "",
        "LoopedTimes": -1,
        "OffsetTime": 0,
        "ReportTime": "",
        "RunStatus": "inactive",
        "FileDuration": 0,
        "NextFileUrl": "",
    }
    assert "Code" not in delete
    assert empty["TotalNum"] == 0


def test_a_status_is_read_while_the_task_runs(endpoint: Endpoint, account: NewAccount) -> None:
    [create] = made(endpoint, account, ("CreateLivePullStreamTask", wish()))
    endpoint.keep_fresh(endpoint.run(create["TaskId"]))
    [status] = made(endpoint, account, ("DescribeLivePullStreamTaskStatus", {"TaskId": create["TaskId"]}))

    info = status["TaskStatusInfo"]
    assert (info["RunStatus"], info["FileUrl"], info["OffsetTime"]) == ("active", SOURCE, 95)


def test_refusals_are_chinese_by_default(endpoint: Endpoint, account: NewAccount) -> None:
    missing, url = made(
        endpoint,
        account,
        ("DescribeLivePullStreamTaskStatus", {"TaskId": "1"}),
        ("CreateLivePullStreamTask", wish(SourceUrls=["not a url"])),
    )

    assert missing["Code"] == "InvalidParameter.TaskNotExist"
    assert missing["Message"].startswith("任务不存在")
    assert url["Code"] == "InvalidParameter.InvalidSourceUrl"


def test_a_wrong_secret_is_refused(endpoint: Endpoint, account: NewAccount) -> None:
    stranger = NewAccount(name="", app_id=0, secret_id=account.secret_id, secret_key="wrong", sdk_apps=())
    [refused] = made(endpoint, stranger, ("DescribeLivePullStreamTasks", {}))

    assert refused == {
        "Code": "AuthFailure.SignatureFailure",
        "Message": "请求签名验证失败，请检查您的签名计算是否正确。",
    }
