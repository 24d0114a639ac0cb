"""Accounts of a running server: what an operator's command does to calls and to media."""

import json
import time
from typing import Any

import pytest
from tencentcloud.common.exception.tencent_cloud_sdk_exception import TencentCloudSDKException

from tests.e2e.cloud import Cloud
from tests.e2e.conftest import PenstockServer, ServerFactory, until
from tests.rtmp_peer import OriginThread, SinkThread

NOWHERE = "rtmp://127.0.0.1:9/live/a"


@pytest.fixture
def server(penstock_server: ServerFactory) -> PenstockServer:
    return penstock_server(workers=1)


def cloud_of(server: PenstockServer, account: str = "demo") -> Cloud:
    keys = server.account(account)
    return Cloud(server.http, keys["secret_id"], keys["secret_key"])


def refusal(cloud: Cloud, action: str, **values: Any) -> str:
    """The code that a call is answered; empty: it succeeded."""
    try:
        cloud.call(action, **values)
    except TencentCloudSDKException as error:
        return str(error.get_code())
    return ""


def events(server: PenstockServer, task_id: str) -> list[tuple[str, str]]:
    """Names and sentences of a task's history."""
    return [(event["name"], event["text"]) for event in server.task(task_id)["events"]]


def test_service_that_is_frozen_stops_its_media_and_takes_it_up_again_when_active(
    server: PenstockServer, origin: OriginThread, sink: SinkThread
) -> None:
    cloud = cloud_of(server)
    task_id = cloud.create(origin.url, sink.url)
    paused = cloud.create(origin.url, NOWHERE)
    cloud.modify(paused, Status="pause")
    sink.until(lambda: sink.connections and len(sink.connections[0].frames) > 25)

    server.command("account", "service", "demo", "live", "frozen")
    sink.until(lambda: sink.connections[0].unpublished and sink.connections[0].closed)
    assert refusal(cloud, "DescribeLivePullStreamTasks") == "ResourceNotFound.FreezeService"
    until(lambda: server.task(task_id)["owner"] is None)
    stopped = server.task(task_id)
    assert stopped["state"] == "suspended"
    assert "task: its account's service is not active" in stopped["error"]
    assert ("task.suspended", "the account's service live is frozen") in events(server, task_id)

    server.command("account", "service", "demo", "live", "active")
    sink.until(lambda: len(sink.connections) > 1 and len(sink.connections[1].frames) > 25)
    assert ("task.enabled", "the account's service live is active") in events(server, task_id)
    until(lambda: not cloud.describe(task_id).ErrorInfo)
    assert cloud.describe(task_id).Status == "enable"
    assert server.task(paused)["state"] == "paused"
    assert len(sink.connections) == 2


def test_suspended_task_stays_stopped_when_everything_starts_anew(
    server: PenstockServer, origin: OriginThread, sink: SinkThread
) -> None:
    cloud = cloud_of(server)
    task_id = cloud.create(origin.url, sink.url)
    sink.until(lambda: sink.connections and len(sink.connections[0].frames) > 5)
    server.command("account", "service", "demo", "live", "arrears")
    server.kill_all()
    server.start()
    time.sleep(3)  # longer than a worker takes to claim what it may
    assert (server.task(task_id)["state"], len(sink.connections)) == ("suspended", 1)
    assert refusal(cloud, "DescribeLivePullStreamTasks") == "ResourceNotFound.StopService"
    server.command("account", "service", "demo", "live", "active")
    sink.until(lambda: len(sink.connections) > 1 and len(sink.connections[1].frames) > 5)


def test_command_tells_a_running_api_at_once(server: PenstockServer) -> None:
    cloud = cloud_of(server)
    ask = "DescribeLivePullStreamTasks"
    assert refusal(cloud, ask) == ""
    for words, code in [
        (["disable", "demo"], "AuthFailure.SecretIdNotFound"),
        (["enable", "demo"], ""),
        (["service", "demo", "live", "disabled"], "ResourceNotFound.UserDisableService"),
        (["service", "demo", "live", "active"], ""),
        (["limit", "demo", "tasks", "0"], ""),
    ]:
        server.command("account", *words)
        assert refusal(cloud, ask) == code
    assert cloud.call(ask).LimitTaskNum == 0
    new = json.loads(server.command("account", "rotate", "demo", "--json").stdout)
    assert refusal(cloud, ask) == "AuthFailure.SecretIdNotFound"
    assert refusal(Cloud(server.http, new["secret_id"], new["secret_key"]), ask) == ""


def test_hub_belongs_to_the_first_account_and_a_domain_to_who_has_it(server: PenstockServer) -> None:
    first, second = cloud_of(server), cloud_of(server, "second")
    server.command("domain", "add", "hub.penstock", "--account", "second")

    def push(cloud: Cloud, domain: str) -> str:
        try:
            cloud.create(NOWHERE, "", DomainName=domain, AppName="live", StreamName="a")
        except TencentCloudSDKException as error:
            return str(error.get_code())
        return ""

    denied = "InvalidParameter.ToUrlNoPermission"
    assert (push(first, "localhost"), push(second, "localhost")) == ("", denied)
    assert (push(first, "hub.penstock"), push(second, "hub.penstock")) == (denied, "")
    assert refusal_of_url(second, f"{server.rtmp}/live/a") == denied
    assert refusal_of_url(first, f"{server.rtmp}/live/b") == ""


def refusal_of_url(cloud: Cloud, url: str) -> str:
    try:
        cloud.create(NOWHERE, url)
    except TencentCloudSDKException as error:
        return str(error.get_code())
    return ""
