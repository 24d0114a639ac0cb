"""`penstock backup` while the server works, and `penstock restore` into another DATA."""

import json
import threading
from pathlib import Path

from tests.e2e.cloud import Cloud, utc
from tests.e2e.conftest import ServerFactory, until
from tests.e2e.running import penstock
from tests.rtmp_peer import OriginThread, SinkThread


def test_restored_server_runs_every_enabled_task(
    penstock_server: ServerFactory, origin: OriginThread, sink: SinkThread, tmp_path: Path
) -> None:
    """The backup is taken while calls change tasks and a stream flows; all that was acknowledged before is in it."""
    first = penstock_server(workers=1, env={"PENSTOCK_API_RATE_LIMIT": "0"})
    first.command("account", "limit", "demo", "tasks", "10000")
    cloud = Cloud(first.http, first.account()["secret_id"], first.account()["secret_key"])
    enabled = cloud.create(origin.url, sink.url)
    paused = cloud.create(origin.url, sink.url.replace("/test", "/other"))
    cloud.modify(paused, Status="pause")
    sink.until(lambda: any(len(each.frames) > 25 for each in sink.connections if "test" in each.name))
    [connection] = [each for each in sink.connections if "test" in each.name]
    acknowledged = [enabled, paused]
    over = threading.Event()

    def load() -> None:
        while not over.wait(0.02):
            acknowledged.append(cloud.create(origin.url, sink.url, StartTime=utc(3600)))

    loading = threading.Thread(target=load)
    loading.start()
    try:
        until(lambda: len(acknowledged) > 10)
        before, frames = list(acknowledged), len(connection.frames)
        made = json.loads(first.command("backup", str(tmp_path / "b.tar"), "--json").stdout)
        until(lambda: len(acknowledged) > len(before) + 5)
    finally:
        over.set()
        loading.join()
    sink.until(lambda: len(connection.frames) > frames + 25)
    assert made["contents"] == ["penstock.db", "secret.key"]
    assert first.stop() == 0
    seen = len(sink.connections)

    second = penstock_server(workers=1, start=False)
    second.data.rename(second.data.with_name("empty"))
    second.command("restore", str(tmp_path / "b.tar"))
    second.start()

    sink.until(lambda: any(len(each.frames) > 25 for each in sink.connections[seen:] if "test" in each.name))
    there = Cloud(second.http, first.account()["secret_id"], first.account()["secret_key"])
    assert there.describe(paused).Status == "pause"
    assert not any("other" in each.name for each in sink.connections[seen:])
    restored = {task["id"] for task in json.loads(second.command("task", "list", "--json").stdout)}
    assert set(before) <= restored <= set(acknowledged)


def test_commands_say_what_they_did_and_what_they_refuse(penstock_server: ServerFactory, tmp_path: Path) -> None:
    server = penstock_server(workers=1)
    file = tmp_path / "b.tar"
    done = server.command("backup", str(file))
    first, second = done.stdout.splitlines()
    assert first.startswith(f"{file}: {file.stat().st_size} bytes, schema 0")
    assert first.endswith(": penstock.db, secret.key")
    assert "keep it as safe as the server" in second
    refused = server.command("restore", str(file), check=False)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr == f"penstock: a server with pid {server.process.pid} already runs on {server.data}\n"
    done = penstock("restore", file, "--data", tmp_path / "new", "--json")
    assert json.loads(done.stdout)["contents"] == ["penstock.db", "secret.key"]
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o700
