"""Real servers, as in `tests/e2e`."""

from tests.e2e.conftest import data_with_account, penstock_server

__all__ = ["data_with_account", "penstock_server"]
