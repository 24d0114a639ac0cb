"""The endpoint and the account are those of the tests of the API."""

import pytest

from penstock.tasks.accounts import NewAccount
from tests.endpoint import Endpoint, account, endpoint
from tests.tencent.client import Client
from tests.tencent.test_live import created

__all__ = ["account", "endpoint"]


@pytest.fixture
def running(endpoint: Endpoint, account: NewAccount) -> str:
    """The id of a task that runs: its worker's report stays fresh, however long a client takes to start."""
    task_id = created(Client(endpoint, account))
    endpoint.keep_fresh(endpoint.run(task_id))
    return task_id
