"""How often an account may call, and that its flood is its own trouble alone; what is counted and logged of it."""

import asyncio
import json
import re
import statistics
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from structlog.testing import capture_logs

from penstock.api import limits
from penstock.api.metrics import Metrics
from penstock.bus.load import together
from penstock.tasks.accounts import NewAccount
from penstock.tasks.model import Load, Playback, State
from tests.endpoint import Endpoint
from tests.tencent.client import Client
from tests.tencent.line import LIST, Line
from tests.tencent.test_hostile import api_process, code_of
from tests.tencent.test_live import created, wish
from tests.unit.making import node, observe

CREATE, MODIFY = "CreateLivePullStreamTask", "ModifyLivePullStreamTask"


class Seconds:
    """The time that rates go by."""

    now = 1000.0


@pytest.fixture
def seconds(endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch) -> Seconds:
    """The documented rates, and time that stands still unless a test moves it."""
    seconds = Seconds()
    monkeypatch.setattr(endpoint.door, "_rates", limits.Rates(1, now=lambda: seconds.now))
    return seconds


@pytest.mark.parametrize(
    ("action", "parameters", "limit"),
    [
        (CREATE, {}, 50),
        (MODIFY, {}, 20),
        ("DeleteLivePullStreamTask", {}, 20),
        (LIST, {"PageSize": 21}, 30),
        ("DescribeLivePullStreamTaskStatus", {}, 30),
    ],
)
def test_each_action_may_be_called_as_often_as_documented(
    client: Client, seconds: Seconds, action: str, parameters: dict[str, Any], limit: int
) -> None:
    """A call counts whether or not its parameters are any good."""
    codes = [client.refused(action, **parameters)[0] for _ in range(limit)]
    code, message = client.refused(action, **parameters)

    assert "RequestLimitExceeded" not in codes
    assert code == "RequestLimitExceeded"
    assert message == (
        f"Your current request times equals to `{limit + 1}` in a second, which exceeds the frequency limit"
        f" `{limit}` for a second. Please reduce the frequency of calls."
    )
    seconds.now += 1
    assert client.refused(action, **parameters)[0] != "RequestLimitExceeded"


def test_it_is_said_in_chinese_too(endpoint: Endpoint, account: NewAccount, seconds: Seconds) -> None:
    client = Client(endpoint, account, language="zh-CN")
    for _ in range(20):
        client.refused(MODIFY)

    assert client.refused(MODIFY)[1].startswith("您当前每秒请求 `21` 次")


def test_actions_and_accounts_are_counted_apart(client: Client, endpoint: Endpoint, seconds: Seconds) -> None:
    for _ in range(21):
        last = client.refused(MODIFY)[0]

    assert last == "RequestLimitExceeded"
    assert client.call(LIST)["TotalNum"] == 0
    assert Client(endpoint, endpoint.account()).refused(MODIFY)[0] == "MissingParameter"


def test_who_cannot_sign_uses_up_no_rate(endpoint: Endpoint, account: NewAccount, seconds: Seconds) -> None:
    stranger = Client(endpoint, account, secret_key="wrong")
    codes = Counter(stranger.refused(MODIFY)[0] for _ in range(40))

    assert codes == {"AuthFailure.SignatureFailure": 40}
    assert Client(endpoint, account).refused(MODIFY)[0] == "MissingParameter"


def test_an_account_with_too_many_calls_waiting_is_refused_and_another_is_served(
    endpoint: Endpoint, account: NewAccount, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first caller's calls hang in the database; the second one's never wait for them."""
    monkeypatch.setattr(endpoint.door, "_turns", limits.Turns(at_once=1, waiting=3))
    hanging = Hanging(endpoint)
    monkeypatch.setattr(endpoint.store, "read", hanging.read)
    other = endpoint.account()
    lines = [Line(endpoint.address, account) for _ in range(6)]
    try:
        for line in lines:
            line.socket.sendall(line.head(b"{}") + b"{}")
        refused = [json.loads(lines[number].answer()[1])["Response"] for number in (4, 5)]
        with Line(endpoint.address, other) as another:
            assert code_of(another.post(b"{}")) == ""
        hanging.go_on()
        served = [json.loads(line.answer()[1])["Response"] for line in lines[:4]]
    finally:
        for line in lines:
            line.__exit__()

    assert [error["Error"]["Code"] for error in refused] == ["RequestLimitExceeded"] * 2
    assert [one["TotalNum"] for one in served] == [0] * 4


class Hanging:
    """A store whose first read takes until it is let go."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._read = endpoint.store.read
        self._loop = endpoint._loop
        self._let_go = asyncio.Event()
        self._first = True

    async def read(self, work: Any) -> Any:
        if self._first:
            self._first = False
            await self._let_go.wait()
        return await self._read(work)

    def go_on(self) -> None:
        self._loop.call_soon_threadsafe(self._let_go.set)


def new_task() -> bytes:
    """Parameters of a task that may be created."""
    to_url = "rtmp://127.0.0.1:9/live/stream"
    return json.dumps(wish(DomainName="", AppName="", StreamName="", ToUrl=to_url)).encode()


@contextmanager
def flood(address: tuple[str, int], account: NewAccount, action: str, connections: int) -> Iterator[Counter[str]]:
    """One account calls over so many connections as fast as it can; counts the codes that it gets."""
    codes: Counter[str] = Counter()
    over = threading.Event()

    def call() -> None:
        body = new_task() if action == CREATE else b"{}"
        with Line(address, account) as line:
            while not over.is_set():
                codes[code_of(line.post(body, action=action))] += 1

    threads = [threading.Thread(target=call) for _ in range(connections)]
    for thread in threads:
        thread.start()
    try:
        yield codes
    finally:
        over.set()
        for thread in threads:
            thread.join()


def latencies(line: Line, task_id: str) -> list[float]:
    """Seconds that a read and a write take, again and again at a rate that the account may keep."""
    change = json.dumps({"TaskId": task_id, "Operator": "a", "Comment": "x"}).encode()
    took = []
    for _ in range(30):
        began = time.monotonic()
        assert code_of(line.post(b"{}")) == ""
        assert code_of(line.post(change, action=MODIFY)) == ""
        took.append(time.monotonic() - began)
        time.sleep(0.06)
    return took


@pytest.mark.parametrize("rate_limit", ["1", "0"], ids=["with rates", "without rates"])
@pytest.mark.parametrize("action", [CREATE, LIST])
def test_one_accounts_flood_does_not_slow_anothers_calls(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, action: str, rate_limit: str
) -> None:
    """The second account reads and writes as before, while the first one floods over 24 connections."""
    monkeypatch.setenv("PENSTOCK_API_RATE_LIMIT", rate_limit)
    monkeypatch.setenv("PENSTOCK_NETWORK_ALLOW", "127.0.0.0/8")
    with ExitStack() as stack:
        _, address, [calm, flooding] = stack.enter_context(api_process(tmp_path / "data", "calm", "flooding"))
        line = stack.enter_context(Line(address, calm))
        task_id = line.post(new_task(), action=CREATE)["TaskId"]
        before = latencies(line, task_id)
        with flood(address, flooding, action, 24) as codes:
            during = latencies(line, task_id)

    print(f"median {statistics.median(before):.4f} s, and {statistics.median(during):.4f} s during {codes}")
    assert sum(codes.values()) > 100
    assert set(codes) == ({"", "RequestLimitExceeded"} if rate_limit == "1" else {""})
    assert statistics.median(during) < 0.25 + 10 * statistics.median(before)


def samples(text: str) -> dict[str, float]:
    """What /metrics shows, by name and labels."""
    return {name: float(value) for name, value in re.findall(r"^([a-z_]+(?:\{.*\})?) (\S+)$", text, flags=re.MULTILINE)}


def metrics_of(endpoint: Endpoint) -> dict[str, float]:
    answer = httpx.get(f"http://{endpoint.host}/metrics", trust_env=False)
    assert answer.headers["content-type"].startswith("text/plain; version=")
    return samples(answer.text)


def test_calls_are_counted_by_action_and_code(endpoint: Endpoint, client: Client, seconds: Seconds) -> None:
    before = Counter(metrics_of(endpoint))
    for _ in range(21):
        client.refused(MODIFY)
    client.call(LIST)
    client.refused("DescribeEverything")
    client.refused("DescribeNothing")
    change = Counter(metrics_of(endpoint))
    change.subtract(before)

    def calls(action: str, code: str, service: str = "live") -> float:
        return change[f'penstock_api_calls_total{{action="{action}",code="{code}",service="{service}"}}']

    assert (calls(MODIFY, "MissingParameter"), calls(MODIFY, "RequestLimitExceeded")) == (20, 1)
    assert (calls(LIST, "ok"), calls("none", "InvalidAction", "none")) == (1, 2)
    assert change[f'penstock_api_limited_total{{action="{MODIFY}",limit="rate",service="live"}}'] == 1
    assert change[f'penstock_api_call_seconds_count{{action="{MODIFY}",service="live"}}'] == 21
    assert change[f'penstock_api_call_seconds_bucket{{action="{LIST}",le="+Inf",service="live"}}'] == 1


def test_metrics_tell_of_the_process_and_name_no_account_and_no_task(
    endpoint: Endpoint, account: NewAccount, client: Client
) -> None:
    task_id = created(client, SpecifyTaskId="metrics-should-not-name-me")
    client.refused(MODIFY, TaskId=task_id)
    text = httpx.get(f"http://{endpoint.host}/metrics", trust_env=False).text

    assert "process_cpu_seconds_total" in text
    assert "process_resident_memory_bytes" in text
    for secret in (task_id, account.secret_id, account.secret_key, str(account.app_id), account.name):
        assert secret not in text


def test_what_workers_carry_is_measured() -> None:
    load = Load(workers=2, used=3, capacity=400, states={State.ACTIVE: 2, State.INACTIVE: 1})
    lines = Metrics(lambda: load).text().decode().splitlines()
    assert [line for line in lines if line.startswith(("penstock_workers", "penstock_capacity", "penstock_tasks"))] == [
        "penstock_workers 2.0",
        "penstock_capacity 400.0",
        "penstock_capacity_used 3.0",
        'penstock_tasks{state="starting"} 0.0',
        'penstock_tasks{state="active"} 2.0',
        'penstock_tasks{state="inactive"} 1.0',
    ]


def test_destinations_are_counted_by_their_place_in_the_plan() -> None:
    flowing = [observe(key, 1, sinks=(node("sink", bitrate=2_000_000), node("sink.backup"))) for key in (1, 2)]
    failing = observe(3, 1, sinks=(node("sink", state="retrying"),))
    lines = Metrics(lambda: together([(3, 200)], [*flowing, failing])).text().decode().splitlines()
    assert [line for line in lines if line.startswith("penstock_sinks")] == [
        'penstock_sinks{sink="sink",state="flowing"} 2.0',
        'penstock_sinks{sink="sink",state="retrying"} 1.0',
        'penstock_sinks{sink="sink.backup",state="flowing"} 2.0',
        'penstock_sinks_bitrate{sink="sink"} 4e+06',
        'penstock_sinks_bitrate{sink="sink.backup"} 0.0',
    ]


def test_what_is_on_air_and_the_switches_are_counted() -> None:
    seen = [observe(1, 1, on_air="backup", switches={"stalled": 2, "returned": 1}), observe(2, 1)]
    lines = Metrics(lambda: together([(3, 200)], seen)).text().decode().splitlines()
    assert [line for line in lines if line.startswith(("penstock_on_air", "penstock_switches"))] == [
        'penstock_on_air{source="backup"} 1.0',
        'penstock_on_air{source="source"} 1.0',
        'penstock_switches{cause="stalled"} 2.0',
        'penstock_switches{cause="returned"} 1.0',
    ]


def test_tasks_that_play_files_are_counted() -> None:
    place = Playback(item=0, url="http://h/a.mp4", offset_ms=0, duration_ms=None, rounds=0, next_url="")
    playing = [observe(key, 1, playback=place) for key in (1, 2)]
    failing = observe(3, 1, playback=place, state=State.INACTIVE)
    lines = Metrics(lambda: together([(3, 200)], [*playing, failing, observe(4, 1)])).text().decode().splitlines()
    assert [line for line in lines if line.startswith("penstock_playlists")] == [
        'penstock_playlists{state="active"} 2.0',
        'penstock_playlists{state="inactive"} 1.0',
    ]


def test_made_up_actions_make_no_new_series() -> None:
    metrics = Metrics(lambda: Load(workers=0, used=0, capacity=0, states={}))
    for number in range(100):
        metrics.called("", f"Action{number}", "InvalidAction", 0.001)

    assert metrics.text().count(b"penstock_api_calls_total{") == 1


@pytest.mark.parametrize(
    ("action", "parameters", "code", "service"),
    [
        (LIST, {}, "", "live"),
        (LIST, {"PageSize": 21}, "InvalidParameterValue", "live"),
        ("DescribeEverything", {}, "InvalidAction", ""),
        ("Describe\x1b[31m\nEverything?txSecret=hidden", {}, "InvalidAction", ""),
    ],
    ids=["served", "refused", "unknown", "hostile"],
)
def test_a_call_is_one_line_with_its_request_id(
    endpoint: Endpoint, account: NewAccount, action: str, parameters: dict[str, Any], code: str, service: str
) -> None:
    with capture_logs() as logs, Line(endpoint.address, account) as line:
        response = line.v1("POST", Action=action, **{name: str(value) for name, value in parameters.items()})

    [entry] = [entry for entry in logs if entry["event"] == "api.call"]
    assert entry["request_id"] == response["RequestId"]
    assert (entry["code"], entry["service"], entry["client"]) == (code, service, "127.0.0.1")
    assert (entry["account"] is None) == (service == "")
    assert 0 <= entry["ms"] < 20_000
    assert entry["action"].isprintable()
    assert account.secret_key not in json.dumps(entry)
