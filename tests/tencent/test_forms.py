"""Every form of a call: signed by the independent signer, it is verified and says the same thing."""

from collections.abc import Callable, Mapping
from typing import Annotated, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Meta

from penstock.api.http import Head
from penstock.api.schema import Part, Request
from penstock.api.tencent import forms
from penstock.api.tencent.calls import Call, call_of
from penstock.api.tencent.codes import ApiError
from penstock.tasks.accounts import NewAccount
from tests.endpoint import Endpoint
from tests.tencent import signing
from tests.tencent.client import Client
from tests.tencent.heads import HOST, NOW_S, SECRET_ID, SECRET_KEY, reader, received
from tests.tencent.test_live import described, wish

FORM = "application/x-www-form-urlencoded"


class Mark(Part, frozen=True, kw_only=True):
    picture_url: str
    x_position: int = 0


class Sample(Request, frozen=True, kw_only=True):
    task_id: str
    page_size: Annotated[int, Meta(ge=1, le=20)] = 10
    enabled: bool = False
    source_urls: tuple[str, ...] = ()
    mark_list: tuple[Mark, ...] = ()


TEXTS = st.text(max_size=20)
SAMPLES: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {"TaskId": TEXTS},
    optional={
        "PageSize": st.integers(1, 20),
        "SourceUrls": st.lists(TEXTS, min_size=1, max_size=12),
        "MarkList": st.lists(
            st.fixed_dictionaries({"PictureUrl": TEXTS}, optional={"XPosition": st.integers(-9, 9)}),
            min_size=1,
            max_size=3,
        ),
    },
)


def tc3(method: str, kind: str, *, body: bytes = b"", query: str = "", unsigned: bool = False) -> tuple[Head, bytes]:
    headers = {"Content-Type": kind, "Host": HOST, "X-TC-Action": "X", "X-TC-Timestamp": str(NOW_S)}
    if unsigned:
        headers["X-TC-Content-SHA256"] = "UNSIGNED-PAYLOAD"
    headers["Authorization"] = signing.tc3(
        secret_id=SECRET_ID,
        secret_key=SECRET_KEY,
        host=HOST,
        timestamp=NOW_S,
        method=method,
        body=body,
        query=query,
        headers=headers,
    )
    return received(method, query, headers), body


def v1(method: str, hashed: str, parameters: Mapping[str, Any]) -> tuple[Head, bytes]:
    given = signing.flattened(parameters) | {
        "Action": "X",
        "Nonce": "9223372036854775807",
        "SecretId": SECRET_ID,
        "SignatureMethod": hashed,
        "Timestamp": str(NOW_S),
    }
    given["Signature"] = signing.v1(secret_key=SECRET_KEY, method=method, host=HOST, parameters=given, hashed=hashed)
    text = signing.encoded(given)
    query, body = (text, b"") if method == "GET" else ("", text.encode())
    return received(method, query, {"Host": HOST, "Content-Type": FORM}), body


def boundary_of(parameters: Mapping[str, Any]) -> str:
    """One that stands in no value."""
    text, boundary = repr(parameters), "b0undary"
    while boundary in text:
        boundary += "x"
    return boundary


def multipart(parameters: Mapping[str, Any], **options: Any) -> tuple[Head, bytes]:
    boundary = boundary_of(parameters)
    body = signing.multipart(parameters, boundary)
    return tc3("POST", f"multipart/form-data; boundary={boundary}", body=body, **options)


FORMS: dict[str, Callable[[Mapping[str, Any]], tuple[Head, bytes]]] = {
    "v3 JSON": lambda given: tc3("POST", "application/json", body=signing.as_json(given)),
    "v3 JSON, unsigned": lambda given: tc3("POST", "application/json", body=signing.as_json(given), unsigned=True),
    "v3 multipart": multipart,
    "v3 multipart, unsigned": lambda given: multipart(given, unsigned=True),
    "v3 multipart, flattened": lambda given: multipart(signing.flattened(given)),
    "v3 GET": lambda given: tc3("GET", FORM, query=signing.encoded(signing.flattened(given))),
    "v1 SHA1 GET": lambda given: v1("GET", "HmacSHA1", given),
    "v1 SHA1 POST": lambda given: v1("POST", "HmacSHA1", given),
    "v1 SHA256 GET": lambda given: v1("GET", "HmacSHA256", given),
    "v1 SHA256 POST": lambda given: v1("POST", "HmacSHA256", given),
}


async def verified(head: Head, body: bytes) -> Call:
    call = await call_of(head, reader(body))
    assert call.secret_id() == SECRET_ID
    await call.arrive()
    call.verify(service="live", secret_key=SECRET_KEY)
    return call


@pytest.mark.parametrize("form", FORMS)
@settings(max_examples=50)
@given(given=SAMPLES)
async def test_every_form_is_verified_and_says_the_same(form: str, given: dict[str, Any]) -> None:
    call = await verified(*FORMS[form](given))
    plain = await verified(*FORMS["v3 JSON"](given))

    assert call.parameters(Sample) == plain.parameters(Sample)


@pytest.mark.parametrize("form", [form for form in FORMS if "unsigned" not in form])
@settings(max_examples=50)
@given(given=SAMPLES, at=st.integers(0), flip=st.integers(1, 255))
async def test_no_form_survives_one_altered_byte(form: str, given: dict[str, Any], at: int, flip: int) -> None:
    """A query and a form may be altered into nothing that can be read; nothing altered is ever verified as it was."""
    head, body = FORMS[form](given)
    plain = await verified(head, body)
    if body:
        body = altered(body, at, flip)
    else:
        head = received("GET", altered(head.query.encode(), at, flip).decode("latin-1"), head.headers)
    try:
        call = await verified(head, body)
    except (ApiError, AssertionError):
        return
    # Only another writing of the same parameters may pass: + and %20, or %4A and %4a.
    assert call.parameters(Sample) == plain.parameters(Sample)


def altered(text: bytes, at: int, flip: int) -> bytes:
    other = bytearray(text)
    other[at % len(other)] ^= flip
    return bytes(other)


async def test_multipart_without_parameters_has_no_body() -> None:
    call = await verified(*multipart({}))
    with pytest.raises(ApiError, match="missing a required parameter `TaskId`"):
        call.parameters(Sample)


HEAD = b'--B\r\nContent-Disposition: form-data; name="TaskId"\r\n\r\n'


@pytest.mark.parametrize(
    "body",
    [
        b'--B\r\nContent-Disposition: form-data; name="TaskId"; filename="TaskId"\r\n\r\n1\r\n--B--\r\n',
        b'--B\r\ncontent-disposition:form-data;name="TaskId"\r\nContent-Type: text/plain\r\n\r\n1\r\n--B--',
        b"a preamble\r\n" + HEAD + b"1\r\n--B--\r\nand an epilogue",
        HEAD.replace(b"\r\n", b"\r\nContent-Type: text/plain\r\n", 1) + b"1\r\n--B--\r\n",
    ],
    ids=["a file", "any letter case", "text around", "another order"],
)
def test_parts_may_be_written_in_many_ways(body: bytes) -> None:
    assert dict(forms.fields_of(body, 'multipart/form-data; charset=utf-8; boundary="B"')) == {"TaskId": "1"}


AS_JSON = HEAD.replace(b"\r\n\r\n", b"\r\nContent-Type: application/json\r\n\r\n")
#: What cannot be read -> the body, and what is said.
BROKEN: dict[str, tuple[bytes, str]] = {
    "no end": (HEAD + b"1\r\n", "it does not end with its boundary"),
    "half an end": (HEAD + b"1\r\n--B", "it does not end with its boundary"),
    "a form": (b"TaskId=1", "it does not end with its boundary"),
    "another disposition": (HEAD.replace(b"form-data", b"attachment") + b"1\r\n--B--\r\n", "a part has no name"),
    "no blank line": (HEAD.replace(b"\r\n\r\n", b"\r\n") + b"1\r\n--B--\r\n", "a part has no name"),
    "a long head": (b"--B\r\n" + b"X: y\r\n" * 10_000 + HEAD[5:] + b"1\r\n--B--\r\n", "a part has no name"),
    "a value that is not UTF-8": (HEAD + b"\xff\r\n--B--\r\n", "it is not UTF-8"),
    "a name that is not UTF-8": (HEAD.replace(b"TaskId", b"\xff") + b"1\r\n--B--\r\n", "it is not UTF-8"),
    "many parts": (b"\r\n".join([HEAD + b"1"] * 10_002) + b"\r\n--B--\r\n", "or has too many parts"),
    "a field that is not JSON": (AS_JSON + b"{\r\n--B--\r\n", "a field is not JSON"),
    "a deep field": (AS_JSON + b"[" * 100_000 + b"\r\n--B--\r\n", "it is nested too deeply"),
}


@pytest.mark.parametrize("fault", BROKEN)
def test_a_multipart_body_that_cannot_be_read_is_refused(fault: str) -> None:
    body, why = BROKEN[fault]
    with pytest.raises(ApiError, match=f"The request body is not valid: .*{why}"):
        list(forms.fields_of(body, "multipart/form-data; boundary=B"))


@pytest.mark.parametrize(
    "kind", ["multipart/form-data", "multipart/form-data; boundary=", f"multipart/form-data; boundary={'b' * 71}"]
)
def test_a_multipart_body_needs_a_boundary(kind: str) -> None:
    with pytest.raises(ApiError, match="its content type names no boundary"):
        list(forms.fields_of(HEAD, kind))


@given(st.binary(max_size=300) | st.lists(st.sampled_from([HEAD, b"--B", b"--", b"\r\n", b"1"])).map(b"".join))
def test_any_multipart_body_is_read_or_refused(body: bytes) -> None:
    try:
        read = list(forms.fields_of(body, "multipart/form-data; boundary=B"))
    except ApiError:
        return
    assert all((type(name), type(value)) == (str, str) for name, value in read)


def test_a_parameter_given_twice_is_refused() -> None:
    with pytest.raises(ApiError, match="The value type of parameter `A`"):
        forms.unflattened([("A", [1]), ("A", "2")])
    with pytest.raises(ApiError, match=r"The value type of parameter `A\.0`"):
        forms.unflattened([("A", [1]), ("A.0", "2")])


def test_the_sdk_may_send_its_parameters_as_multipart(endpoint: Endpoint, account: NewAccount) -> None:
    client = Client(endpoint, account)
    asked = wish(CallbackEvents=["TaskStart", "TaskExit"], Comment="a & b = 直播")
    task_id = client.call_multipart("CreateLivePullStreamTask", **asked)["TaskId"]
    info = described(client, task_id)

    assert (info["SourceUrls"], info["Comment"]) == (asked["SourceUrls"], asked["Comment"])
    assert info["CallbackEvents"] == ["TaskStart", "TaskExit"]
    page = client.call_multipart("DescribeLivePullStreamTasks", PageSize="5", PageNum="1")
    assert (page["PageSize"], page["TotalNum"]) == (5, 1)
    assert client.call_multipart("DescribeLivePullStreamTasks")["PageSize"] == 10
