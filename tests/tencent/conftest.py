"""Fixtures: one endpoint for a module, an account of its own for each test."""

import pytest

from penstock.tasks.accounts import NewAccount
from tests.endpoint import Endpoint, account, endpoint, seen
from tests.tencent.client import Client

__all__ = ["account", "endpoint", "seen"]


@pytest.fixture
def client(endpoint: Endpoint, account: NewAccount) -> Client:
    return Client(endpoint, account)
