"""The command line. It works on the store and the run sockets directly, so that it needs no running API."""

# ruff: noqa: PLC0415 - heavy parts are loaded when they are needed, so that every command is quick

import os
import sys

from penstock.errors import PenstockError


def main() -> None:
    """The program. Exits with 0, 1 (refused or failed: one line says why) or 2 (usage)."""
    try:
        if "--leash" in sys.argv:
            from penstock.cli.child import run

            run(sys.argv[1:])
        else:
            from penstock.cli.commands import app

            app()
    except PenstockError as error:
        sys.stderr.write(f"penstock: {error.message}\n")
        sys.exit(1)
    except BrokenPipeError:
        # Whoever read our output has left. Python must not trip over it again when it flushes.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
