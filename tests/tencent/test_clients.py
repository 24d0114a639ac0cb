"""Who may call, and in which of the SDK's forms."""

from typing import Any

import pytest

from penstock.tasks.accounts import NewAccount
from tests.endpoint import Endpoint
from tests.tencent.client import Client
from tests.tencent.test_live import created, described, wish

FORMS: dict[str, dict[str, Any]] = {
    "v3 POST": {},
    "v3 GET": {"method": "GET"},
    "v3 unsigned payload": {"unsigned_payload": True},
    "v1 SHA1 POST": {"sign_method": "HmacSHA1"},
    "v1 SHA1 GET": {"sign_method": "HmacSHA1", "method": "GET"},
    "v1 SHA256 POST": {"sign_method": "HmacSHA256"},
    "v1 SHA256 GET": {"sign_method": "HmacSHA256", "method": "GET"},
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_every_form_of_the_sdk_works(endpoint: Endpoint, account: NewAccount, form: dict[str, Any]) -> None:
    client = Client(endpoint, account, **form)
    task_id = created(client, Comment="a + b = ü & c_d%", CallbackEvents=["TaskStart", "TaskExit"])
    page = client.call("DescribeLivePullStreamTasks", PageNum=1, PageSize=20)

    [info] = page["TaskInfos"]
    assert (info["TaskId"], info["Comment"]) == (task_id, "a + b = ü & c_d%")
    assert info["CallbackEvents"] == ["TaskStart", "TaskExit"]


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_a_wrong_secret_is_refused_in_every_form(endpoint: Endpoint, account: NewAccount, form: dict[str, Any]) -> None:
    client = Client(endpoint, account, secret_key="wrong", **form)

    assert client.refused("DescribeLivePullStreamTasks") == (
        "AuthFailure.SignatureFailure",
        "The provided credentials could not be validated. Please check your signature is correct.",
    )


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_types_are_checked_in_every_form(endpoint: Endpoint, account: NewAccount, form: dict[str, Any]) -> None:
    client = Client(endpoint, account, **form)

    assert client.refused("DescribeLivePullStreamTasks", PageSize="many")[0] == "InvalidParameter"
    assert client.refused("DescribeLivePullStreamTasks", PageSize=21)[0] == "InvalidParameterValue"
    assert client.refused("DescribeLivePullStreamTasks", Foo="1")[0] == "UnknownParameter"


def test_an_unknown_key_is_refused(endpoint: Endpoint, account: NewAccount) -> None:
    stranger = NewAccount(name="", app_id=0, secret_id="AKIDunknown", secret_key=account.secret_key, sdk_apps=())

    assert Client(endpoint, stranger).refused("DescribeLivePullStreamTasks") == (
        "AuthFailure.SecretIdNotFound",
        "The SecretId is not found, please ensure that your SecretId is correct.",
    )


def test_temporary_credentials_are_refused(endpoint: Endpoint, account: NewAccount) -> None:
    for sign_method in ("TC3-HMAC-SHA256", "HmacSHA1"):
        client = Client(endpoint, account, token="temporary", sign_method=sign_method)
        assert client.refused("DescribeLivePullStreamTasks")[0] == "AuthFailure.TokenFailure"


@pytest.mark.parametrize("minutes", [-6, 6])
def test_a_clock_that_is_wrong_is_refused(client: Client, endpoint: Endpoint, minutes: int) -> None:
    endpoint.ahead_ms = minutes * 60_000
    try:
        assert client.refused("DescribeLivePullStreamTasks")[0] == "AuthFailure.SignatureExpire"
    finally:
        endpoint.ahead_ms = 0


@pytest.mark.parametrize(
    ("region", "code"), [("", "MissingParameter"), ("mars-east", "UnsupportedRegion"), ("ap-chengdu", "")]
)
def test_a_region_of_the_vendor_must_be_named(endpoint: Endpoint, account: NewAccount, region: str, code: str) -> None:
    client = Client(endpoint, account, region=region)
    if code:
        assert client.refused("CreateLivePullStreamTask", **wish())[0] == code
    else:
        assert described(client, created(client))["Region"] == region


def test_an_unknown_action_or_version_is_refused(client: Client) -> None:
    assert client.refused("DescribeLiveEverything") == (
        "InvalidAction",
        (
            "The request action=`DescribeLiveEverything` is invalid or not found in service=`live`"
            " and version=`2018-08-01`."
        ),
    )
    client.sdk._apiVersion = "2017-01-01"
    assert client.refused("DescribeLivePullStreamTasks") == (
        "NoSuchVersion",
        "The specified api version=`2017-01-01` does not exist.",
    )
