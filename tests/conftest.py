"""What every test shares: no event loop lying about, and the closing word on missing parts."""

import asyncio
import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping

import pytest
from hypothesis import HealthCheck, settings

from tests import proofs
from tests.faults import table
from tests.parts import MISSING
from tests.postgresql import PostgresServer


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """A PostgreSQL for this process's tests, each of which makes a database of its own."""
    with PostgresServer() as server:
        yield server


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


@pytest.fixture
def proving(
    request: pytest.FixtureRequest, recorder: proofs.Recorder, promised: Mapping[str, set[proofs.Proof]]
) -> Iterator[None]:
    """A test that docs/coverage.md names has to show what it is named for."""
    test = f"{request.path.parent.name}/{request.path.name}::{request.node.nodeid.partition('::')[2]}"
    yield from recorder.watch(test)
    if not os.environ.get("RECORD_PROOFS"):
        assert promised.get(test, set()) - recorder.by_test[test] == set(), "docs/coverage.md: type make coverage"


def pytest_addoption(parser: pytest.Parser) -> None:
    """What `tests/sim` plays; in `tests/faults`, `--seed` decides the moments."""
    parser.addoption("--seed", type=int, default=None, help="play this one scenario of the simulation")
    parser.addoption("--seeds", type=int, default=None, help="play so many scenarios of the simulation")


def pytest_configure() -> None:
    """Say that there is no event loop, or pytest-asyncio makes one to put back that nobody closes."""
    asyncio.set_event_loop(None)
    # A busy machine is no failure; and CI says whether a change is sound, while examples are found elsewhere.
    settings.register_profile(
        "penstock", deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize="CI" in os.environ
    )
    settings.load_profile("penstock")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say what was simulated, what faults cost, and which packages skipped tests wait for.

    With xdist only reports know.
    """
    simulated: Counter[str] = Counter()
    played = []
    for report in [*terminalreporter.stats.get("passed", []), *terminalreporter.stats.get("failed", [])]:
        simulated.update(dict(report.user_properties).get("simulated", {}))
        played += [value for name, value in report.user_properties if name == "fault"]
    if simulated:
        terminalreporter.section("simulated")
        terminalreporter.line(", ".join(f"{amount:.1f} {what}" for what, amount in sorted(simulated.items())))
    if played:
        terminalreporter.section("faults, and the most that any relay or caller had to bear")
        for line in table.lines(played):
            terminalreporter.line(line)
    reasons = [str(report.longrepr) for report in terminalreporter.stats.get("skipped", [])]
    found = (re.search(rf"{MISSING}\S+ \(package ([^\s)]+)\)", reason) for reason in reasons)
    packages = {match[1] for match in found if match}
    if packages:
        terminalreporter.section("missing parts")
        terminalreporter.line(f"Tests were skipped for want of: {' '.join(sorted(packages))}")
        terminalreporter.line("To run them too: sudo make system; make test")
