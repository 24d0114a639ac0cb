"""Fixtures: real servers, gone for sure when their test is over."""

import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.cloud import Cloud
from tests.e2e.running import PenstockServer, penstock, until
from tests.media import clip
from tests.rtmp_peer import OriginThread, SinkThread

__all__ = ["PenstockServer", "ServerFactory", "until"]

ServerFactory = Callable[..., PenstockServer]


@pytest.fixture(scope="session")
def data_with_account(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Mapping[str, Any]]:
    """A DATA with one account, to be copied, and what `account create` printed."""
    data = tmp_path_factory.mktemp("template") / "data"
    created = penstock("account", "create", "demo", "--sdk-app-id", "1400000001", "--json", "--data", data)
    return data, json.loads(created.stdout)


@pytest.fixture
def penstock_server(tmp_path: Path, data_with_account: tuple[Path, Mapping[str, Any]]) -> Iterator[ServerFactory]:
    """Starts servers: `penstock_server(workers=1, arguments=["--srt", "…"], env={"PENSTOCK_…": "…"}, start=False)`.

    Each has a DATA of its own with the account `demo`, and may reach loopback.
    """
    template, account = data_with_account
    servers: list[PenstockServer] = []

    def make(
        *,
        workers: int = 2,
        arguments: Sequence[str] = (),
        env: Mapping[str, str] | None = None,
        prefix: Sequence[str | Path] = (),
        start: bool = True,
    ) -> PenstockServer:
        folder = tmp_path / f"server-{len(servers)}"
        folder.mkdir()
        shutil.copytree(template, folder / "data")
        server = PenstockServer(folder, account, workers=workers, arguments=arguments, env=env, prefix=prefix)
        servers.append(server)
        return server.start() if start else server

    yield make
    for server in servers:
        print(server.log)  # shown if the test has failed
    for server in servers:
        server.clean_up()


@pytest.fixture
def cloud(server: PenstockServer) -> Cloud:
    """The SDK with the account's keys; `server` is each file's own."""
    keys = server.account()
    return Cloud(server.http, keys["secret_id"], keys["secret_key"])


@pytest.fixture
def origin() -> Iterator[OriginThread]:
    """A live source: the clip `av`, again and again."""
    with OriginThread(clip("av")) as running:
        yield running


@pytest.fixture
def sink() -> Iterator[SinkThread]:
    """A destination that records what comes."""
    with SinkThread() as running:
        yield running
