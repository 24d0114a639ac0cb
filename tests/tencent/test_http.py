"""The HTTP port: what it answers besides good calls, and what it survives."""

import asyncio
import json
import re
import socket
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from structlog.testing import capture_logs

from penstock.api import server
from penstock.api.http import BodyLost, Head
from penstock.errors import StoreError
from penstock.tasks.accounts import NewAccount
from tests.endpoint import Endpoint
from tests.patience import PATIENCE
from tests.tencent import heads
from tests.tencent.client import Client
from tests.tencent.test_live import created

UUID = r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"


@pytest.fixture
def http(endpoint: Endpoint) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=f"http://{endpoint.host}", trust_env=False, timeout=PATIENCE) as client:
        yield client


def signed(endpoint: Endpoint, account: NewAccount, body: bytes, **changes: Any) -> dict[str, str]:
    """The headers of a good DescribeLivePullStreamTasks with this body."""
    head = heads.post(
        "DescribeLivePullStreamTasks",
        body,
        secret_id=account.secret_id,
        secret_key=account.secret_key,
        timestamp=endpoint.now() // 1000,
        host=endpoint.host,
        **changes,
    )
    return dict(head.headers)


def error_of(response: httpx.Response) -> str:
    """The code of a refusal, which has the vendor's form."""
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/json"
    answer = response.json()["Response"]
    assert set(answer) == {"Error", "RequestId"}
    assert set(answer["Error"]) == {"Code", "Message"}
    assert re.fullmatch(UUID, answer["RequestId"])
    code: str = answer["Error"]["Code"]
    return code


def test_health_is_told_apart_from_readiness(http: httpx.Client, endpoint: Endpoint) -> None:
    endpoint.ready = False
    not_ready, alive = http.get("/readyz"), http.get("/healthz")
    endpoint.ready = True

    assert (not_ready.status_code, not_ready.text) == (503, "not ready: a test says so\n")
    assert (alive.status_code, http.get("/readyz").status_code) == (200, 200)


@pytest.mark.parametrize("path", ["/", "/?page=1", "/nowhere", "/healthz/x"])
def test_a_browser_that_looks_around_finds_nothing(http: httpx.Client, path: str) -> None:
    assert http.get(path).status_code == 404


@pytest.mark.parametrize(
    ("method", "query", "headers", "code"),
    [
        ("POST", "", {}, "MissingParameter"),
        ("PUT", "", {"X-TC-Action": "X"}, "UnsupportedProtocol"),
        ("POST", "", {"X-TC-Action": "X"}, "MissingParameter"),
        ("GET", "?Action=X", {}, "MissingParameter"),
        ("GET", "?Action=X&Version=2018-08-01", {}, "InvalidAction"),
        ("GET", "?Action=DescribeLivePullStreamTasks&Version=2018-08-01", {}, "MissingParameter"),
        ("GET", "?Action=X&Version", {}, "InvalidParameter"),
        ("GET", "?Action=" + "X" * 33_000, {}, "RequestSizeLimitExceeded"),
        ("POST", "", {"Authorization": "TC3-HMAC-SHA256 x"}, "MissingParameter"),
    ],
)
def test_what_makes_no_call_is_refused_in_the_vendors_form(
    http: httpx.Client, method: str, query: str, headers: dict[str, str], code: str
) -> None:
    assert error_of(http.request(method, f"/{query}", headers=headers)) == code


@pytest.mark.parametrize(
    "authorization", ["SKIP", "TC3-HMAC-SHA256 x", "Bearer x", ""], ids=["SKIP", "half", "another", "none"]
)
def test_what_is_not_authorized_as_prescribed_is_refused(
    http: httpx.Client, endpoint: Endpoint, account: NewAccount, authorization: str
) -> None:
    headers = {**signed(endpoint, account, b"{}"), "authorization": authorization}

    assert error_of(http.post("/", content=b"{}", headers=headers)) == "AuthFailure.InvalidAuthorization"


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "InvalidParameter"),
        (b"[]", "InvalidParameter"),
        (b"[" * 100_000, "InvalidParameter"),
        (b'{"PageNum": NaN}', "InvalidParameter"),
        (b'{"PageNum": ' + b"9" * 400 + b"}", "InvalidParameterValue"),
        (b'{"TaskId": "\xff\xfe"}', "InvalidParameter"),
        (b'{"TaskId": "1"', "InvalidParameter"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_a_signed_body_may_hold_anything(
    http: httpx.Client, endpoint: Endpoint, account: NewAccount, body: bytes, code: str
) -> None:
    assert error_of(http.post("/", content=body, headers=signed(endpoint, account, body))) == code


def test_a_content_type_other_than_json_is_refused(http: httpx.Client, endpoint: Endpoint, account: NewAccount) -> None:
    headers = signed(endpoint, account, b"a=1", headers={"Content-Type": "text/plain"})

    assert error_of(http.post("/", content=b"a=1", headers=headers)) == "UnsupportedProtocol"


@pytest.mark.parametrize("announced", [True, False], ids=["with length", "chunked"])
def test_a_body_over_10_mb_is_refused_and_the_connection_stays(
    http: httpx.Client, endpoint: Endpoint, account: NewAccount, announced: bool
) -> None:
    body = b" " * (10 * 1024 * 1024 + 1)
    headers = signed(endpoint, account, body)
    content = body if announced else (body[start : start + 65536] for start in range(0, len(body), 65536))

    assert error_of(http.post("/", content=content, headers=headers)) == "RequestSizeLimitExceeded"
    after = http.post("/", content=b"{}", headers=signed(endpoint, account, b"{}"))
    assert after.json()["Response"]["TotalNum"] == 0


def test_a_form_over_1_mb_is_refused(http: httpx.Client) -> None:
    form = {"Action": "X", "Comment": "x" * 1024 * 1024}

    assert error_of(http.post("/", data=form)) == "RequestSizeLimitExceeded"


def test_a_body_of_10_mb_is_read(http: httpx.Client, endpoint: Endpoint, account: NewAccount) -> None:
    body = b"{" + b" " * (10 * 1024 * 1024 - 2) + b"}"
    response = http.post("/", content=body, headers=signed(endpoint, account, body))

    assert response.json()["Response"]["TotalNum"] == 0


def test_names_of_headers_come_in_any_case(http: httpx.Client, endpoint: Endpoint, account: NewAccount) -> None:
    headers = {name.title(): value for name, value in signed(endpoint, account, b"{}").items()}

    assert "Error" not in http.post("/", content=b"{}", headers=headers).json()["Response"]


@pytest.mark.parametrize(
    "request_head",
    [
        b"GET / HTTP/1.1\r\n" + b"X-A: b\r\n" * 10_000,
        b"GET / HTTP/1.1\r\nX-A: " + b"b" * 1_000_000,
        b"GET /" + b"x" * 1_000_000,
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    ],
    ids=["10,000 headers", "an endless header", "an endless path", "TLS"],
)
def test_a_head_without_measure_is_cut_off(endpoint: Endpoint, request_head: bytes) -> None:
    with socket.create_connection(endpoint.address, timeout=PATIENCE) as connection:
        try:
            connection.sendall(request_head)
            answer = connection.recv(1000)
        except ConnectionError:
            answer = b""

    assert answer == b"" or answer.startswith(b"HTTP/1.1 400")


def test_a_head_that_does_not_arrive_is_cut_off(endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "HEAD_TIMEOUT", 0.1)
    for sent in (b"", b"POST / HTTP/1.1\r\nHost:"):
        with socket.create_connection(endpoint.address, timeout=PATIENCE) as connection:
            connection.sendall(sent)
            assert connection.recv(1000) == b""


def test_a_body_that_does_not_arrive_is_cut_off(
    endpoint: Endpoint, account: NewAccount, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "BODY_TIMEOUT", 0.1)
    headers = {**signed(endpoint, account, b"{}"), "content-length": "2"}
    head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    with socket.create_connection(endpoint.address, timeout=PATIENCE) as connection:
        connection.sendall(f"POST / HTTP/1.1\r\n{head}\r\n".encode() + b"{")

        assert connection.recv(1000).startswith(b"HTTP/1.1 408")


async def test_large_bodies_wait_for_each_other_and_small_ones_do_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """So that many callers who send slowly cannot fill the memory."""
    monkeypatch.setattr(server, "BODY_TIMEOUT", 0.1)
    large_bodies, arriving = asyncio.Semaphore(1), asyncio.Event()

    def body(size: int, *, parts: int = 2, whole: bool = True) -> server.Body:
        """It arrives in so many parts; one that is not whole never ends."""
        coming = [
            {"type": "http.request", "body": b"x" * (size // parts), "more_body": not (whole and number == parts)}
            for number in range(1, parts + 1)
        ]

        async def receive() -> dict[str, Any]:
            if coming:
                return coming.pop(0)
            arriving.set()
            return await asyncio.Future()

        return server.Body(Head(method="POST", query="", headers={}), receive, large_bodies)

    endless = body(200_000, whole=False)
    first = asyncio.create_task(endless.read(1_000_000))
    await arriving.wait()

    assert len(await body(1000).read(1_000_000)) == 1000
    for waiting in (body(200_000).read(1_000_000), first):
        with pytest.raises(BodyLost):
            await waiting
    endless.drop()
    assert len(await body(200_000).read(1_000_000)) == 200_000


def test_a_fault_of_ours_is_told_by_its_request_id_alone(
    client: Client, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_: int) -> None:
        raise RuntimeError("secret detail")

    task_id = created(client)
    monkeypatch.setattr(endpoint.reports, "observed", broken)
    with capture_logs() as logs:
        code, message = client.refused("DescribeLivePullStreamTasks", TaskId=task_id)

    assert (code, message) == ("InternalError", "An internal error has occurred.")
    [failed] = [line for line in logs if line["event"] == "api.failed"]
    [called] = [line for line in logs if line["event"] == "api.call"]
    assert failed["request_id"] == called["request_id"]
    assert failed["exc_info"]


def test_a_database_that_cannot_answer_is_told(
    client: Client, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def locked(_: Any) -> None:
        raise StoreError("database is locked")

    monkeypatch.setattr(endpoint.store, "read", locked)

    code, message = client.refused("DescribeLivePullStreamTasks")
    assert (code, "Please retry" in message) == ("InternalError", True)


def test_each_call_leaves_one_line_without_secrets(client: Client, account: NewAccount) -> None:
    with capture_logs() as logs:
        answer = client.call("DescribeLivePullStreamTasks", TaskId="x?key=hidden")

    [line] = [line for line in logs if line["event"] == "api.call"]
    assert line["request_id"] == answer["RequestId"]
    assert (line["action"], line["code"]) == ("DescribeLivePullStreamTasks", "")
    assert line["account"] is not None
    for secret in (account.secret_key, account.secret_id, "hidden"):
        assert secret not in json.dumps(line)


async def test_a_call_under_way_ends_before_the_server_does() -> None:
    """Cancelling `serve` refuses new connections and lets the answer that is being made go out."""
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        begun.set()
        await go_on.wait()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"ok"})

    sock = socket.create_server(("127.0.0.1", 0))
    address = sock.getsockname()
    serving = asyncio.create_task(server.serve(app, sock))
    reader, writer = await asyncio.open_connection(*address)
    writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    await begun.wait()
    serving.cancel()
    while sock.fileno() != -1:
        await asyncio.sleep(0)
    go_on.set()

    assert (await reader.read()).endswith(b"ok")
    with pytest.raises(asyncio.CancelledError):
        await serving
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection(*address)
    writer.close()
