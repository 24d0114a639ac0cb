"""Tencent's clients for Node, Go and Java work as they are, in every form in which they can sign."""

from dataclasses import replace
from typing import Any

import msgspec
import pytest

from penstock.tasks.accounts import NewAccount
from tests.clients.programs import Form, calls
from tests.endpoint import Endpoint
from tests.tencent.client import Client
from tests.tencent.test_live import described

SIGNING: dict[str, dict[str, Any]] = {
    "TC3 POST": {},
    "TC3 GET": {"method": "GET"},
    "SHA1 POST": {"sign_method": "HmacSHA1"},
    "SHA1 GET": {"sign_method": "HmacSHA1", "method": "GET"},
    "SHA256 POST": {"sign_method": "HmacSHA256"},
    "SHA256 GET": {"sign_method": "HmacSHA256", "method": "GET"},
}
CLIENTS = {
    "Node": Form(language="node", extra={"EDITION": "mainland"}),
    "Node international": Form(language="node", extra={"EDITION": "international"}),
    "Go": Form(language="go"),
    "Java": Form(language="java"),
}
FORMS = {
    f"{name} {how}": replace(form, **signing) for name, form in CLIENTS.items() for how, signing in SIGNING.items()
}
#: What only some of them have.
FORMS |= {
    "Node TC3 multipart": Form(language="node", extra={"EDITION": "mainland", "MULTIPART": "yes"}),
    "Go TC3 unsigned payload": Form(language="go", extra={"UNSIGNED_PAYLOAD": "yes"}),
    "Java TC3 unsigned payload": Form(language="java", extra={"UNSIGNED_PAYLOAD": "yes"}),
}

DESCRIBE, STATUS = "DescribeLivePullStreamTasks", "DescribeLivePullStreamTaskStatus"
CREATE, MODIFY, DELETE = "CreateLivePullStreamTask", "ModifyLivePullStreamTask", "DeleteLivePullStreamTask"
RESTART = "RestartLivePullStreamTask"
#: The order in which every program makes its calls. The international client of Node has no STATUS.
CALLS = [DESCRIBE, STATUS, CREATE, RESTART, MODIFY, DESCRIBE, DELETE, DELETE]


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_every_call_of_the_client_works(endpoint: Endpoint, account: NewAccount, running: str, form: Form) -> None:
    python = Client(endpoint, account)
    lines = calls(form, endpoint, account, running)

    assert [line["action"] for line in lines if line["action"] != STATUS] == [name for name in CALLS if name != STATUS]
    assert [line.get("code", "") for line in lines[:-1]] == [""] * (len(lines) - 1)
    assert {len(line["answer"]["RequestId"]) for line in lines[:-1]} == {36}
    first, *_, create, _, _, second, _, unknown = lines
    same_task(first["answer"]["TaskInfos"], described(python, running))
    [made] = second["answer"]["TaskInfos"]
    assert made["TaskId"] == create["answer"]["TaskId"]
    assert made["SourceUrls"] == ["rtmp://127.0.0.1:1935/live/source?key=a+b"]
    assert (made["Comment"], made["CallbackEvents"]) == ("a + b = ü & c_d%", ["TaskStart", "TaskExit"])
    assert (made["VodLoopTimes"], made["Status"], made["CreateBy"], made["UpdateBy"]) == (5, "pause", "day", "night")
    assert (second["answer"]["PageSize"], second["answer"]["TotalNum"], second["answer"]["LimitTaskNum"]) == (20, 1, 20)
    assert (unknown["code"], len(unknown["request_id"])) == ("InvalidParameter.TaskNotExist", 36)
    assert unknown["message"] == "The task does not exist."
    assert python.call(DESCRIBE)["TotalNum"] == 1


def same_task(read: list[dict[str, Any]], known: dict[str, Any]) -> None:
    """Each field that the client's types know has the value that the Python client reads."""
    [info] = read
    fields = {name for name, value in info.items() if value is not None}
    assert {name: info[name] for name in fields} == {name: known[name] for name in fields}
    assert info["RecentPullInfo"] == known["RecentPullInfo"]
    assert info["RecentPullInfo"]["OffsetTime"] == 95


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_the_client_tells_that_its_secret_is_wrong(endpoint: Endpoint, account: NewAccount, form: Form) -> None:
    stranger = msgspec.structs.replace(account, secret_key="wrong")
    lines = calls(form, endpoint, stranger, "1")

    assert {(line["action"], line["code"]) for line in lines} == {
        (line["action"], "AuthFailure.SignatureFailure") for line in lines
    }
    assert {line["message"] for line in lines} == {
        "The provided credentials could not be validated. Please check your signature is correct."
    }
    assert {len(line["request_id"]) for line in lines} == {36}


@pytest.mark.parametrize("client", [name for name in CLIENTS if name != "Node international"])
def test_the_client_reads_how_a_task_runs(endpoint: Endpoint, account: NewAccount, running: str, client: str) -> None:
    [status] = [
        line["answer"]["TaskStatusInfo"]
        for line in calls(CLIENTS[client], endpoint, account, running)
        if line["action"] == STATUS
    ]

    assert status == Client(endpoint, account).call(STATUS, TaskId=running)["TaskStatusInfo"]
    assert (status["RunStatus"], status["OffsetTime"], status["FileDuration"]) == ("active", 95, 0)
