"""A real PostgreSQL of the tests' own, reached by a Unix socket: no port, no password, gone with the tests."""

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Self

import psycopg

from tests.parts import postgresql_bin
from tests.patience import PATIENCE

USER = "postgres"


class PostgresServer:
    """A server that can be stopped, started and frozen. Root lets the user postgres run it: initdb wants no root."""

    def __init__(self) -> None:
        self._bin = postgresql_bin()
        self._folder = Path(tempfile.mkdtemp(prefix="penstock-pg-"))
        self._as_user: Sequence[str] = ()
        if os.geteuid() == 0:
            owner = pwd.getpwnam(USER)
            os.chown(self._folder, owner.pw_uid, owner.pw_gid)
            self._as_user = (f"--reuid={USER}", f"--regid={USER}", "--clear-groups")
        self._numbers = count(1)
        self._free: list[str] = []
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        options = ["--username", USER, "--auth", "trust", "--encoding", "UTF8", "--no-locale", "--no-sync"]
        made = subprocess.run(
            self._command("initdb", "--pgdata", self._folder / "data", *options),
            cwd="/",
            capture_output=True,
            check=False,
        )
        assert made.returncode == 0, made.stderr.decode()
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop(signal.SIGQUIT)
        shutil.rmtree(self._folder, ignore_errors=True)

    def _command(self, program: str, *arguments: str | Path) -> list[str | Path]:
        # Killed with the tests, however they end.
        return ["setpriv", "--pdeathsig", "KILL", *self._as_user, "--", self._bin / program, *arguments]

    def start(self) -> Self:
        """Start it, and wait until it answers."""
        # Nothing here outlives the machine, so nothing needs to reach the disk.
        settings = ["listen_addresses=", f"unix_socket_directories={self._folder}", "fsync=off", "max_connections=200"]
        options = [word for setting in settings for word in ("-c", setting)]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                self._command("postgres", "-D", self._folder / "data", *options), cwd="/", stdout=log, stderr=log
            )
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                self.execute("SELECT 1")
            except psycopg.OperationalError:
                assert self._process.poll() is None, self.log
                assert time.monotonic() < deadline, self.log
                time.sleep(0.05)
            else:
                return self

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """End it: SIGINT breaks all connections in order, SIGQUIT at once."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)
        self._process.send_signal(how)
        self._process.wait(PATIENCE)

    def freeze(self) -> None:
        """Every process of it stands still: connections stay and nothing answers, until `thaw`."""
        self._signal_all(signal.SIGSTOP)

    def thaw(self) -> None:
        """Go on after `freeze`."""
        self._signal_all(signal.SIGCONT)

    def _signal_all(self, number: signal.Signals) -> None:
        assert self._process is not None
        pid = self._process.pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        for one in (pid, *map(int, children)):
            os.kill(one, number)

    @property
    def log(self) -> str:
        return (self._folder / "log").read_text()

    def url(self, database: str) -> str:
        """What `database.url` says for this database."""
        return f"postgresql://{USER}@/{database}?host={self._folder}"

    def execute(self, statement: str, database: str = "postgres") -> list[tuple[object, ...]]:
        """Run a statement past the store, and commit it."""
        with psycopg.connect(self.url(database), autocommit=True) as connection:
            cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    @contextmanager
    def database(self) -> Iterator[str]:
        """The name of an empty database. It is used again: to make one costs more than to empty it."""
        if self._free:
            name = self._free.pop()
            self.empty(name)
        else:
            name = f"test_{next(self._numbers)}"
            self.execute(f"CREATE DATABASE {name}")
        yield name
        self._free.append(name)

    def empty(self, database: str) -> None:
        """Nobody may use it now; who still does is cut off."""
        self.execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{database}'")
        self.execute("DROP SCHEMA public CASCADE", database)
        self.execute("CREATE SCHEMA public", database)
