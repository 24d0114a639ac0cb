"""Fixtures: one endpoint for a module, an account with a domain of its own for each test."""

from collections.abc import Iterator

import pytest

from penstock.tasks.accounts import NewAccount
from tests.aliyun.signing import domain_of
from tests.endpoint import Endpoint


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
def domain(endpoint: Endpoint, account: NewAccount) -> str:
    return domain_of(endpoint, account)
