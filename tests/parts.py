"""The real peers that tests run against: found here, or the test is skipped, naming its package."""

import os
import shutil
import socket
from pathlib import Path

import pytest

MISSING = "missing part: "
#: Where Debian puts servers, which is not on everybody's PATH.
SEARCH_PATH = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/local/sbin", "/usr/sbin", "/sbin"])


def require(part: str, *, package: str | None = None) -> Path:
    """Where the program, or the file of that absolute path, is.

    Without it the test is skipped, and in CI it fails: `scripts/system` should have installed its package.
    """
    found = shutil.which(part, path=SEARCH_PATH) if "/" not in part else part
    if found and Path(found).exists():
        return Path(found)
    reason = f"{MISSING}{part} (package {package or part})"
    if os.environ.get("CI") == "true":
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason, allow_module_level=True)


def nginx_rtmp() -> tuple[Path, Path]:
    """The nginx program, and the RTMP module for its `load_module`."""
    module = require("/usr/lib/nginx/modules/ngx_rtmp_module.so", package="libnginx-mod-rtmp")
    return require("nginx"), module


def debian_ffmpeg() -> Path:
    """The distribution's FFmpeg: an older second peer and judge beside the one of imageio-ffmpeg."""
    return require("ffmpeg")


def debian_ffprobe() -> Path:
    """The ffprobe that comes with `debian_ffmpeg`."""
    return require("ffprobe", package="ffmpeg")


def postgresql_bin() -> Path:
    """The folder of PostgreSQL's programs, of the newest version that is installed."""
    versions = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: float(path.parts[-3]))
    program = versions[-1] if versions else "initdb"
    return require(str(program), package="postgresql").parent


def libfaketime() -> Path:
    """The library that, loaded before all others, gives a process a clock that can be set."""
    found = next(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"), "/usr/lib/faketime/libfaketime.so.1")
    return require(str(found), package="faketime")


def own_address(other: str) -> str:
    """The address from which this machine would call another one; a test is skipped where there is none."""
    with socket.socket(socket.AF_INET6 if ":" in other else socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((other, 9))
        except OSError:
            pytest.skip("this machine has no address but loopback")
        return str(probe.getsockname()[0])
