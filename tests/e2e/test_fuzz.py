"""Calls made at random, and damaged ones, against a whole server: each is answered in the vendor's form, at no cost.

The seed is fixed, so that what fails fails again. Nothing that is generated names a host but this one.
"""

import contextlib
import json
import random
import re
import socket
from collections import Counter
from typing import Any

import msgspec
import pytest

from penstock.api.schema import fields_of
from penstock.api.tencent import live
from penstock.tasks.accounts import NewAccount
from penstock.tasks.service import PullTasks
from tests.e2e.cloud import utc
from tests.e2e.conftest import ServerFactory
from tests.tencent import signing
from tests.tencent.line import Line, memory_mb

ACTIONS = live.live(PullTasks.__new__(PullTasks)).actions
FIELDS = {name: [field.encode_name for field in fields_of(action.request)] for name, action in ACTIONS.items()}
#: Actions whose parameters name no host, so that a damaged byte cannot name another one.
HARMLESS = [name for name in ACTIONS if name.startswith(("Describe", "Delete"))]
#: How many calls one connection makes.
BATCH = 250
#: What the server may have grown by, in MB.
GROWTH_MB = 60

TEXTS = [
    *("", "0", "-1", "10001", "NaN", "null", "true", "[]", "{}", "PullLivePushLive", "TaskStart", "\0", "\ud800"),
    *("x" * 300, "x" * 70_000, "\u202e'\"<>`${1}%s", "灌溉" * 40, "../../etc/passwd", "' or 1=1 --", "\r\nX: y"),
    *(
        "rtmp://127.0.0.1:9/a/b",
        "rtmp://127.0.0.1:9",
        "rtmp://",
        "file:///etc/passwd",
        "rtmp://[::1",
        "http://0:0/x.mp4",
    ),
    *("2026-11-21T08:00:00Z", "9999-12-31T23:59:59Z", "0000-00-00T00:00:00+99:99", "2026-02-30T00:00:00Z"),
]
NUMBERS = [0, -1, 1, 2, 10, 20, 2**31, 2**63, -(2**63) - 1, 10**400, 0.5, -0.0, 1e308, True, False, None]


def value(rng: random.Random, depth: int = 0) -> Any:
    """Anything that JSON can say."""
    kind = rng.random()
    if kind < 0.5 or depth > 4:
        return rng.choice(TEXTS)
    if kind < 0.75:
        return rng.choice(NUMBERS)
    items = [value(rng, depth + 1) for _ in range(rng.randrange(4))]
    return items if kind < 0.9 else {rng.choice(["PictureUrl", "XPosition", "0", ""]): item for item in items}


def parameters(rng: random.Random, action: str) -> dict[str, Any]:
    """Good ones, a few of which are exchanged, left out or made up."""
    usual: dict[str, Any] = {
        "SourceType": "PullLivePushLive",
        "SourceUrls": ["rtmp://127.0.0.1:9/live/camera"],
        "ToUrl": "rtmp://127.0.0.1:9/live/out",
        **dict.fromkeys(("DomainName", "AppName", "StreamName"), ""),
        "StartTime": utc(rng.choice([0, 86400])),
        "EndTime": utc(172800),
        "TaskId": str(10001 + rng.randrange(20)),
        "Operator": "fuzz",
    }
    chosen = {name: usual[name] for name in FIELDS[action] if name in usual and rng.random() < 0.95}
    for _ in range(rng.randrange(4)):
        chosen[rng.choice([*FIELDS[action], rng.choice(TEXTS)])] = value(rng)
    return chosen


def damaged(rng: random.Random, content: bytes) -> bytes:
    """Bytes are changed, taken away, repeated and put in."""
    for _ in range(rng.randrange(1, 6)):
        at, length = rng.randrange(len(content) + 1), rng.choice([1, 1, 2, 8, 100])
        part = rng.choice(
            [b"", rng.randbytes(length), content[at : at + length] * 2, b"\r\n", b'"', b"\xff", b"%", b"&"]
        )
        content = content[:at] + part + content[at + rng.choice([0, length]) :]
    return content


# The kinds of calls


def of_json(rng: random.Random, line: Line) -> dict[str, Any]:
    action = rng.choice(list(ACTIONS))
    return line.post(json.dumps(parameters(rng, action)).encode(), action=action)


def of_damaged_json(rng: random.Random, line: Line) -> dict[str, Any]:
    action = rng.choice(HARMLESS)
    return line.post(damaged(rng, json.dumps(parameters(rng, action)).encode()), action=action)


def of_form(rng: random.Random, line: Line) -> dict[str, Any]:
    action = rng.choice(list(ACTIONS))
    texts = signing.flattened(parameters(rng, action))
    # The form is UTF-8; half a surrogate pair cannot be written in it.
    whole = {name: text for name, text in texts.items() if "\ud800" not in name + text}
    # Over 64 KB of a head are no HTTP to the server.
    method = rng.choice(["GET", "POST"]) if len(signing.encoded(whole)) < 60_000 else "POST"
    return line.v1(method, **{**whole, "Action": action})


def of_damaged_multipart(rng: random.Random, line: Line) -> dict[str, Any]:
    action, boundary = rng.choice(HARMLESS), rng.choice(["x", "-" * 60, "b" * 70])
    chosen = {name: text for name, text in parameters(rng, action).items() if "\ud800" not in f"{name}{text}"}
    body = damaged(rng, signing.multipart(chosen, boundary))
    return line.post(body, action=action, Content_Type=f"multipart/form-data; boundary={boundary}")


CALLS = [of_json, of_damaged_json, of_form, of_damaged_multipart]


def damaged_requests(rng: random.Random, line: Line) -> Counter[str]:
    """Some requests whose heads are damaged too, on a connection of their own; what each was answered."""
    action = rng.choice(HARMLESS)
    body = json.dumps(parameters(rng, action)).encode()
    whole = line.head(body, action=action) + body
    with contextlib.suppress(OSError):  # the server may have hung up
        line.socket.sendall(damaged(rng, whole) + rng.choice([b"", whole]))
        line.socket.shutdown(socket.SHUT_WR)
    answers: Counter[str] = Counter()
    while (answer := line.answer())[0]:
        status, content = answer
        assert status in (200, 400, 404, 408), answer
        assert b"Traceback" not in content
        answers[code_of(json.loads(content)["Response"]) if status == 200 and b"{" in content else str(status)] += 1
    return answers or Counter({"hung up": 1})


def code_of(response: dict[str, Any]) -> str:
    """The code, which is none of those that say that the fault is ours; good: there was none."""
    code: str = response.get("Error", {"Code": "good"})["Code"]
    assert code not in ("InternalError", "ServiceUnavailable"), response
    assert re.fullmatch(r"[A-Z][A-Za-z]+(\.[A-Za-z]+)?|good", code)
    return code


@pytest.mark.parametrize(
    "calls", [2000, pytest.param(200_000, marks=[pytest.mark.soak, pytest.mark.timeout(3600)])], ids=["short", "long"]
)
def test_whatever_is_called_is_answered_in_the_vendors_form(penstock_server: ServerFactory, calls: int) -> None:
    server = penstock_server(env={"PENSTOCK_API_RATE_LIMIT": "0"})
    host, _, port = server.http.removeprefix("http://").partition(":")
    address, account = (host, int(port)), msgspec.convert(server.account(), NewAccount)
    before, pids = memory_mb(server.pids["api"]), server.pids
    rng, answers = random.Random(4), Counter[str]()

    for _ in range(calls // BATCH):
        with Line(address, account) as line:
            for _ in range(BATCH * 4 // 5):
                answers[code_of(rng.choice(CALLS)(rng, line))] += 1
            assert code_of(line.post(b"{}")) == "good"
        for _ in range(BATCH // 5):
            with Line(address, account) as line:
                answers += damaged_requests(rng, line)

    grown = memory_mb(server.pids["api"]) - before
    print(f"{answers.total()} answers, {grown:.0f} MB more: {dict(answers.most_common())}")
    assert server.pids == pids
    assert ("Traceback" in server.log, "api.failed" in server.log) == (False, False)
    assert len(answers) > 12
    assert grown < GROWTH_MB
