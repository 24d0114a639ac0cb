"""Tencent's command lines, which speak HTTPS only and trust only their own certifi, work once it has our authority."""

import asyncio
import json
import os
import re
import shutil
import socket
import subprocess
from collections.abc import Iterator
from concurrent.futures import CancelledError
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest

from penstock.api import tls
from penstock.api.certificate import CA_FILE, own_files
from penstock.api.server import serve
from penstock.tasks.accounts import NewAccount
from tests.clients.test_calls import same_task
from tests.endpoint import Endpoint
from tests.patience import PATIENCE
from tests.tencent.client import Client
from tests.tencent.test_live import SOURCE, described, wish

ROOT = Path(__file__).parents[2]
#: Both say that something is wrong in these words.
REFUSAL = re.compile(r"\[TencentCloudSDKException\] code:(\S+) message:(.*) requestId:(\S+)")


def trusting(python: Path, authority: Path, folder: Path) -> Path:
    """A folder for PYTHONPATH: the certifi of that Python's environment, which also trusts the authority."""
    where = subprocess.run([python, "-m", "certifi"], capture_output=True, text=True, check=True).stdout.strip()
    shutil.copytree(Path(where).parent, folder / "certifi")
    with (folder / "certifi" / "cacert.pem").open("ab") as trusted:
        trusted.write(authority.read_bytes())
    return folder


class Tccli:
    """A command line as a user has it, with keys in its environment and a home of its own."""

    def __init__(self, environment: str, host: str, authority: Path, folder: Path) -> None:
        self._host = host
        self._bin = ROOT / environment / "bin"
        (folder / "home").mkdir()
        self.env = {
            "HOME": str(folder / "home"),
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(trusting(self._bin / "python", authority, folder / "trust")),
        }

    def run(self, account: NewAccount, action: str, **parameters: Any) -> subprocess.CompletedProcess[str]:
        """What the command printed."""
        options = [
            word
            for name, value in parameters.items()
            for word in (f"--{name}", value if isinstance(value, str) else json.dumps(value))
        ]
        keys = {"TENCENTCLOUD_SECRET_ID": account.secret_id, "TENCENTCLOUD_SECRET_KEY": account.secret_key}
        return subprocess.run(
            [self._bin / "tccli", "live", action, "--endpoint", self._host, "--region", "ap-singapore", *options],
            env={**self.env, **keys},
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )

    def call(self, account: NewAccount, action: str, **parameters: Any) -> dict[str, Any]:
        """The answer."""
        done = self.run(account, action, **parameters)
        assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr
        answer: dict[str, Any] = json.loads(done.stdout)
        return answer

    def refused(self, account: NewAccount, action: str, **parameters: Any) -> tuple[str, str]:
        """Code and message of a call that must fail."""
        done = self.run(account, action, **parameters)
        assert done.returncode != 0
        found = REFUSAL.search(done.stdout + done.stderr)
        assert found, done.stdout + done.stderr
        assert len(found[3]) == 36
        return found[1], found[2]


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of the authority that signed the endpoint's certificate, which lies beside it."""
    folder = tmp_path_factory.mktemp("tls")
    own_files(folder, {"127.0.0.1"}, now=datetime.now(UTC))
    return folder / CA_FILE


@pytest.fixture(scope="module")
def https(endpoint: Endpoint, authority: Path) -> Iterator[str]:
    """Where the endpoint is served over HTTPS, too."""
    files = own_files(authority.parent, {"127.0.0.1"}, now=datetime.now(UTC))
    sock = socket.create_server(("127.0.0.1", 0))
    host = "{}:{}".format(*sock.getsockname())
    serving = asyncio.run_coroutine_threadsafe(serve(endpoint.app, sock, tls.context(files)), endpoint._loop)
    yield host
    serving.cancel()
    with pytest.raises(CancelledError):
        serving.result(10)


@pytest.fixture(params=[".venv-tccli", ".venv-tccli-intl"])
def tccli(request: pytest.FixtureRequest, https: str, authority: Path, tmp_path: Path) -> Tccli:
    return Tccli(request.param, https, authority, tmp_path)


def test_a_task_is_created_changed_described_and_deleted(tccli: Tccli, account: NewAccount) -> None:
    asked = wish(Comment="a + b = ü & c_d%", CallbackEvents=["TaskStart", "TaskExit"], VodLoopTimes="3")
    task_id = tccli.call(account, "CreateLivePullStreamTask", **asked)["TaskId"]
    named = {"TaskId": task_id}
    tccli.call(account, "RestartLivePullStreamTask", Operator="noon", **named)
    tccli.call(account, "ModifyLivePullStreamTask", Operator="night", Status="pause", VodLoopTimes=5, **named)
    page = tccli.call(account, "DescribeLivePullStreamTasks", PageNum=1, PageSize=20, **named)
    tccli.call(account, "DeleteLivePullStreamTask", Operator="night", **named)

    [info] = page["TaskInfos"]
    assert (page["TotalNum"], page["PageSize"]) == (1, 20)
    assert (info["TaskId"], info["SourceUrls"], info["Comment"]) == (task_id, [SOURCE], asked["Comment"])
    assert (info["VodLoopTimes"], info["Status"], info["UpdateBy"]) == (5, "pause", "night")
    assert tccli.call(account, "DescribeLivePullStreamTasks")["TotalNum"] == 0
    assert tccli.refused(account, "DeleteLivePullStreamTask", Operator="a", **named)[0] == (
        "InvalidParameter.TaskNotExist"
    )


def test_a_running_task_is_read(tccli: Tccli, endpoint: Endpoint, account: NewAccount, running: str) -> None:
    page = tccli.call(account, "DescribeLivePullStreamTasks", TaskId=running)

    same_task(page["TaskInfos"], described(Client(endpoint, account), running))


def test_the_mainlands_reads_how_a_task_runs(
    https: str, authority: Path, tmp_path: Path, account: NewAccount, running: str
) -> None:
    mainland = Tccli(".venv-tccli", https, authority, tmp_path)
    status = mainland.call(account, "DescribeLivePullStreamTaskStatus", TaskId=running)["TaskStatusInfo"]

    assert (status["RunStatus"], status["FileUrl"], status["OffsetTime"]) == ("active", SOURCE, 95)


def test_a_wrong_secret_is_told(tccli: Tccli, account: NewAccount) -> None:
    stranger = msgspec.structs.replace(account, secret_key="wrong")

    assert tccli.refused(stranger, "DescribeLivePullStreamTasks")[0] == "AuthFailure.SignatureFailure"


def test_a_certificate_that_is_not_trusted_is_refused(tccli: Tccli, account: NewAccount) -> None:
    """So the other tests show that it is checked."""
    del tccli.env["PYTHONPATH"]
    done = tccli.run(account, "DescribeLivePullStreamTasks")

    assert done.returncode != 0
    assert "CERTIFICATE_VERIFY_FAILED" in done.stdout + done.stderr
