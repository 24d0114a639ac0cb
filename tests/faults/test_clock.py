"""The machine's clock is set by an hour under a running server: real processes, with a wall clock that a file tells."""

import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from tencentcloud.common.exception.tencent_cloud_sdk_exception import TencentCloudSDKException

from tests.e2e.cloud import utc
from tests.e2e.conftest import ServerFactory
from tests.e2e.running import until
from tests.faults.fleet import Fleet, Relay, small
from tests.parts import libfaketime

HOUR = 3600

Step = Callable[[int], None]


@pytest.fixture
def step(tmp_path: Path) -> Step:
    """Sets the servers' clock so many seconds forward, for the `clock` settings."""
    file = tmp_path / "clock"
    file.write_text("+0\n")

    def step(seconds: int) -> None:
        new = file.with_name("new")  # nobody shall read half a time
        new.write_text(f"{seconds:+d}\n")
        new.replace(file)

    return step


@pytest.fixture
def fleet_factory(penstock_server: ServerFactory, tmp_path: Path, step: Step) -> Callable[[], Fleet]:
    """A server that looks at that clock."""
    env = {
        "LD_PRELOAD": str(libfaketime()),
        "FAKETIME_TIMESTAMP_FILE": str(tmp_path / "clock"),
        "FAKETIME_NO_CACHE": "1",
        "DONT_FAKE_MONOTONIC": "1",
        "NO_FAKE_STAT": "1",
    }
    return lambda: small(penstock_server(workers=1, env=env | {"PENSTOCK_API_RATE_LIMIT": "0"}))


def set_our_clock(monkeypatch: pytest.MonkeyPatch, seconds: int) -> None:
    """The caller's machine is set as the server's is."""
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + seconds)


def refusal(fleet: Fleet) -> str:
    """The code with which the API refuses a look; empty: it does not."""
    try:
        fleet.is_active()
    except TencentCloudSDKException as error:
        return str(error.get_code())
    return ""


def flows(fleet: Fleet, relay: Relay) -> bool:
    """Whether pictures arrive."""
    return time.monotonic() - fleet.last(relay, before=time.monotonic()) < 0.5


def history(fleet: Fleet, relay: Relay) -> list[str]:
    """The names of what happened, in order."""
    shown = fleet.server.command("task", "show", relay.task_id, "--json").stdout
    return [event["name"] for event in json.loads(shown)["events"]]


@pytest.mark.parametrize("seconds", [HOUR, -HOUR], ids=["forward", "back"])
def test_media_and_calls_go_on_and_tasks_begin_and_end_by_the_new_time(
    fleet_factory: Callable[[], Fleet], step: Step, monkeypatch: pytest.MonkeyPatch, seconds: int
) -> None:
    with fleet_factory() as fleet:
        ends = fleet.create("ends", EndTime=utc(HOUR / 2))
        begins = fleet.create("begins", StartTime=utc(HOUR / 2))
        until(lambda: flows(fleet, ends), what="a task that will end runs")
        with fleet.undisturbed():
            step(seconds)
            until(
                lambda: refusal(fleet) == "AuthFailure.SignatureExpire", what="a signature of the old time is refused"
            )
            set_our_clock(monkeypatch, seconds)
            assert refusal(fleet) == ""
            if seconds > 0:
                until(lambda: flows(fleet, begins), what="what is due now has begun")
                until(lambda: not flows(fleet, ends), what="what has ended is closed")
                until(lambda: history(fleet, ends)[-1] == "task.ended")
            else:
                time.sleep(4)  # longer than a worker waits before it looks
                assert flows(fleet, ends)
                assert not flows(fleet, begins)
            new = fleet.create("new")
            until(lambda: flows(fleet, new), what="a task made at the new time runs")
            until(fleet.is_active, what="the API says of all that they run")
            old = fleet.relays[0]
            fleet.cloud.modify(old.task_id, Comment="later")
            assert history(fleet, old)[-1] == "task.modified"
            replaced = fleet.server.kill("api")
            fleet.server.until_replaced(replaced)
            until(fleet.is_active, what="the API says that they run")
            assert fleet.cloud.describe(old.task_id).Comment == "later"
    assert "has died" in fleet.server.log
    assert "wedged" not in fleet.server.log
    assert "Traceback" not in fleet.server.log
