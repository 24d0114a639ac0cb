"""A part of Penstock as a child of `penstock serve`, which alone gives `--leash`.

Not read by typer: it builds its parameters with pydantic, which costs each process a quarter of a second and
15 MB.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from penstock import config, log
from penstock.app import parts

_LISTENERS = ("http", "https", "media", "rtmp")


def run(argv: Sequence[str]) -> None:
    """Run ``api``, ``hub`` or ``worker``. The parent has said the settings' warnings already."""
    parser = argparse.ArgumentParser(prog="penstock", allow_abbrev=False)
    parser.add_argument("part", choices=["api", "hub", "worker"])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--config", type=Path)
    for listener in _LISTENERS:
        parser.add_argument(f"--{listener}")
    parser.add_argument("--leash", required=True, type=lambda text: int(text.removeprefix("fd:")))
    asked = parser.parse_args(argv)

    flags = {f"server.{listener}": getattr(asked, listener) for listener in _LISTENERS}
    found = config.load(asked.data, asked.config, flags=flags)
    log.setup(level=found.log.level, style=found.log.format, process=asked.part)
    {"api": parts.run_api, "hub": parts.run_hub, "worker": parts.run_worker}[asked.part](found, asked.leash)
