"""Signatures: what an independent signer made is accepted, and nothing that was altered since."""

import string
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.api.http import Head
from penstock.api.tencent import signature
from penstock.api.tencent.calls import call_of
from penstock.api.tencent.codes import ApiError
from tests.tencent import signing
from tests.tencent.heads import HOST, NOW_S, SECRET_ID, SECRET_KEY, post, reader, received

BODIES = st.binary(max_size=200)
VALUES = st.text(string.ascii_letters + string.digits + " ;/=-", max_size=30)
PARAMETERS = st.dictionaries(st.text(string.ascii_letters, min_size=1, max_size=8), st.text(max_size=20), max_size=5)


async def verify(head: Head, body: bytes = b"", *, secret_key: str = SECRET_KEY) -> None:
    call = await call_of(head, reader(body))
    call.secret_id()
    await call.arrive()
    call.verify(service="live", secret_key=secret_key)


async def code_of(head: Head, body: bytes = b"", *, secret_key: str = SECRET_KEY) -> str:
    """The code that a request is refused with; empty: none."""
    try:
        await verify(head, body, secret_key=secret_key)
    except ApiError as error:
        return error.code
    return ""


def altered(head: Head, **headers: str) -> Head:
    changed = {name.replace("_", "-"): value for name, value in headers.items()}
    return Head(method=head.method, query=head.query, headers={**head.headers, **changed})


def test_the_samples_of_the_vendors_pages_come_out() -> None:
    """Both signers agree with the vendor: the pages for v3 and v1 show these results."""
    body = rb'{"Limit": 1, "Filters": [{"Values": ["\u672a\u547d\u540d"], "Name": "instance-name"}]}'
    v3 = signing.tc3(
        secret_id=SECRET_ID,
        secret_key=SECRET_KEY,
        host="cvm.tencentcloudapi.com",
        timestamp=1551113065,
        body=body,
        service="cvm",
        headers={"Content-Type": "application/json; charset=utf-8"},
    )
    v1 = signing.v1(
        secret_key=SECRET_KEY,
        method="GET",
        host="cvm.tencentcloudapi.com",
        parameters={
            "Action": "DescribeInstances",
            "InstanceIds.0": "ins-09dx96dg",
            "Limit": "20",
            "Nonce": "11886",
            "Offset": "0",
            "Region": "ap-guangzhou",
            "SecretId": SECRET_ID,
            "Timestamp": "1465185768",
            "Version": "2017-03-12",
        },
    )

    assert v3.endswith("72e494ea809ad7a8c8f7a4507b9bddcbaa8e581f516e8da2f66e2c5a96525168")
    assert v1 == "EliP9YW3pW28FpsEdkXt/+WcGeI="


@given(
    body=BODIES,
    extra=st.dictionaries(st.sampled_from(["x-tc-action", "x-tc-region", "x-custom", "accept"]), VALUES),
    content_type=st.sampled_from(["application/json", "application/json; charset=utf-8", "Application/JSON"]),
)
async def test_any_list_of_signed_headers_is_verified(body: bytes, extra: dict[str, str], content_type: str) -> None:
    head = post(
        "X",
        body,
        headers={"Content-Type": content_type, **extra},
        signed=sorted({"content-type", "host", *extra}),
    )

    assert await code_of(head, body) == ""


@given(body=BODIES, at=st.integers(0, 199), flip=st.integers(1, 255))
async def test_a_body_altered_in_one_byte_is_refused(body: bytes, at: int, flip: int) -> None:
    head = post("X", body)
    other = bytearray(body or b"x")
    other[at % len(other)] ^= flip

    assert await code_of(head, bytes(other)) == "AuthFailure.SignatureFailure"


@pytest.mark.parametrize(
    "header",
    [
        {"host": "127.0.0.1:9999"},
        {"content_type": "text/plain"},
        {"x_tc_action": "DeleteEverything"},
        {"x_tc_timestamp": str(NOW_S + 1)},
    ],
    ids=str,
)
async def test_an_altered_header_is_refused(header: dict[str, str]) -> None:
    """The time stands in the text that is signed, whether or not its header is in the list."""
    head = post("X", b"{}", signed=("content-type", "host", "x-tc-action"))

    assert await code_of(altered(head, **header), b"{}") == "AuthFailure.SignatureFailure"


async def test_another_accounts_key_is_refused() -> None:
    head = post("X", b"{}", secret_key="another")

    assert await code_of(head, b"{}") == "AuthFailure.SignatureFailure"


@pytest.mark.parametrize(
    ("host", "signed_host", "service"),
    [
        ("127.0.0.1:8080", "127.0.0.1:8080", "live"),
        ("127.0.0.1:8080", "127.0.0.1", "127"),
        ("localhost:8080", "localhost", "localhost"),
        ("localhost:8080", "localhost:8080", "localhost:8080"),
        ("live.example.test:9000", "live.example.test:9000", "live"),
        ("api.example.test", "api.example.test", "api"),
        ("[::1]:8080", "[::1]", "live"),
    ],
)
async def test_host_and_scope_may_be_written_as_the_clients_do(host: str, signed_host: str, service: str) -> None:
    """Python and Go sign the service, Node and Java the first label; Node leaves the port out."""
    head = altered(post("X", b"{}", host=signed_host, service=service), host=host)

    assert await code_of(head, b"{}") == ""


@pytest.mark.parametrize(
    "signer",
    [
        {"service": "cvm"},
        {"date": "2026-11-20"},
        {"signed": ("host",)},
        {"signed": ("content-type",)},
        {"signed": ("content-type", "host", "x-gone"), "headers": {"x-gone": "1"}},
    ],
    ids=str,
)
async def test_an_authorization_that_does_not_fit_its_request_is_refused(signer: dict[str, Any]) -> None:
    head = post("X", b"{}", **signer)
    headers = {name: value for name, value in head.headers.items() if name != "x-gone"}
    head = Head(method=head.method, query=head.query, headers=headers)

    assert await code_of(head, b"{}") == "AuthFailure.InvalidAuthorization"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "SKIP",
        "TC3-HMAC-SHA256",
        "TC3-HMAC-SHA256 Credential=a/b/tc3_request, SignedHeaders=host, Signature=00",
        "TC3-HMAC-SHA1 Credential=a/2026-11-21/live/tc3_request, SignedHeaders=content-type;host, Signature="
        + "0" * 64,
    ],
)
async def test_a_malformed_authorization_is_refused(text: str) -> None:
    head = altered(post("X", b"{}"), authorization=text)

    assert await code_of(head, b"{}") == "AuthFailure.InvalidAuthorization"


async def test_an_unsigned_payload_leaves_the_body_out() -> None:
    head = post("X", b"{}", headers={"X-TC-Content-SHA256": "UNSIGNED-PAYLOAD"})

    assert await code_of(head, b'{"Another": 1}') == ""


@given(parameters=PARAMETERS)
async def test_a_get_is_signed_with_its_query_as_sent(parameters: dict[str, str]) -> None:
    query = signing.encoded(parameters)
    headers = {
        "Content-Type": "application/x-www-form-urlencoded",
        "Host": HOST,
        "X-TC-Action": "X",
        "X-TC-Timestamp": str(NOW_S),
    }
    authorization = signing.tc3(
        secret_id=SECRET_ID,
        secret_key=SECRET_KEY,
        host=HOST,
        timestamp=NOW_S,
        query=query,
        method="GET",
        headers=headers,
    )
    head = received("GET", query, {**headers, "Authorization": authorization})

    assert await code_of(head) == ""
    assert await code_of(received("GET", f"{query}&a=1", head.headers)) == "AuthFailure.SignatureFailure"


@given(
    parameters=PARAMETERS,
    hashed=st.sampled_from(["HmacSHA1", "HmacSHA256"]),
    method=st.sampled_from(["GET", "POST"]),
    signed_host=st.sampled_from([HOST, HOST.partition(":")[0]]),
)
async def test_the_older_signatures_cover_every_parameter(
    parameters: dict[str, str], hashed: str, method: str, signed_host: str
) -> None:
    given = {
        **parameters,
        "Action": "X",
        "Nonce": "9223372036854775807",
        "SecretId": SECRET_ID,
        "SignatureMethod": hashed,
        "Timestamp": str(NOW_S),
    }
    given["Signature"] = signing.v1(
        secret_key=SECRET_KEY, method=method, host=signed_host, parameters=given, hashed=hashed
    )

    def sent(parameters: dict[str, str]) -> tuple[Head, bytes]:
        text = signing.encoded(parameters)
        headers = {"Host": HOST, "Content-Type": "application/x-www-form-urlencoded"}
        query, body = (text, b"") if method == "GET" else ("", text.encode())
        return received(method, query, headers), body

    assert await code_of(*sent(given)) == ""
    assert await code_of(*sent({**given, "Region": "x"})) == "AuthFailure.SignatureFailure"


@pytest.mark.parametrize(("away_s", "expired"), [(0, False), (300, False), (-300, False), (301, True), (-301, True)])
def test_a_request_counts_for_five_minutes_both_ways(away_s: int, expired: bool) -> None:
    if not expired:
        signature.check_time(NOW_S + away_s, NOW_S)
        return
    with pytest.raises(ApiError) as refused:
        signature.check_time(NOW_S + away_s, NOW_S)
    assert refused.value.code == "AuthFailure.SignatureExpire"
