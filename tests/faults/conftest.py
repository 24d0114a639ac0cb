"""Real servers, as in `tests/e2e`, and a fleet of relays under one of them."""

import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import data_with_account, penstock_server
from tests.e2e.running import PenstockServer
from tests.faults.fleet import Fleet

__all__ = ["data_with_account", "penstock_server"]


@pytest.fixture(scope="module")
def fleet(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    data_with_account: tuple[Path, Mapping[str, Any]],
) -> Iterator[Fleet]:
    """Fifty relays that run; the parameter is the server's watchdog, in seconds."""
    template, account = data_with_account
    folder = tmp_path_factory.mktemp("fleet")
    shutil.copytree(template, folder / "data")
    settings = {"PENSTOCK_API_RATE_LIMIT": "0", "PENSTOCK_SERVER_WATCHDOG": str(request.param)}
    server = PenstockServer(folder, account, env=settings)
    try:
        with Fleet(server.start(), watchdog=request.param) as fleet:
            yield fleet
    finally:
        print(server.log)  # shown if a test has failed
        server.clean_up()
