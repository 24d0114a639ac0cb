"""What `penstock doctor` looks at: all that a server needs of its machine and of DATA. It changes nothing."""

from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from penstock.config import Config
from penstock.doctor import data, machine, programs
from penstock.doctor.finding import Finding as Finding
from penstock.doctor.finding import Level as Level


class Insight(NamedTuple):
    """How the doctor learns what other rooms know. Each raises a `PenstockError` that says what is amiss."""

    #: The process of the server that runs on DATA; None: none does.
    server: Callable[[], int | None]
    #: A word on the database, which is sound and fits its key.
    database: Callable[[], str]
    #: The end of the HTTPS certificate; None: one of our own will be made.
    certificate: Callable[[], datetime | None]
    #: The FFmpeg program.
    ffmpeg: Path


def examine(config: Config, insight: Insight, now: datetime) -> Iterator[Finding]:
    """All findings, one after the other, since some take a while."""
    pid = insight.server()
    yield Finding.ok("server", f"runs with pid {pid}" if pid else "does not run")
    yield from (Finding.warn("settings", warning, "mend the name, or take it out") for warning in config.warnings)
    yield data.folder(config.data)
    yield data.disk(config.data)
    yield data.key(config)
    yield data.database(insight.database)
    yield data.certificate(config, insight.certificate, now)
    yield from machine.ports(config, pid)
    yield machine.clock(now)
    yield machine.files(config)
    yield programs.ffmpeg(insight.ffmpeg)
    yield programs.libsrt()
    yield programs.chromium()
