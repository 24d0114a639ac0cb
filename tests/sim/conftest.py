"""Which seeds are played: `--seeds` of them in ranges, which several processes share, or `--seed` alone."""

import pytest

#: What `make test` plays.
SEEDS = 1000
#: Scenarios of one test; each range holds the same mixture of kinds.
RANGE = 24


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Give the test that asks for a range of `seeds` its ranges."""
    if metafunc.function.__name__ != "test_no_fault_breaks_an_invariant":
        return
    seed: int | None = metafunc.config.getoption("seed")
    if seed is not None:
        ranges = [range(seed, seed + 1)]
    else:
        count: int = metafunc.config.getoption("seeds") or SEEDS
        ranges = [range(first, min(first + RANGE, count)) for first in range(0, count, RANGE)]
    metafunc.parametrize("seeds", ranges, ids=[f"{found.start}-{found.stop - 1}" for found in ranges])
