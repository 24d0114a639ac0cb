"""Fixtures: one endpoint for a module, an account of its own for each test; and who proves what is in the coverage."""

import os
from collections.abc import Iterator, Mapping

import pytest

from penstock.tasks.accounts import NewAccount
from tests.endpoint import Endpoint
from tests.tencent import proofs
from tests.tencent.client import Client


@pytest.fixture(scope="session")
def recorder() -> Iterator[proofs.Recorder]:
    with pytest.MonkeyPatch.context() as patch:
        recorder = proofs.Recorder(patch)
        yield recorder
    if os.environ.get("RECORD_PROOFS"):
        proofs.keep(recorder.by_test)


@pytest.fixture(scope="session")
def promised() -> Mapping[str, set[proofs.Proof]]:
    """What docs/coverage.md says of each test."""
    return proofs.kept()


@pytest.fixture(autouse=True)
def seen(
    request: pytest.FixtureRequest, recorder: proofs.Recorder, promised: Mapping[str, set[proofs.Proof]]
) -> Iterator[None]:
    """A test that docs/coverage.md names has to show what it is named for."""
    test = f"{request.path.name}::{request.node.nodeid.partition('::')[2]}"
    yield from recorder.watch(test)
    if not os.environ.get("RECORD_PROOFS"):
        assert promised.get(test, set()) - recorder.by_test[test] == set(), "docs/coverage.md: type make coverage"


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
