"""Programs of users who do not write Python: one for each of Tencent's other clients, made by `scripts/clients`.

Each makes the same calls and prints a line of JSON for each: the action, and the answer as the client's types
read it, or the code, the message and the request's id as the client's error has them.
"""

import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from penstock.tasks.accounts import NewAccount
from tests.endpoint import Endpoint
from tests.parts import require
from tests.patience import PATIENCE

ROOT = Path(__file__).parents[2]
MADE = ROOT / ".clients"


def node() -> list[str | Path]:
    program = require("node", package="nodejs")
    require(str(MADE / "node" / ".stamp"), package="npm")
    # Not warned of what the clients' own libraries use that Node is going to drop.
    return [program, "--no-deprecation", ROOT / "tests/clients/node/calls.mjs"]


def go() -> list[str | Path]:
    require(str(MADE / "go" / ".stamp"), package="golang-go")
    return [MADE / "go" / "calls"]


def java() -> list[str | Path]:
    program = require("java", package="default-jdk-headless")
    require(str(MADE / "java" / ".stamp"), package="maven")
    # It lives for a second: not worth the JVM's second compiler.
    return [program, "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-cp", "lib/*:classes", "Calls"]


PROGRAMS = {"node": node, "go": go, "java": java}


@dataclass(frozen=True, kw_only=True)
class Form:
    """A client, and how it signs."""

    language: str
    sign_method: str = "TC3-HMAC-SHA256"
    method: str = "POST"
    #: What only some clients have.
    extra: Mapping[str, str] = field(default_factory=dict)
    #: Options of the program itself, before all others.
    options: Sequence[str] = ()


def calls(form: Form, endpoint: Endpoint, account: NewAccount, running: str) -> list[dict[str, Any]]:
    """What each call of the program gave. `running`: the id of a task that it asks about first."""
    program, *arguments = PROGRAMS[form.language]()
    done = subprocess.run(
        [program, *form.options, *arguments],
        cwd=MADE / form.language,
        env={
            "PATH": os.environ["PATH"],
            "HOME": os.environ.get("HOME", "/"),
            "ENDPOINT": endpoint.host,
            "SECRET_ID": account.secret_id,
            "SECRET_KEY": account.secret_key,
            "SIGN_METHOD": form.sign_method,
            "HTTP_METHOD": form.method,
            "TASK_ID": running,
            **form.extra,
        },
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]
