"""The vendor's own clients: both signatures, JSON and XML, a task from its making on, and what is refused."""

from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from penstock.tasks.accounts import NewAccount
from tests.aliyun.signing import DESCRIBE, SET
from tests.endpoint import Endpoint
from tests.other_python import answers

SCRIPT = Path(__file__).parent / "alibaba_calls.py"


def made(endpoint: Endpoint, account: NewAccount, *calls: dict[str, Any], **changed: str) -> list[dict[str, Any]]:
    """What the clients got for each call."""
    return answers(".venv-alibaba", SCRIPT, "ignore", endpoint, account, calls=calls, **changed)


def wish(client: str, action: str, parameters: dict[str, Any], **options: str) -> dict[str, Any]:
    return {"client": client, "action": action, "parameters": parameters, **options}


@pytest.mark.parametrize("client", ["live", "live-v1"])
def test_typed_client_sets_tasks_and_reads_them_back(
    endpoint: Endpoint, account: NewAccount, domain: str, client: str
) -> None:
    urls = [f"rtmp://{domain}/live/a?auth_key=1-0-0-ab*c d".replace(" ", "%20"), f"http://{domain}/live/b.flv"]
    given = {"DomainName": domain, "PlayUrl": ",".join(urls), "Area": "domestic"}
    tasks_set, described = made(
        endpoint,
        account,
        wish(client, SET, given),
        wish(client, DESCRIBE, {"DomainName": domain, "PageSize": 100, "PlayUrl": urls[0]}),
    )

    assert tasks_set["status"] == 200
    assert (tasks_set["Status"], tasks_set["TotalURL"], tasks_set["SuccessURL"], tasks_set["FailedURL"]) == (
        "Success",
        2,
        2,
        0,
    )
    messages = tasks_set["PreloadTasksMessages"]["PreloadTasksMessage"]
    assert [(message["PlayUrl"], message["Description"]) for message in messages] == [
        (url, "Successfully") for url in urls
    ]
    assert tasks_set["RequestId"] == tasks_set["RequestId"].upper()
    [task] = described["PreloadTasks"]["PreloadTask"]
    assert (task["TaskId"], task["PlayUrl"], task["Area"]) == (messages[0]["TaskId"], urls[0], "domestic")
    assert (described["TotalNum"], described["PageNum"], described["PageSize"], described["TotalPage"]) == (
        1,
        1,
        100,
        1,
    )
    assert (task["Status"], task["Description"], task["Process"]) == ("Success", "Successfully", "0%")


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_classic_client_calls_by_query_and_by_form(
    endpoint: Endpoint, account: NewAccount, domain: str, method: str
) -> None:
    given = {"DomainName": domain, "PlayUrl": f"rtmp://{domain}/live/a~b"}
    tasks_set, described = made(
        endpoint,
        account,
        wish("core", SET, given, method=method, form="JSON"),
        wish("core", DESCRIBE, {"DomainName": domain}, method=method, form="JSON"),
    )

    [message] = tasks_set["PreloadTasksMessages"]["PreloadTasksMessage"]
    assert [task["TaskId"] for task in described["PreloadTasks"]["PreloadTask"]] == [message["TaskId"]]


def test_classic_client_reads_xml(endpoint: Endpoint, account: NewAccount, domain: str) -> None:
    urls = [f"rtmp://{domain}/live/{name}?a=1&b=2" for name in "ab"]
    tasks_set, described, refused = made(
        endpoint,
        account,
        wish("core", SET, {"DomainName": domain, "PlayUrl": ",".join(urls)}, method="GET", form="XML"),
        wish("core", DESCRIBE, {"DomainName": domain}, method="POST", form="XML"),
        wish("core", DESCRIBE, {}, method="GET", form="XML"),
    )

    made_of = ET.fromstring(tasks_set["text"])
    assert (made_of.tag, made_of.findtext("SuccessURL")) == ("SetLiveStreamPreloadTasksResponse", "2")
    assert [one.findtext("PlayUrl") for one in made_of.findall("PreloadTasksMessages")] == urls
    listed = ET.fromstring(described["text"])
    assert {one.findtext("PlayUrl") for one in listed.findall("PreloadTasks")} == set(urls)
    error = ET.fromstring(refused["text"])
    assert (error.tag, error.findtext("Code"), refused["status"]) == ("Error", "MissingDomainName", 400)
    assert error.findtext("HostId") == endpoint.host


@pytest.mark.parametrize("client", ["live", "live-v1"])
def test_typed_client_is_refused_with_code_and_ids(endpoint: Endpoint, account: NewAccount, client: str) -> None:
    [refused] = made(endpoint, account, wish(client, DESCRIBE, {"DomainName": "nobodys.example.com"}))

    assert refused["Code"] == "InvalidDomain.NotFound"
    assert "The domain provided does not belong to you." in refused["Message"]
    assert refused["Data"]["HostId"] == endpoint.host
    assert refused["Data"]["Recommend"].startswith("https://")
    assert len(refused["Data"]["RequestId"]) == 36


def test_classic_client_is_told_that_the_secret_is_wrong(endpoint: Endpoint, account: NewAccount, domain: str) -> None:
    """It compares the string that it signed with ours, and blames the secret if these are equal."""
    calls = [
        wish("core", DESCRIBE, {"DomainName": domain, "PlayUrl": "rtmp://a/*~ ü"}, method=method, form="JSON")
        for method in ("GET", "POST")
    ]
    refused = made(endpoint, account, *calls, secret_key="wrong")

    assert [one["Code"] for one in refused] == ["InvalidAccessKeySecret"] * 2


@pytest.mark.parametrize("client", ["live", "live-v1"])
def test_temporary_credentials_are_refused(endpoint: Endpoint, account: NewAccount, client: str) -> None:
    [refused] = made(endpoint, account, wish(client, DESCRIBE, {"DomainName": "a.example.com"}), token="sts")

    assert refused["Code"] == "InvalidSecurityToken.Malformed"
