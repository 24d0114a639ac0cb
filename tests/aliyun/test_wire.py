"""What the endpoint asks of a call before it is carried out, and how it refuses: by status, code and form."""

import asyncio
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from penstock.api.aliyun import signature
from penstock.api.aliyun.codes import ApiError
from penstock.api.aliyun.nonces import Nonces
from penstock.api.limits import Rates, Turns
from penstock.errors import StoreError
from penstock.tasks.accounts import NewAccount, enable_account, rotate_key, set_service
from penstock.tasks.model import ServiceName, ServiceState
from tests.aliyun.signing import DESCRIBE, SET, Answer, Signer, domain_of, utc
from tests.endpoint import Endpoint

MINUTE = 60_000


@pytest.fixture
def caller(endpoint: Endpoint, account: NewAccount) -> Signer:
    return Signer(endpoint, account)


def both(caller: Signer, action: str = DESCRIBE, **parameters: str) -> list[Answer]:
    """The same call in every form."""
    return [
        caller.v1(action, parameters),
        caller.v1(action, parameters, method="POST"),
        caller.v3(action, parameters),
        caller.v3(action, parameters, method="GET"),
    ]


def test_every_form_is_served(caller: Signer, domain: str) -> None:
    answers = both(caller, DomainName=domain)

    assert [answer.status for answer in answers] == [200] * 4
    assert [answer.tree["PreloadTasks"] for answer in answers] == [{"PreloadTask": []}] * 4


def test_parameters_of_v3_may_stand_in_a_form(caller: Signer, domain: str) -> None:
    answer = caller.v3(body=f"DomainName={domain}".encode(), content_type="application/x-www-form-urlencoded")

    assert answer.status == 200


@pytest.mark.parametrize("value", ["a b", "a+b", "*", "~", "ü", "%2F", "=&", "京"])
def test_parameters_are_signed_decoded(caller: Signer, domain: str, value: str) -> None:
    answers = both(caller, DomainName=domain, RegionId=value)

    assert [answer.status for answer in answers] == [200] * 4


@pytest.mark.parametrize(
    ("changed", "refusal"),
    [
        ({"Signature": "d3Jvbmc="}, (400, "SignatureDoesNotMatch")),
        ({"Signature": None}, (400, "MissingParameter")),
        ({"Signature": "ü"}, (400, "SignatureDoesNotMatch")),
        ({"AccessKeyId": "LTAInobody"}, (404, "InvalidAccessKeyId.NotFound")),
        ({"AccessKeyId": None}, (400, "MissingParameter")),
        ({"SignatureNonce": None}, (400, "MissingParameter")),
        ({"SignatureNonce": "n" * 257}, (400, "InvalidParameter")),
        ({"Timestamp": None}, (400, "MissingParameter")),
        ({"Timestamp": "2026-11-20 10:00:00"}, (400, "InvalidTimeStamp.Format")),
        ({"Timestamp": "2026-11-20T10:00:00+08:00"}, (400, "InvalidTimeStamp.Format")),
        ({"Timestamp": "2026-02-30T10:00:00Z"}, (400, "InvalidTimeStamp.Format")),
        ({"Action": None}, (400, "MissingParameter")),
        ({"Action": "DropLiveStream"}, (404, "InvalidAction.NotFound")),
        ({"Version": None}, (400, "MissingParameter")),
        ({"Version": "2014-11-11"}, (400, "InvalidVersion")),
        ({"SignatureMethod": "HMAC-MD5"}, (400, "InvalidSignatureMethod")),
        ({"SignatureVersion": "2.0"}, (400, "InvalidParameter")),
        ({"SecurityToken": "sts"}, (400, "InvalidSecurityToken.Malformed")),
        ({"Format": "YAML"}, (400, "InvalidParameter.Format")),
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_what_v1_may_not_lack(
    caller: Signer, domain: str, method: str, changed: dict[str, Any], refusal: tuple[int, str]
) -> None:
    assert caller.v1(parameters={"DomainName": domain}, method=method, **changed).refusal == refusal


@pytest.mark.parametrize(
    ("changed", "refusal"),
    [
        ({"authorization": "ACS3-HMAC-SHA256 Credential=a"}, (400, "IncompleteSignature")),
        ({"authorization": "ACS3-HMAC-SM3 nonsense"}, (400, "IncompleteSignature")),
        ({"unsigned": ("x-acs-date",)}, (400, "IncompleteSignature")),
        ({"unsigned": ("x-acs-action",)}, (400, "IncompleteSignature")),
        ({"x_acs_content_sha256": "0" * 64}, (400, "SignatureDoesNotMatch")),
        ({"x_acs_date": None}, (400, "MissingParameter")),
        ({"x_acs_date": "yesterday"}, (400, "InvalidTimeStamp.Format")),
        ({"x_acs_signature_nonce": None}, (400, "MissingParameter")),
        ({"x_acs_action": "DropLiveStream"}, (404, "InvalidAction.NotFound")),
        ({"x_acs_version": "2014-11-11"}, (400, "InvalidVersion")),
        ({"x_acs_security_token": "sts"}, (400, "InvalidSecurityToken.Malformed")),
    ],
)
def test_what_v3_may_not_lack(caller: Signer, domain: str, changed: dict[str, Any], refusal: tuple[int, str]) -> None:
    assert caller.v3(parameters={"DomainName": domain}, **changed).refusal == refusal


def test_header_that_is_said_to_be_signed_must_be_there(caller: Signer) -> None:
    headers = "host;x-acs-action;x-acs-version;x-acs-date;x-acs-signature-nonce;x-acs-content-sha256;x-acs-more"
    authorization = (
        f"ACS3-HMAC-SHA256 Credential={caller.account.secret_id},SignedHeaders={headers},Signature={'0' * 64}"
    )

    assert caller.v3(authorization=authorization).refusal == (400, "IncompleteSignature")


def test_wrong_secret_is_refused_and_told_what_to_have_signed(
    endpoint: Endpoint, account: NewAccount, domain: str
) -> None:
    stranger = NewAccount(name="", app_id=0, secret_id=account.secret_id, secret_key="wrong", sdk_apps=())
    answers = both(Signer(endpoint, stranger), DomainName=domain)

    assert [answer.refusal for answer in answers] == [(400, "SignatureDoesNotMatch")] * 4
    said = [answer.tree["Message"].split(":")[1] for answer in answers]
    assert said[0].startswith("GET&%2F&AccessKeyId%3D")
    assert said[1].startswith("POST&%2F&")
    assert said[2].startswith("ACS3-HMAC-SHA256\n")


def test_disabled_and_rotated_keys_are_told_apart(endpoint: Endpoint, account: NewAccount, domain: str) -> None:
    caller = Signer(endpoint, account)
    asyncio.run(enable_account(endpoint.store, account.name, enabled=False))
    disabled = both(caller, DomainName=domain)
    asyncio.run(enable_account(endpoint.store, account.name, enabled=True))
    assert caller.v1(parameters={"DomainName": domain}).status == 200
    asyncio.run(rotate_key(endpoint.store, account.name))

    assert [answer.refusal for answer in disabled] == [(400, "InvalidAccessKeyId.Inactive")] * 4
    assert caller.v3().refusal == (404, "InvalidAccessKeyId.NotFound")


@pytest.mark.parametrize("off", [-16 * MINUTE, 16 * MINUTE])
def test_clock_that_is_wrong_is_refused(endpoint: Endpoint, caller: Signer, domain: str, off: int) -> None:
    given = {"DomainName": domain}
    right, wrong = (utc(endpoint.now() + ahead) for ahead in (off * 14 // 16, off))

    assert caller.v1(parameters=given, Timestamp=right).status == 200
    assert caller.v1(parameters=given, Timestamp=wrong).refusal == (400, "InvalidTimeStamp.Expired")
    assert caller.v3(parameters=given, x_acs_date=right).status == 200
    assert caller.v3(parameters=given, x_acs_date=wrong).refusal == (400, "InvalidTimeStamp.Expired")


@contextmanager
def remembering(folder: Path, now: int = 0) -> Iterator[Nonces]:
    """Nonces that are kept there."""
    nonces = Nonces(folder / "nonces", now)
    yield nonces
    nonces.close()


class TestNonces:
    """A call that is sent again is refused, for as long as its time would let it in."""

    def test_nonce_is_used_once(self, caller: Signer, domain: str) -> None:
        given = {"DomainName": domain}
        assert caller.v1(parameters=given, SignatureNonce="once").status == 200

        assert caller.v1(parameters=given, SignatureNonce="once").refusal == (400, "SignatureNonceUsed")
        assert caller.v3(parameters=given, x_acs_signature_nonce="once").refusal == (400, "SignatureNonceUsed")

    def test_nonce_of_another_key_or_of_a_forged_call_is_free(
        self, endpoint: Endpoint, caller: Signer, domain: str
    ) -> None:
        other = Signer(endpoint, endpoint.account())
        assert other.v1(SignatureNonce="shared", parameters={"DomainName": "a"}).refusal[1] == "InvalidDomain.NotFound"
        assert caller.v1(SignatureNonce="shared", Signature="forged").refusal[1] == "SignatureDoesNotMatch"

        assert caller.v1(parameters={"DomainName": domain}, SignatureNonce="shared").status == 200

    def test_nonces_are_forgotten_when_their_time_is_over(self, tmp_path: Path) -> None:
        with remembering(tmp_path) as nonces:
            nonces.use("key", "a", 0)
            with pytest.raises(ApiError):
                nonces.use("key", "a", 2 * signature.WINDOW - 1)
            nonces.use("key", "b", 2 * signature.WINDOW)

            nonces.use("key", "a", 2 * signature.WINDOW)

    def test_nonces_are_remembered_over_a_restart_as_long_as_they_must(self, tmp_path: Path) -> None:
        with remembering(tmp_path) as nonces:
            nonces.use("key", "a", 0)
            nonces.use("key", "b", 1000)
        with remembering(tmp_path, now=2 * signature.WINDOW) as nonces:
            with pytest.raises(ApiError):
                nonces.use("key", "b", 2 * signature.WINDOW)
            nonces.use("other", "b", 2 * signature.WINDOW)
            nonces.use("key", "a", 2 * signature.WINDOW)

    def test_call_that_was_cut_off_spoils_none_before_it(self, tmp_path: Path) -> None:
        with remembering(tmp_path) as nonces:
            nonces.use("key", "a", 0)
        with (tmp_path / "nonces").open("ab") as file:
            file.write(b"\0" * 7)
        for nonce in "bc":
            with remembering(tmp_path) as nonces:
                nonces.use("key", nonce, 0)
        with remembering(tmp_path) as nonces:
            for nonce in "abc":
                with pytest.raises(ApiError):
                    nonces.use("key", nonce, 0)

    def test_memory_and_file_are_bounded(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(Nonces, "MOST", 3)
        with remembering(tmp_path) as nonces:
            for nonce in range(20_000):
                nonces.use("key", str(nonce), 0)

            nonces.use("key", "0", 0)
            with pytest.raises(ApiError):
                nonces.use("key", "19999", 0)
        assert (tmp_path / "nonces").stat().st_size < 200_000

    def test_full_disk_refuses_no_call_and_spoils_nothing(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with remembering(tmp_path) as nonces:
            nonces.use("key", "a", 0)
            write = os.write
            monkeypatch.setattr(os, "write", lambda descriptor, data: write(descriptor, data[:5]))
            for nonce in "bc":
                nonces.use("key", nonce, 0)
                with pytest.raises(ApiError):
                    nonces.use("key", nonce, 0)
            monkeypatch.undo()
        with remembering(tmp_path) as nonces:
            nonces.use("key", "b", 0)
            with pytest.raises(ApiError):
                nonces.use("key", "a", 0)


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH"])
def test_other_methods_are_refused(caller: Signer, method: str) -> None:
    assert caller.v3(method=method).refusal == (400, "UnsupportedHTTPMethod")
    assert caller.v1(method=method).refusal == (400, "UnsupportedHTTPMethod")


def test_form_that_is_too_long_or_none_is_refused(caller: Signer) -> None:
    kind = {"Content-Type": "application/x-www-form-urlencoded", "x-acs-action": DESCRIBE}

    assert caller.send("POST", "/", kind, b"Format=JSON&" + b"a" * 2**20).status == 413
    assert caller.send("POST", "/?Format=JSON", kind, b"\xff=&&").refusal == (400, "InvalidParameter")


@pytest.mark.parametrize(
    ("state", "refusal"),
    [
        (ServiceState.INACTIVE, (403, "OperationDenied")),
        (ServiceState.ARREARS, (400, "InsufficientBalance")),
        (ServiceState.FROZEN, (403, "OperationDenied.Frozen")),
        (ServiceState.BLOCKED, (403, "OperationDenied.Blocked")),
        (ServiceState.DISABLED, (403, "OperationDenied.Disabled")),
    ],
)
def test_service_that_is_not_active_is_refused(
    endpoint: Endpoint, caller: Signer, domain: str, state: ServiceState, refusal: tuple[int, str]
) -> None:
    def put(state: ServiceState) -> None:
        account = caller.account.name
        asyncio.run(set_service(endpoint.store, account, ServiceName.PRELOAD, state, now=endpoint.now(), by="test"))

    put(state)
    assert [answer.refusal for answer in both(caller, DomainName=domain)] == [refusal] * 4
    put(ServiceState.ACTIVE)
    assert caller.v1(parameters={"DomainName": domain}).status == 200


class TestLimits:
    """Ten Describes a second for each account."""

    @pytest.fixture(autouse=True)
    def rates(self, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(endpoint.door, "_rates", Rates(1, now=lambda: 1000.0))

    @pytest.mark.parametrize(("action", "limit"), [(DESCRIBE, 10), (SET, 50)])
    def test_each_action_may_be_called_as_often_as_documented(
        self, endpoint: Endpoint, caller: Signer, domain: str, action: str, limit: int
    ) -> None:
        given = {"DomainName": domain, "PlayUrl": "nonsense"}
        assert [caller.v1(action, given).status for _ in range(limit)] == [200] * limit

        assert caller.v3(action, given).refusal == (400, "Throttling.User")
        other = Signer(endpoint, endpoint.account())
        assert other.v1(action, given).refusal == (404, "InvalidDomain.NotFound")

    def test_too_many_that_wait_are_refused(
        self, endpoint: Endpoint, caller: Signer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(endpoint.door, "_turns", Turns(at_once=0, waiting=0))

        assert caller.v1().refusal == (400, "Throttling.User")


@pytest.mark.parametrize(
    ("error", "refusal"),
    [
        (StoreError("secret detail"), (503, "ServiceUnavailable")),
        (RuntimeError("secret detail"), (500, "InternalError")),
    ],
)
def test_fault_of_ours_is_told_by_its_request_id_alone(
    endpoint: Endpoint,
    caller: Signer,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    refusal: tuple[int, str],
) -> None:
    async def read(_: object) -> None:
        raise error

    monkeypatch.setattr(endpoint.store, "read", read)
    answer = caller.v1()

    assert answer.refusal == refusal
    assert b"detail" not in answer.body


class TestEnvelope:
    """JSON and XML, for answers and errors."""

    @pytest.mark.parametrize(
        ("given", "accept", "kind"),
        [
            ("JSON", "", "application/json"),
            ("json", "application/xml", "application/json"),
            ("xml", "application/json", "text/xml"),
            (None, "application/json", "application/json"),
            (None, "text/xml", "text/xml"),
            (None, "*/*", "text/xml"),
        ],
    )
    @pytest.mark.parametrize("method", ["GET", "POST"])
    def test_format_or_accept_decide(
        self, caller: Signer, domain: str, method: str, given: str | None, accept: str, kind: str
    ) -> None:
        for parameters in ({"DomainName": domain}, {}):
            answer = caller.v1(DESCRIBE, parameters, method=method, headers={"Accept": accept}, Format=given)
            assert answer.kind.startswith(kind)

    def test_v3_is_answered_json_unless_it_asks(self, caller: Signer, domain: str) -> None:
        given = {"DomainName": domain}

        assert caller.v3(DESCRIBE, given).kind.startswith("application/json")
        assert caller.v3(DESCRIBE, given, accept="application/xml").kind.startswith("text/xml")

    def test_error_says_who_where_and_what_next(self, endpoint: Endpoint, caller: Signer) -> None:
        tree = caller.v1(SET).tree

        assert tree.pop("RequestId").isupper()
        assert tree == {
            "HostId": endpoint.host,
            "Code": "MissingDomainName",
            "Message": "DomainName is mandatory for this action.",
            "Recommend": "https://api.aliyun.com/troubleshoot?q=MissingDomainName&product=live",
        }
        error = ET.fromstring(caller.v1(SET, Format="XML").body)
        assert [(one.tag, one.text) for one in error][1:] == list(tree.items())

    def test_what_xml_cannot_hold_is_replaced(self, caller: Signer, domain: str) -> None:
        answer = caller.v1(SET, {"DomainName": domain, "PlayUrl": "a\x00<&>\x1b]]>"}, Format="XML")

        [message] = ET.fromstring(answer.body).findall("PreloadTasksMessages")
        assert message.findtext("PlayUrl") == "a\ufffd<&>\ufffd]]>"

    def test_setting_makes_lists_flat(self, tmp_path: Path) -> None:
        endpoint = Endpoint(tmp_path, nested=False)
        try:
            account = endpoint.account()
            caller = Signer(endpoint, account)
            name = domain_of(endpoint, account)
            caller.v1(SET, {"DomainName": name, "PlayUrl": f"rtmp://{name}/a/b"})
            tree = caller.v1(DESCRIBE, {"DomainName": name}).tree
            assert [task["PlayUrl"] for task in tree["PreloadTasks"]] == [f"rtmp://{name}/a/b"]
        finally:
            endpoint.close()


def test_tencent_is_still_answered_as_tencent(endpoint: Endpoint, account: NewAccount) -> None:
    """What is nobody's in particular, and forms that are signed the other vendor's way."""
    caller = Signer(endpoint, account)
    kind = {"Content-Type": "application/x-www-form-urlencoded"}
    form = b"Action=DescribeLivePullStreamTasks&Version=2018-08-01&SecretId=x"

    for body in (b"", form):
        answer = json.loads(caller.send("POST", "/", kind, body).body)
        assert "Code" in answer["Response"]["Error"]
    assert caller.send("GET", "/", {}).status == 404
