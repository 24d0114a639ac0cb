"""Fixtures: one endpoint for a module, an account of its own for each test."""

from collections.abc import Iterator

import pytest

from penstock.tasks.accounts import NewAccount
from tests.endpoint import Endpoint
from tests.tencent.client import Client


@pytest.fixture(autouse=True)
def seen(proving: None) -> None:
    """A test that docs/coverage.md names has to show what it is named for."""


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endpoint]:
    endpoint = Endpoint(tmp_path_factory.mktemp("data"))
    yield endpoint
    endpoint.close()


@pytest.fixture
def account(endpoint: Endpoint) -> NewAccount:
    return endpoint.account()


@pytest.fixture
def client(endpoint: Endpoint, account: NewAccount) -> Client:
    return Client(endpoint, account)
