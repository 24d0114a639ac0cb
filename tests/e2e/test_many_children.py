"""A hundred sources that need a child, all at once."""

import time
from pathlib import Path
from statistics import median

import pytest

from tests.e2e.cloud import Cloud
from tests.e2e.conftest import ServerFactory, until
from tests.e2e.nginx import Nginx
from tests.e2e.running import until_gone
from tests.e2e.test_http_sources import children, package

MANY = 100


@pytest.mark.timeout(600)
def test_a_hundred_children_start_in_turn(penstock_server: ServerFactory, tmp_path: Path) -> None:
    """Meanwhile the API answers; all of them deliver in the end, and none outlives its worker."""
    with Nginx(tmp_path / "nginx") as nginx:
        package(nginx.www, rounds=30)  # none may end before the last has begun
        server = penstock_server(workers=1, env={"PENSTOCK_WORKER_CAPACITY": "2000", "PENSTOCK_API_RATE_LIMIT": "0"})
        server.command("account", "limit", "demo", "tasks", str(MANY))
        keys = server.account()
        cloud = Cloud(server.http, keys["secret_id"], keys["secret_key"])
        for number in range(MANY):
            cloud.create(f"{nginx.http_url}/index.m3u8", f"{nginx.url}/live/{number}")
        waits = []

        def all_deliver() -> bool:
            began = time.monotonic()
            found = server.get("/metrics")[1]
            waits.append(time.monotonic() - began)
            return f'penstock_tasks{{state="active"}} {MANY}.0' in found

        until(all_deliver, within=500, what="all deliver")
        assert median(waits) < 1
        started = until(lambda: found if len(found := children(server)) == MANY else [])
        server.kill("worker")
        until_gone(started)
