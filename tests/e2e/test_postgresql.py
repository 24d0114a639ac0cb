"""`penstock serve` with `database.url` of a PostgreSQL: all of it, and nothing in DATA but the key and what lives."""

import json
from collections.abc import Iterator

import pytest

from tests.e2e.cloud import Cloud
from tests.e2e.conftest import PenstockServer, ServerFactory, until
from tests.e2e.postgres import serve_on
from tests.media import clip
from tests.postgresql import PostgresServer
from tests.rtmp_peer import OriginThread, SinkThread


@pytest.fixture
def database(postgres_server: PostgresServer) -> Iterator[str]:
    with postgres_server.database() as name:
        yield name


@pytest.fixture
def server(penstock_server: ServerFactory, postgres_server: PostgresServer, database: str) -> PenstockServer:
    return serve_on(penstock_server, postgres_server, database)


@pytest.fixture
def cloud(server: PenstockServer) -> Cloud:
    keys = server.account("first")
    return Cloud(server.http, keys["secret_id"], keys["secret_key"])


def test_a_relay_lives_through_a_killed_worker_and_a_restart(
    server: PenstockServer, cloud: Cloud, postgres_server: PostgresServer, database: str
) -> None:
    with OriginThread(clip("av")) as origin, SinkThread() as sink:
        task_id = cloud.create(origin.url, f"{sink.url}?key=hush")
        sink.until(lambda: len(sink.connections) == 1 and len(sink.connections[0].frames) > 50)
        until(lambda: cloud.describe(task_id).RecentPullInfo.OffsetTime >= 1, what="Describe says that it runs")
        assert server.task(task_id, "first")["epoch"] == 1

        dead = server.kill_owner(server.task(task_id, "first"))
        sink.until(lambda: len(sink.connections) == 2 and len(sink.connections[1].frames) > 25)
        assert server.task(task_id, "first")["epoch"] == 2
        server.until_replaced(dead)

        server.restart()
        sink.until(lambda: len(sink.connections) == 3 and len(sink.connections[2].frames) > 25)
        assert server.task(task_id, "first")["epoch"] == 3
        names = [event["name"] for event in server.task(task_id, "first")["events"]]
        assert names.count("task.claimed") == 3

        cloud.delete(task_id)
        sink.until(lambda: sink.connections[2].unpublished)
        assert cloud.describe(task_id) is None
    assert [number for (number,) in postgres_server.execute("SELECT count(*) FROM account", database)] == [1]
    assert not list(server.data.glob("*.db*"))


def test_commands_work_on_it(server: PenstockServer, cloud: Cloud) -> None:
    task_id = cloud.create("rtmp://127.0.0.1:1/live/a", "rtmp://127.0.0.1:1/live/b")
    listed = json.loads(server.command("task", "list", "--account", "first", "--json").stdout)
    assert [task["id"] for task in listed] == [task_id]
    assert json.loads(server.command("account", "list", "--json").stdout)[0]["name"] == "first"
    refused = server.command("backup", str(server.data / "backup.tar"), check=False)
    assert (refused.returncode, "pg_dump" in refused.stderr) == (1, True)
    examined = {one["name"]: one["level"] for one in json.loads(server.command("doctor", "--json", check=False).stdout)}
    assert examined["database"] == "ok"


def test_its_key_is_asked_for_when_it_is_gone(server: PenstockServer, cloud: Cloud) -> None:
    """And none is made in its place, which would lose every secret in the database."""
    server.stop()
    (server.data / "secret.key").unlink()
    server.launch()
    assert server.ended() == 1
    assert "There is a database but not its key" in server.log
    assert not (server.data / "secret.key").exists()
