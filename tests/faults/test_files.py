"""No more files may be opened: what runs goes on, what cannot begin says why, and all is well when there is room."""

import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from urllib.parse import urlsplit

import pytest

from tests.e2e.conftest import PenstockServer, ServerFactory
from tests.e2e.running import until
from tests.faults.fleet import Fleet, Relay, small
from tests.patience import PATIENCE

#: Descriptors that each process may have; more than an idle one needs, fewer than are asked for here.
LIMIT = 96


@pytest.fixture
def server(penstock_server: ServerFactory) -> PenstockServer:
    return penstock_server(
        workers=1, prefix=["prlimit", f"--nofile={LIMIT}:{LIMIT}"], env={"PENSTOCK_API_RATE_LIMIT": "0"}
    )


@contextmanager
def crowd(address: str) -> Iterator[None]:
    """More callers than can be served, who say nothing."""
    parts = urlsplit(address)
    with ExitStack() as connections:
        for _ in range(LIMIT + 10):
            connections.enter_context(
                socket.create_connection((parts.hostname or "", parts.port or 0), timeout=PATIENCE)
            )
        yield


def error_info(fleet: Fleet, relay: Relay) -> str:
    return str(fleet.cloud.describe(relay.task_id).ErrorInfo)


def assert_unharmed(server: PenstockServer, pids: object) -> None:
    assert server.pids == pids
    assert "has died" not in server.log
    assert "Traceback" not in server.log


def test_worker_without_room_says_so_and_runs_the_rest(server: PenstockServer) -> None:
    with small(server) as fleet:
        pids = server.pids
        with fleet.undisturbed():
            many = [fleet.create(f"more-{number}") for number in range(LIMIT // 2)]
            until(lambda: any("too many open files" in error_info(fleet, relay) for relay in many))
            for relay in many:
                fleet.cloud.delete(relay.task_id)
            new = fleet.create("new")
            until(lambda: fleet.cloud.run_status(new.task_id) == "active", what="there is room again")
        assert_unharmed(server, pids)


@pytest.mark.parametrize("port", ["http", "rtmp", "media"])
def test_crowd_that_says_nothing_harms_nobody_and_leaves_no_trace(server: PenstockServer, port: str) -> None:
    with small(server) as fleet:
        pids = server.pids
        with fleet.undisturbed(), crowd(getattr(server, port)):
            until(lambda: "open files" in server.log, what=f"{port} is full, and says so")
        until(fleet.is_active, what="the API answers")
        new = fleet.create("new")
        until(lambda: fleet.cloud.run_status(new.task_id) == "active")
        assert_unharmed(server, pids)
