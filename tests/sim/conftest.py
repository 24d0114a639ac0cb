"""Which seeds are played: `--seeds` of them in ranges, which several processes share, or `--seed` alone."""

import pytest

#: Scenarios of one test.
RANGE = 20


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Give tests that ask for `seeds` their ranges."""
    if "seeds" not in metafunc.fixturenames:
        return
    seed: int | None = metafunc.config.getoption("seed")
    if seed is not None:
        ranges = [range(seed, seed + 1)]
    else:
        count: int = metafunc.config.getoption("seeds")
        ranges = [range(first, min(first + RANGE, count)) for first in range(0, count, RANGE)]
    metafunc.parametrize("seeds", ranges, ids=[f"{found.start}-{found.stop - 1}" for found in ranges])
