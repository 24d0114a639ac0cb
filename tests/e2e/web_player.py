"""The audience's web players, mpegts.js and hls.js, in a real Chromium."""

import json
import os
import subprocess
import threading
from pathlib import Path
from typing import Any, Literal, Self

from tests.clients.programs import MADE, ROOT
from tests.parts import require
from tests.patience import PATIENCE


class WebPlayer:
    """Plays `url` while the block lasts; then `picture` is what its page showed last (PNG)."""

    def __init__(self, player: Literal["mpegts", "hls"], url: str, picture: Path) -> None:
        node, browser = require("node", package="nodejs"), require("chromium")
        require(str(MADE / "browser" / ".stamp"), package="npm")
        self._command = [node, ROOT / "tests/browser/watch.mjs", player, url, picture]
        self._environment = {**os.environ, "CHROMIUM": str(browser)}
        self._looks: list[dict[str, Any]] = []

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            self._command,
            cwd=MADE / "browser",
            env=self._environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._reading = threading.Thread(target=self._read)
        self._reading.start()
        return self

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._looks.append(json.loads(line))

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        with self._process:
            self._process.stdin.close()
            self._reading.join(PATIENCE)
        assert self._process.returncode == 0

    @property
    def seen(self) -> dict[str, Any]:
        """What its audience has seen: `time` in seconds, `frames`, `sizes`, `waits`, `errors`; empty: nothing yet."""
        assert self._process.poll() is None, "the player has ended"
        return self._looks[-1] if self._looks else {}

    @property
    def time(self) -> float:
        """How far it has played, in seconds."""
        return float(self.seen.get("time", 0.0))
