"""The commands as a user types them: what they print, and how they end."""

import json
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.e2e.conftest import PenstockServer, ServerFactory, until
from tests.e2e.running import penstock
from tests.unit.making import add_task, open_new

#: Where nobody listens.
NOWHERE = "rtmp://127.0.0.1:9/live/s3cret"
FAR = 4_102_444_800_000


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "data"


def create(data: Path, name: str = "demo", *arguments: str) -> dict[str, Any]:
    created: dict[str, Any] = json.loads(
        penstock("account", "create", name, *arguments, "--data", data, "--json").stdout
    )
    return created


def test_version_is_printed() -> None:
    assert penstock("--version").stdout.startswith("penstock 0.")


@pytest.mark.parametrize("words", [["serve", "--depth", "3"], ["dance"], ["account", "create"]])
def test_misuse_ends_with_2(words: list[str]) -> None:
    done = penstock(*words, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert "Usage: penstock" in done.stderr


def test_account_is_created_on_fresh_data_with_all_its_keys(data: Path) -> None:
    created = create(data, "demo", "--sdk-app-id", "1400000001", "--sdk-app-id", "1400000002")
    assert list(created) == ["name", "app_id", "secret_id", "secret_key", "sdk_apps"]
    assert created["name"] == "demo"
    assert [app["sdk_app_id"] for app in created["sdk_apps"]] == [1400000001, 1400000002]
    assert {frozenset(app) for app in created["sdk_apps"]} == {frozenset({"sdk_app_id", "secret_key"})}
    assert data.stat().st_mode & 0o777 == 0o700
    assert (data / "secret.key").stat().st_mode & 0o777 == 0o600


def test_accounts_are_shown_without_secrets(data: Path) -> None:
    created = create(data, "demo", "--sdk-app-id", "1400000001")
    shown = [
        penstock("account", command, *form, "--data", data).stdout
        for command in ("list", "show")
        for form in ([], ["--json"])
    ]
    assert all(created["secret_id"] in text and "1400000001" in text for text in shown)
    assert not any(created["secret_key"] in text for text in shown)
    assert json.loads(shown[3])["task_limit"] == 20


def test_new_account_has_the_limit_of_the_settings(data: Path) -> None:
    penstock("account", "create", "demo", "--data", data, PENSTOCK_LIVE_TASK_LIMIT="7")
    assert json.loads(penstock("account", "show", "--data", data, "--json").stdout)["task_limit"] == 7


def test_refusal_is_one_line_and_ends_with_1(data: Path) -> None:
    create(data)
    create(data, "other")
    for words, message in [
        (["account", "create", "demo"], "demo"),
        (["account", "show", "nobody"], "There is no account 'nobody'."),
        (["task", "list"], "There are several accounts (demo, other); say which with --account."),
        (["task", "show", "10001", "--account", "demo"], "The task does not exist."),
    ]:
        done = penstock(*words, "--data", data, check=False)
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
        assert done.stderr.startswith("penstock: ")
        assert message in done.stderr


def test_looking_at_data_that_is_not_there_makes_nothing(data: Path) -> None:
    done = penstock("task", "list", "--data", data, check=False)
    assert (done.returncode, data.exists()) == (1, False)


def test_config_prints_every_setting_with_source_and_meaning(data: Path) -> None:
    data.mkdir()
    (data / "penstock.toml").write_text("[sink]\nhold = 5\n")
    printed = penstock("config", "--data", data, "--json", PENSTOCK_SECURITY_KEY="s3cret")
    rows = {row["name"]: row for row in json.loads(printed.stdout)}
    assert (rows["sink.hold"]["value"], rows["sink.hold"]["source"]) == ("5", str(data / "penstock.toml"))
    assert rows["network.allow"]["source"] == "PENSTOCK_NETWORK_ALLOW"
    assert (rows["security.key"]["value"], rows["hub.tick"]["source"]) == ("***", "default")
    table = penstock("config", "--data", data).stdout
    assert all(name in table for name in rows)


def add(server: PenstockServer, id: str, **fields: Any) -> None:
    """A due task in the store, as if the API had put it there."""
    store = open_new(server.data)
    account = store.read_now(lambda tx: tx.accounts()[0])
    add_task(store, account.id, id, end_at=FAR, **fields)
    store.close()


def listed(server: PenstockServer) -> dict[str, Any]:
    """`task list --json` by id."""
    return {task["id"]: task for task in json.loads(server.command("task", "list", "--json").stdout)}


def test_task_is_shown_as_it_is_with_its_history_and_without_its_secrets(penstock_server: ServerFactory) -> None:
    server = penstock_server(workers=1)
    add(server, "10001")

    def tried() -> dict[str, Any] | None:
        task = listed(server)["10001"]
        return task if task["error"] and task["state"] == "inactive" else None

    task = until(tried)
    assert task
    assert (task["family"], task["epoch"], task["bitrate"], task["media_ms"]) == ("pull", 1, 0, 0)
    assert task["owner"].startswith("w-")
    assert task["destination"] == "rtmp://sink.example/live/***"
    assert task["source"] == "rtmp://source.example/live/***?token=***"

    shown = server.task("10001")
    assert {name: shown[name] for name in ("id", "owner", "destination")} == {
        name: task[name] for name in ("id", "owner", "destination")
    }
    assert shown["events"][0]["name"] == "task.claimed"
    for form in (["task", "list"], ["task", "show", "10001"]):
        text = server.command(*form).stdout
        assert task["destination"] in text
        assert "s3cret" not in text


def test_task_that_waits_says_why(penstock_server: ServerFactory) -> None:
    server = penstock_server(workers=1, env={"PENSTOCK_WORKER_CAPACITY": "1"})
    add(server, "10001")
    until(lambda: listed(server)["10001"]["owner"])
    add(server, "10002")
    waiting = until(lambda: (task := listed(server)["10002"])["error"].endswith("task: no capacity (1/1)") and task)
    assert (waiting["state"], waiting["owner"]) == ("waiting", None)


def test_tasks_of_a_server_that_is_down_are_shown_as_they_were(penstock_server: ServerFactory) -> None:
    server = penstock_server(workers=1)
    add(server, "10001")
    until(lambda: listed(server)["10001"]["owner"])
    assert server.stop() == 0
    task = until(lambda: (task := listed(server)["10001"])["error"] and task)
    assert (task["state"], task["owner"]) == ("waiting", None)
    assert task["error"].endswith("task: no worker")


def test_doctor_knows_a_running_server_and_ends_well(penstock_server: ServerFactory) -> None:
    server = penstock_server(workers=1)
    ports = {f"PENSTOCK_SERVER_{name.upper()}": urlsplit(getattr(server, name)).netloc for name in ("http", "rtmp")}
    ports["PENSTOCK_SERVER_MEDIA"] = "127.0.0.1:0"
    done = penstock("doctor", "--data", server.data, "--json", **ports)
    found = {one["name"]: one for one in json.loads(done.stdout)}
    assert {name for name, one in found.items() if one["level"] != "ok"} <= {"clock", "files", "libsrt", "chromium"}
    pid = server.process.pid
    assert found["server"]["text"] == f"runs with pid {pid}"
    assert found["server.http"]["text"].endswith(f"is served by pid {pid}")
    assert found["server.rtmp"]["text"].endswith(f"is served by pid {pid}")


def test_doctor_says_what_to_do_and_ends_with_1(data: Path) -> None:
    create(data)
    (data / "secret.key").unlink()
    done = penstock("doctor", "--data", data, check=False, PENSTOCK_SERVER_HTTP="127.0.0.1:0")
    assert done.returncode == 1
    [line] = [line for line in done.stdout.splitlines() if line.startswith("fail  database")]
    assert f"put {data}/secret.key back" in line
    assert not (data / "secret.key").exists()
