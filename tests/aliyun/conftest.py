"""Fixtures: one endpoint for a module, an account with a domain of its own for each test."""

import pytest

from penstock.tasks.accounts import NewAccount
from tests.aliyun.signing import domain_of
from tests.endpoint import Endpoint, account, endpoint, seen

__all__ = ["account", "endpoint", "seen"]


@pytest.fixture
def domain(endpoint: Endpoint, account: NewAccount) -> str:
    return domain_of(endpoint, account)
