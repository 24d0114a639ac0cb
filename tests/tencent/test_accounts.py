"""Accounts as callers see them: keys that change, services that are not active, and nothing of anybody else's."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from tencentcloud.live.v20180801 import errorcodes

from penstock.api.tencent import live
from penstock.tasks.accounts import NewAccount, add_domain, enable_account, rotate_key, set_service, set_task_limit
from penstock.tasks.model import Area, ServiceName, ServiceState, Task
from tests.endpoint import Endpoint
from tests.tencent.client import Client
from tests.tencent.test_live import created, described, wish

CREATE, MODIFY, DELETE = (f"{verb}LivePullStreamTask" for verb in ("Create", "Modify", "Delete"))
RESTART = "RestartLivePullStreamTask"
LIST, STATUS = "DescribeLivePullStreamTasks", "DescribeLivePullStreamTaskStatus"

NOT_ACTIVE = [state for state in ServiceState if state is not ServiceState.ACTIVE]

NOT_THERE = "InvalidParameter.TaskNotExist"
UNKNOWN_KEY = (
    "AuthFailure.SecretIdNotFound",
    "The SecretId is not found, please ensure that your SecretId is correct.",
)


def calls(task_id: str) -> dict[str, dict[str, Any]]:
    """A right call of every action, about this task where it is about one."""
    return {
        CREATE: wish(),
        RESTART: {"TaskId": task_id, "Operator": "me"},
        MODIFY: {"TaskId": task_id, "Operator": "me", "Status": "pause"},
        DELETE: {"TaskId": task_id, "Operator": "me"},
        LIST: {"TaskId": task_id},
        STATUS: {"TaskId": task_id},
    }


def put(endpoint: Endpoint, account: NewAccount, state: ServiceState, service: ServiceName = ServiceName.LIVE) -> None:
    """What `penstock account service` does."""
    asyncio.run(set_service(endpoint.store, account.name, service, state, now=endpoint.now(), by="operator"))


def rows(endpoint: Endpoint, account: NewAccount) -> list[Task]:
    """The account's tasks as they are stored."""
    return endpoint.store.read_now(
        lambda tx: [
            task for task in tx.tasks(None, None) if tx.account(task.account_id) == tx.account_named(account.name)
        ]
    )


def test_every_action_is_called_here(endpoint: Endpoint) -> None:
    [service] = endpoint.tencent._services.values()
    assert set(calls("")) == set(service.actions)


class TestKeys:
    """What a key is good for changes with the next call."""

    def test_rotated_key_is_refused_and_the_new_one_sees_the_same_tasks(
        self, endpoint: Endpoint, account: NewAccount, client: Client
    ) -> None:
        task_id = created(client)
        new = asyncio.run(rotate_key(endpoint.store, account.name))

        for action, parameters in calls(task_id).items():
            assert client.refused(action, **parameters) == UNKNOWN_KEY
        renewed = Client(
            endpoint,
            NewAccount(name="", app_id=0, secret_id=new.secret_id, secret_key=new.secret_key, sdk_apps=()),
        )
        assert described(renewed, task_id)["TaskId"] == task_id

    def test_new_id_with_the_old_secret_is_no_key(self, endpoint: Endpoint, account: NewAccount) -> None:
        new = asyncio.run(rotate_key(endpoint.store, account.name))
        mixed = NewAccount(name="", app_id=0, secret_id=new.secret_id, secret_key=account.secret_key, sdk_apps=())
        assert Client(endpoint, mixed).refused(LIST)[0] == "AuthFailure.SignatureFailure"

    def test_disabled_account_is_refused_until_it_is_enabled(
        self, endpoint: Endpoint, account: NewAccount, client: Client
    ) -> None:
        task_id = created(client)
        asyncio.run(enable_account(endpoint.store, account.name, enabled=False))
        for action, parameters in calls(task_id).items():
            assert client.refused(action, **parameters) == UNKNOWN_KEY
        asyncio.run(enable_account(endpoint.store, account.name, enabled=True))
        assert described(client, task_id)["TaskId"] == task_id

    def test_changed_limit_holds_for_the_next_task(
        self, endpoint: Endpoint, account: NewAccount, client: Client
    ) -> None:
        task_id = created(client)
        asyncio.run(set_task_limit(endpoint.store, account.name, 1))
        assert client.refused(CREATE, **wish())[0] == "InvalidParameter.TaskNumMoreThanLimit"
        answer = client.call(LIST)
        assert ([info["TaskId"] for info in answer["TaskInfos"]], answer["LimitTaskNum"]) == ([task_id], 1)


class TestServiceStates:
    """A service that is not active answers why, whatever it is asked."""

    def test_every_state_has_a_code_that_the_vendor_lists(self) -> None:
        assert set(live.STATES) == set(NOT_ACTIVE)
        listed = {code for name, code in vars(errorcodes).items() if name.isupper()}
        assert {code for code, _, _ in live.STATES.values()} <= listed
        assert len({code for code, _, _ in live.STATES.values()}) == len(NOT_ACTIVE)

    @pytest.mark.parametrize("state", NOT_ACTIVE)
    def test_every_action_answers_the_states_code_and_nothing_changes(
        self, endpoint: Endpoint, account: NewAccount, client: Client, state: ServiceState
    ) -> None:
        task_id = created(client)
        put(endpoint, account, state)
        before = rows(endpoint, account)
        for action, parameters in calls(task_id).items():
            code, english, chinese = live.STATES[state]
            assert client.refused(action, **parameters) == (code, english)
            assert Client(endpoint, account, language="zh-CN").refused(action, **parameters) == (code, chinese)
        assert rows(endpoint, account) == before
        put(endpoint, account, ServiceState.ACTIVE)
        for action, parameters in calls(task_id).items():
            if action != STATUS:  # asked last, about a task that was deleted meanwhile
                client.call(action, **parameters)

    def test_state_is_said_before_anything_about_the_parameters(
        self, endpoint: Endpoint, account: NewAccount, client: Client
    ) -> None:
        put(endpoint, account, ServiceState.FROZEN)
        assert client.refused(CREATE, SourceType=7)[0] == "ResourceNotFound.FreezeService"

    def test_wrong_signature_learns_nothing_of_the_state(self, endpoint: Endpoint, account: NewAccount) -> None:
        put(endpoint, account, ServiceState.FROZEN)
        assert Client(endpoint, account, secret_key="wrong").refused(LIST)[0] == "AuthFailure.SignatureFailure"

    def test_another_service_that_is_not_active_does_not_concern_live(
        self, endpoint: Endpoint, account: NewAccount, client: Client
    ) -> None:
        put(endpoint, account, ServiceState.ARREARS, ServiceName.MDC)
        assert client.call(LIST)["TotalNum"] == 0

    def test_another_account_goes_on(self, endpoint: Endpoint, account: NewAccount) -> None:
        put(endpoint, account, ServiceState.BLOCKED)
        assert Client(endpoint, endpoint.account()).call(LIST)["TotalNum"] == 0


class TestIsolation:
    """Another account's task is not found, not counted and not changed, by whichever action."""

    @pytest.fixture
    def other(self, endpoint: Endpoint) -> NewAccount:
        return endpoint.account()

    @pytest.fixture(params=["number", "chosen"])
    def others_task(self, request: pytest.FixtureRequest, endpoint: Endpoint, other: NewAccount) -> str:
        """A task of another account, with a number of ours or an id of its choice."""
        chosen = {"SpecifyTaskId": f"theirs-{other.app_id}"} if request.param == "chosen" else {}
        return created(Client(endpoint, other), Comment="theirs", **chosen)

    @pytest.mark.parametrize(
        ("action", "outcome"),
        [
            (MODIFY, lambda client, asked: client.refused(MODIFY, **asked)[0] == NOT_THERE),
            (DELETE, lambda client, asked: client.refused(DELETE, **asked)[0] == NOT_THERE),
            (STATUS, lambda client, asked: client.refused(STATUS, **asked)[0] == NOT_THERE),
            (LIST, lambda client, asked: client.call(LIST, **asked)["TaskInfos"] == []),
        ],
        ids=[MODIFY, DELETE, STATUS, LIST],
    )
    def test_anothers_task_is_as_one_that_never_was(
        self,
        endpoint: Endpoint,
        other: NewAccount,
        client: Client,
        others_task: str,
        action: str,
        outcome: Callable[[Client, dict[str, Any]], bool],
    ) -> None:
        before = rows(endpoint, other)
        for task_id in (others_task, "nobodys"):
            assert outcome(client, calls(task_id)[action])
            by_choice = {name: value for name, value in calls("")[action].items() if name != "TaskId"}
            assert outcome(client, by_choice | {"SpecifyTaskId": task_id})
        assert rows(endpoint, other) == before

    def test_lists_and_totals_hold_ones_own_alone(self, endpoint: Endpoint, client: Client, others_task: str) -> None:
        mine = created(client, Comment="mine")
        answer = client.call(LIST)
        assert [info["TaskId"] for info in answer["TaskInfos"]] == [mine]
        assert (answer["TotalNum"], answer["TotalPage"]) == (1, 1)
        assert client.call(LIST, PageNum=2)["TaskInfos"] == []

    def test_id_that_another_account_chose_is_free(
        self, endpoint: Endpoint, other: NewAccount, client: Client, others_task: str
    ) -> None:
        before = rows(endpoint, other)
        assert created(client, SpecifyTaskId=others_task, Comment="mine") == others_task
        assert described(client, others_task)["Comment"] == "mine"
        assert described(Client(endpoint, other), others_task)["Comment"] == "theirs"
        client.call(MODIFY, **calls(others_task)[MODIFY])
        client.call(DELETE, **calls(others_task)[DELETE])
        assert rows(endpoint, other) == before

    def test_anothers_tasks_use_up_no_limit(self, endpoint: Endpoint, others_task: str) -> None:
        small = Client(endpoint, endpoint.account(task_limit=1))
        created(small)
        assert small.refused(CREATE, **wish())[0] == "InvalidParameter.TaskNumMoreThanLimit"

    def test_anothers_live_status_is_not_seen(
        self, endpoint: Endpoint, other: NewAccount, client: Client, others_task: str
    ) -> None:
        created(client, SpecifyTaskId=f"{others_task}-of-mine")
        endpoint.run(others_task)
        status = client.call(STATUS, TaskId=f"{others_task}-of-mine")["TaskStatusInfo"]
        assert status["RunStatus"] == "inactive"
        theirs = Client(endpoint, other).call(STATUS, TaskId=others_task)["TaskStatusInfo"]
        assert theirs["RunStatus"] == "active"

    def test_domain_of_another_account_is_no_destination(
        self, endpoint: Endpoint, other: NewAccount, client: Client
    ) -> None:
        domain = f"push-{other.app_id}.invalid"
        asyncio.run(add_domain(endpoint.store, domain, other.name, area=Area.GLOBAL))
        second = {"BackupToUrl": f"rtmp://{domain}/live/second"}
        assert client.refused(CREATE, **wish(**second))[0] == "InvalidParameter.ToUrlNoPermission"
        mine = created(client)
        assert client.refused(MODIFY, TaskId=mine, Operator="a", **second)[0] == "InvalidParameter.ToUrlNoPermission"
        code, message = client.refused(CREATE, **wish(DomainName=domain))
        assert (code, "belongs to another account" in message) == ("InvalidParameter.ToUrlNoPermission", True)
        created(Client(endpoint, other), DomainName=domain)
        task_id = created(client)
        turned = {"TaskId": task_id, "Operator": "me", "ToUrl": f"rtmp://{domain}/live/x"}
        assert client.refused(MODIFY, **turned)[0] == code
        assert described(client, task_id)["DomainName"] == "127.0.0.1"
