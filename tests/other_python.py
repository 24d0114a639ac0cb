"""Programs in environments of their own: clients that cannot share ours."""

import json
import subprocess
from pathlib import Path
from typing import Any

from penstock.tasks.accounts import NewAccount
from tests.endpoint import Endpoint
from tests.patience import PATIENCE

ROOT = Path(__file__).parents[1]


def answers(
    environment: str, script: Path, warnings: str, endpoint: Endpoint, account: NewAccount, **job: object
) -> list[dict[str, Any]]:
    """What a script, run with the Python of this environment, got for each call of its job."""
    keys = {"endpoint": endpoint.host, "secret_id": account.secret_id, "secret_key": account.secret_key}
    done = subprocess.run(
        [ROOT / environment / "bin" / "python", "-W", warnings, script],
        input=json.dumps({**keys, **job}),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    got: list[dict[str, Any]] = json.loads(done.stdout)
    return got
