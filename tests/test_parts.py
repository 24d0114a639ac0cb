"""A missing real part skips its test and is named at the end; in CI it is a failure."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.parts import require

ROOT = Path(__file__).parent.parent
NEEDS_A_PART = """
from tests.parts import require

def test_with_a_part_nobody_has():
    require("no-such-program", package="libno-such")
"""


@pytest.fixture(params=[[], ["-n", "1"]], ids=["alone", "xdist"])
def xdist(request: pytest.FixtureRequest) -> list[str]:
    return list(request.param)


def run_pytest(folder: Path, *options: str, ci: str) -> subprocess.CompletedProcess[str]:
    """A pytest of its own over one test file, with our conftest."""
    (folder / "test_part.py").write_text(NEEDS_A_PART)
    (folder / "pytest.ini").write_text("[pytest]\n")
    env = {**os.environ, "CI": ci, "PYTHONPATH": str(ROOT)}
    for name in [name for name in env if name.startswith("PYTEST_")]:
        del env[name]
    command = [sys.executable, "-m", "pytest", "-p", "tests.conftest", *options, str(folder)]
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False, timeout=60)


def test_missing_part_skips_and_the_summary_names_its_package(tmp_path: Path, xdist: list[str]) -> None:
    run = run_pytest(tmp_path, *xdist, ci="")
    assert run.returncode == 0, run.stdout
    assert "1 skipped" in run.stdout
    assert "for want of: libno-such\n" in run.stdout
    assert "sudo make system" in run.stdout


def test_missing_part_fails_in_ci(tmp_path: Path, xdist: list[str]) -> None:
    run = run_pytest(tmp_path, *xdist, ci="true")
    assert run.returncode == 1, run.stdout
    assert "missing part: no-such-program (package libno-such)" in run.stdout


def test_present_part_is_found_by_name_and_by_path() -> None:
    sh = require("sh")
    assert sh == require(str(sh))
