"""The endpoint and the account are those of the tests of the API."""

from tests.tencent.conftest import account, endpoint

__all__ = ["account", "endpoint"]
