"""The database's file under a running server: its disk is full, another process holds its lock, it is damaged."""

import hashlib
import os
import shutil
import sqlite3
import time
from collections.abc import Callable, Mapping
from contextlib import closing, suppress
from pathlib import Path

import pytest

from tests.e2e.conftest import PenstockServer, ServerFactory
from tests.e2e.running import until
from tests.faults.callers import Changer
from tests.faults.fleet import small

#: A call is answered within so many seconds, whatever the database does.
PATIENCE = 10.0
#: Run as root: a small disk of our own at $0, with what is in $1; then the rest becomes this process.
ON_A_SMALL_DISK = 'mount -t tmpfs -o size=12m none "$0" && cp -a "$1/." "$0" && shift && exec "$@"'


@pytest.fixture
def server_on_a_small_disk(penstock_server: ServerFactory, tmp_path: Path) -> PenstockServer:
    """A server whose DATA is a disk of 12 MB, which nobody else sees."""
    if os.geteuid() != 0:
        pytest.skip("only root may mount")
    made, data = tmp_path / "made", tmp_path / "server-0" / "data"
    server = penstock_server(
        prefix=["unshare", "--mount", "sh", "-c", ON_A_SMALL_DISK, data, made],
        env={"PENSTOCK_API_RATE_LIMIT": "0"},
        start=False,
    )
    assert server.data == data
    shutil.copytree(data, made)
    server.start()
    server.data = Path(f"/proc/{server.process.pid}/root{data}")
    return server


def fill(path: Path) -> None:
    """Write until the disk is full."""
    with path.open("wb", buffering=0) as file:
        for size in (1 << 20, 1 << 12, 1):
            with suppress(OSError):
                while True:
                    file.write(bytes(size))


def test_full_disk_stops_no_stream_and_loses_nothing_acknowledged(server_on_a_small_disk: PenstockServer) -> None:
    server = server_on_a_small_disk
    with small(server) as fleet, fleet.undisturbed():
        with Changer(fleet) as changer:
            until(lambda: changer.acknowledged > 5, what="changes are made")
            fill(server.data / "filler")
            until(lambda: changer.codes, what="a change is refused")
            full_at, before = time.monotonic(), changer.acknowledged
            until(lambda: server.get("/readyz")[0] == 503, what="the server says that it is not ready")
            until(fleet.is_active, what="the API says that they run")
            until(lambda: time.monotonic() > full_at + 4)
            (server.data / "filler").unlink()
            until(lambda: changer.acknowledged > before + 5, what="changes are made again")
        until(lambda: server.get("/readyz")[0] == 200, what="the server is ready again")
        assert changer.codes == {"InternalError"}
        assert server.slowest_call() < PATIENCE
        assert changer.lost() == {}
    assert "database or disk is full" in server.log
    assert "has died" not in server.log
    assert "Traceback" not in server.log


@pytest.mark.parametrize("seconds", [8, pytest.param(20, marks=pytest.mark.soak)])
def test_locked_database_stops_no_stream_and_loses_nothing_acknowledged(
    penstock_server: ServerFactory, seconds: float
) -> None:
    server = penstock_server(env={"PENSTOCK_API_RATE_LIMIT": "0"})
    with small(server) as fleet, fleet.undisturbed():
        with Changer(fleet) as changer:
            until(lambda: changer.acknowledged > 5, what="changes are made")
            with closing(sqlite3.connect(server.data / "penstock.db", isolation_level=None)) as other:
                other.execute("BEGIN EXCLUSIVE")
                locked_at, before = time.monotonic(), changer.acknowledged
                until(lambda: changer.codes, what="a change is refused")
                until(fleet.is_active, what="the API says that they run")
                until(lambda: time.monotonic() > locked_at + seconds)
                assert changer.acknowledged <= before + 1  # one may have been on its way
            until(lambda: changer.acknowledged > before + 5, what="changes are made again")
        until(lambda: server.get("/readyz")[0] == 200, what="the server is ready again")
        assert changer.codes == {"InternalError"}
        assert server.slowest_call() < PATIENCE
        assert changer.lost() == {}
    assert "has died" not in server.log
    assert "Traceback" not in server.log


def garbage(content: bytes) -> bytes:
    return b"not a database" + content[14:]


def holes(content: bytes) -> bytes:
    """All but the first pages are noise."""
    return content[:8192] + bytes(byte ^ 0x5A for byte in content[8192:])


def half(content: bytes) -> bytes:
    return content[: len(content) // 8192 * 4096]


def digests(data: Path) -> Mapping[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in data.glob("*.db*")}


@pytest.mark.parametrize("damage", [garbage, holes, half])
def test_damaged_database_is_refused_and_left_as_it_is(
    penstock_server: ServerFactory, damage: Callable[[bytes], bytes]
) -> None:
    server = penstock_server(workers=1, start=False)
    database = server.data / "penstock.db"
    database.write_bytes(damage(database.read_bytes()))
    before = digests(server.data)
    server.launch()
    assert server.ended() == 1
    [said] = [line for line in server.log.splitlines() if line.startswith("penstock: ")]
    assert str(database) in said
    assert "penstock restore" in said
    assert "Traceback" not in server.log
    assert digests(server.data) == before
