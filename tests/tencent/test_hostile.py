"""What a hostile or broken client may send: it learns its fault in the vendor's form, and costs nobody else."""

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.types import Message
from structlog.testing import capture_logs

from penstock.api import server
from penstock.store.sql import open_store
from penstock.tasks.accounts import NewAccount, create_account
from tests.endpoint import Endpoint
from tests.patience import PATIENCE
from tests.tencent.line import LIST, Line, memory_mb

MB = 1024 * 1024


@pytest.fixture
def line(endpoint: Endpoint, account: NewAccount) -> Iterator[Line]:
    with Line(endpoint.address, account) as line:
        yield line


DEEP = 10_000
#: What is sent -> how, and the code it is answered.
BODIES: dict[str, tuple[bytes, str]] = {
    "nothing": (b"", "InvalidParameter"),
    "a truncated object": (b'{"TaskId": "1"', "InvalidParameter"),
    "lists 10,000 deep": (b'{"TaskId": ' + b"[" * DEEP + b"]" * DEEP + b"}", "InvalidParameter"),
    "objects 10,000 deep": (b'{"TaskId":' * DEEP + b"1" + b"}" * DEEP, "InvalidParameter"),
    "lists 10,000 deep under an unknown name": (b'{"X": ' + b"[" * DEEP + b"]" * DEEP + b"}", "InvalidParameter"),
    "NaN": (b'{"PageNum": NaN}', "InvalidParameter"),
    "Infinity": (b'{"PageNum": -Infinity}', "InvalidParameter"),
    "a number too large for any float": (b'{"PageNum": 1e999}', "InvalidParameter"),
    "an integer of 400 digits": (b'{"PageNum": ' + b"9" * 400 + b"}", "InvalidParameterValue"),
    "an integer of 100,000 digits": (b'{"PageNum": ' + b"9" * 100_000 + b"}", "InvalidParameter"),
    "a float for an integer": (b'{"PageNum": 1.0}', "InvalidParameter"),
    "a text for an integer": (b'{"PageNum": "1"}', "InvalidParameter"),
    "a truth for an integer": (b'{"PageNum": true}', "InvalidParameter"),
    "a list for a text": (b'{"TaskId": ["1"]}', "InvalidParameter"),
    "an object for a text": (b'{"TaskId": {"0": "1"}}', "InvalidParameter"),
    "a list for the object": (b"[]", "InvalidParameter"),
    "bytes that are not UTF-8": (b'{"TaskId": "\xff\xfe"}', "InvalidParameter"),
    "UTF-16": ('{"TaskId": "1"}'.encode("utf-16"), "InvalidParameter"),
    "half a surrogate pair": (rb'{"TaskId": "\ud800"}', "InvalidParameter"),
    "a million members": (b'{"X": {' + b",".join(b'"%d":0' % n for n in range(200_000)) + b"}}", "UnknownParameter"),
    "10 MB of one text": (b'{"TaskId": "' + b"x" * (10 * MB - 20) + b'"}', ""),
    "more than 10 MB": (b" " * (10 * MB + 1), "RequestSizeLimitExceeded"),
}


def code_of(response: dict[str, Any]) -> str:
    """The code of a refusal, whose message is short and one line; empty: it was none."""
    error = response.get("Error", {"Code": "", "Message": ""})
    assert len(error["Message"]) < 400
    assert error["Message"].isprintable()
    code: str = error["Code"]
    return code


@pytest.mark.parametrize("what", BODIES)
def test_a_body_is_refused_cleanly_and_its_connection_goes_on(line: Line, what: str) -> None:
    body, code = BODIES[what]

    assert code_of(line.post(body)) == code
    assert code_of(line.post(b"{}")) == ""


#: What is sent as the value of a parameter, or as its name -> the code.
PAIRS: dict[str, tuple[dict[str, str], str]] = {
    "an integer of 400 digits": ({"PageNum": "9" * 400}, "InvalidParameterValue"),
    "an integer of 10,000 digits": ({"PageNum": "9" * 10_000}, "InvalidParameterValue"),
    "no integer": ({"PageNum": "NaN"}, "InvalidParameter"),
    "a name 10,000 deep": ({"TaskId" + ".0" * 10_000: "1"}, "InvalidParameter"),
    "a name that is a number": ({"0": "1"}, "UnknownParameter"),
    "a name of dots": ({"....": "1"}, "UnknownParameter"),
    "a large index": ({"TaskId.999999999": "1"}, "InvalidParameter"),
    "one name twice, as text and as list": ({"TaskId": "1", "TaskId.0": "1"}, "InvalidParameter"),
}


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("what", PAIRS)
def test_a_flattened_parameter_is_refused_cleanly_and_its_connection_goes_on(
    line: Line, what: str, method: str
) -> None:
    parameters, code = PAIRS[what]

    assert code_of(line.v1(method, **parameters)) == code
    assert code_of(line.v1(method)) == ""


@pytest.mark.parametrize(
    "headers",
    [
        {"X_TC_Action": "\xff\xfe"},
        {"X_TC_Action": "x" * 20_000},
        {"X_TC_Version": "2018-08-01\t"},
        {"X_TC_Timestamp": "9" * 20},
        {"X_TC_Timestamp": "\xb2"},
        {"X_TC_Region": "\x85"},
        {"X_TC_Language": "tlh"},
        {"Content_Type": "application/json; charset=\xff"},
        {"Content_Type": "multipart/form-data; boundary=" + "x" * 5000},
    ],
    ids=lambda headers: ascii(headers)[:40],
)
def test_a_header_that_holds_anything_is_answered_and_its_connection_goes_on(
    line: Line, headers: dict[str, str]
) -> None:
    line.post(b"{}", **headers)

    assert code_of(line.post(b"{}")) == ""


@pytest.mark.parametrize("number", [100, 10_000])
def test_10_000_headers_are_refused_and_100_are_read(line: Line, number: int) -> None:
    line.socket.sendall(line.head(b"{}", lines=[b"X-%d: y" % one for one in range(number)]) + b"{}")
    status, body = line.answer()

    if number == 100:
        assert (status, b"Error" in body) == (200, False)
    else:
        assert status in (0, 400)


def test_a_body_that_ends_early_is_dropped_and_logged(endpoint: Endpoint, account: NewAccount, line: Line) -> None:
    with capture_logs() as logs:
        line.socket.sendall(line.head(b"x" * 1000) + b"x" * 10)
        line.socket.shutdown(socket.SHUT_WR)
        status, _ = line.answer()
        wait_for(lambda: any(entry["event"] == "api.body_lost" for entry in logs))

    assert status == 0
    [lost] = [entry for entry in logs if entry["event"] == "api.body_lost"]
    assert (lost["action"], len(lost["request_id"])) == (LIST, 36)
    with Line(endpoint.address, account) as another:
        assert another.post(b"{}")["TotalNum"] == 0


def test_a_slow_body_is_cut_off_and_holds_up_nobody(
    endpoint: Endpoint, account: NewAccount, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "BODY_TIMEOUT", 0.5)
    with contextlib.ExitStack() as stack:
        slow = [stack.enter_context(Line(endpoint.address, account)) for _ in range(50)]
        for one in slow:
            one.socket.sendall(one.head(b"x" * 1000) + b"x")

        assert stack.enter_context(Line(endpoint.address, account)).post(b"{}")["TotalNum"] == 0
        assert {one.answer()[0] for one in slow} == {408}


def test_requests_one_after_the_other_without_waiting_are_answered_in_order(line: Line) -> None:
    bodies = [b'{"PageSize": %d}' % size for size in range(1, 21)]
    line.socket.sendall(b"".join(line.head(body) + body for body in bodies))
    sizes = [json.loads(line.answer()[1])["Response"]["PageSize"] for _ in bodies]

    assert sizes == list(range(1, 21))


@pytest.mark.parametrize(("error", "is_ours"), [("<TCPTransport>; the handler is closed", False), ("another", True)])
async def test_an_answer_that_nobody_can_be_given_any_more_is_no_fault_of_ours(
    endpoint: Endpoint, error: str, is_ours: bool
) -> None:
    async def send(_: Message) -> None:
        raise RuntimeError(error)

    async def receive() -> Message:
        return {"type": "http.request", "body": b""}

    scope = {"type": "http", "method": "GET", "path": "/healthz", "query_string": b"", "headers": []}
    with pytest.raises(RuntimeError) if is_ours else contextlib.nullcontext():
        await endpoint.app(scope, receive, send)


def test_memory_is_bounded_whatever_is_sent(tmp_path: Path) -> None:
    """Bodies of 10 MB over many connections at once, none of which can be read.

    Few of them are in memory, in pieces and then whole; the other connections hold what came before they were told to
    wait.
    """
    connections = 60
    with api_process(tmp_path / "data", "hostile") as (pid, address, [account]), Line(address, account) as warm:
        assert warm.post(b'{"TaskId": "' + b"x" * 9 * MB + b'"}')["TotalNum"] == 0
        before = memory_mb(pid)

        def send() -> None:
            with Line(address, account) as one, contextlib.suppress(OSError):
                one.socket.sendall(one.head(b"[" * 10 * MB) + b"[" * 10 * MB)
                one.answer()

        threads = [threading.Thread(target=send) for _ in range(connections)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        peak = memory_mb(pid)

        assert warm.post(b"{}")["TotalNum"] == 0
    assert peak - before < server.LARGE_BODIES * 20 + connections + 60 < connections * 10


@contextlib.contextmanager
def api_process(data: Path, *names: str) -> Iterator[tuple[int, tuple[str, int], list[NewAccount]]]:
    """`penstock api` alone, in a process of its own, with these accounts: pid, address, accounts."""
    store = open_store("", data, None, migrate=True, inline=True)
    accounts = [asyncio.run(create_account(store, name, task_limit=100_000)) for name in names]
    store.close()
    sock = socket.create_server(("127.0.0.1", 0))
    address: tuple[str, int] = sock.getsockname()
    process = subprocess.Popen(
        [sys.executable, "-m", "penstock", "api", "--data", data, "--http", f"fd:{sock.fileno()}"],
        pass_fds=[sock.fileno()],
        stdin=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    sock.close()
    try:
        yield process.pid, address, accounts
    finally:
        os.kill(process.pid, signal.SIGTERM)
        process.wait(PATIENCE)


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)
