"""`penstock serve --https`: the vendor's clients are served, and the certificate can be changed under them."""

import signal
import socket
import ssl
import subprocess
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

import pytest
from tencentcloud.common.exception.tencent_cloud_sdk_exception import TencentCloudSDKException

from penstock.api.certificate import own_files
from penstock.api.tls import Files
from penstock.tasks.accounts import NewAccount
from tests.clients.programs import Form, calls
from tests.clients.test_tccli import Tccli
from tests.e2e.cloud import Cloud
from tests.e2e.conftest import PenstockServer, ServerFactory, until
from tests.e2e.running import PENSTOCK, environment, penstock
from tests.patience import PATIENCE
from tests.tencent.test_live import wish

HTTPS = ["--https", "127.0.0.1:0"]
SOURCE, SINK = "rtmp://127.0.0.1:9/live/a", "rtmp://127.0.0.1:9/live/b"


@pytest.fixture
def server(penstock_server: ServerFactory) -> PenstockServer:
    """A server with a certificate of its own making."""
    return penstock_server(workers=1, arguments=HTTPS)


def https(server: PenstockServer) -> str:
    return str(server.ready["https"])


def own_ca(server: PenstockServer) -> Path:
    """Whom a client is to trust, as the log says."""
    path = server.data / "tls" / "ca.pem"
    assert str(path) in server.log
    return path


def keys(server: PenstockServer) -> NewAccount:
    made: Any = server.account()
    return NewAccount(**{**made, "sdk_apps": ()})


def client(server: PenstockServer, ca: Path | None) -> Cloud:
    account = keys(server)
    return Cloud(https(server), account.secret_id, account.secret_key, ca=ca)


def shown(server: PenstockServer) -> str:
    """The certificate that the port shows now."""
    where = urlsplit(https(server))
    return ssl.get_server_certificate((where.hostname or "", where.port or 0), timeout=PATIENCE)


def given(folder: Path, files: Files) -> dict[str, str]:
    """Settings that name a certificate, which lies in `folder`."""
    for path, name in zip(files, ("certificate.pem", "key.pem"), strict=True):
        (folder / name).write_bytes(path.read_bytes())
    return {
        "PENSTOCK_TLS_CERTIFICATE": str(folder / "certificate.pem"),
        "PENSTOCK_TLS_KEY": str(folder / "key.pem"),
    }


def make(folder: Path) -> Files:
    """A certificate by an authority of its own."""
    return own_files(folder, {"127.0.0.1"}, now=datetime.now(UTC))


def test_python_client_works_with_the_authority_that_the_log_names(server: PenstockServer) -> None:
    cloud = client(server, own_ca(server))
    task_id = cloud.create(SOURCE, SINK)
    assert cloud.describe(task_id).Status == "enable"
    cloud.delete(task_id)


def test_python_client_that_does_not_trust_it_sends_nothing(server: PenstockServer) -> None:
    with pytest.raises(TencentCloudSDKException, match="CERTIFICATE_VERIFY_FAILED"):
        client(server, None).create(SOURCE, SINK)
    assert "api.call" not in server.log


@pytest.mark.parametrize("edition", ["mainland", "international"])
def test_node_client_works_with_one_more_authority(server: PenstockServer, edition: str) -> None:
    trust = {"PROTOCOL": "https://", "NODE_EXTRA_CA_CERTS": str(own_ca(server)), "EDITION": edition}
    endpoint: Any = SimpleNamespace(host=urlsplit(https(server)).netloc)
    lines = calls(Form(language="node", extra=trust), endpoint, keys(server), "10000")
    by_action = {line["action"]: line for line in lines[:-1]}
    assert by_action["CreateLivePullStreamTask"]["answer"]["TaskId"]
    assert by_action["DeleteLivePullStreamTask"].get("code", "") == ""
    assert lines[-1]["code"] == "InvalidParameter.TaskNotExist"


def test_go_client_works_with_the_authority_in_its_environment(server: PenstockServer) -> None:
    trust = {"PROTOCOL": "HTTPS", "SSL_CERT_FILE": str(own_ca(server))}
    made_a_task(Form(language="go", extra=trust), server)
    with pytest.raises(AssertionError, match="certificate signed by unknown authority"):
        made_a_task(Form(language="go", extra={"PROTOCOL": "HTTPS"}), server)


def test_java_client_works_with_the_authority_in_a_trust_store(server: PenstockServer, tmp_path: Path) -> None:
    form = Form(language="java", extra={"PROTOCOL": "https://"})
    with pytest.raises(AssertionError, match="'code': None"):
        made_a_task(form, server)
    assert "api.call" not in server.log
    store = tmp_path / "trust.p12"
    command = f"keytool -importcert -noprompt -alias penstock -file {own_ca(server)} -keystore {store}"
    subprocess.run([*command.split(), "-storepass", "changeit"], check=True, capture_output=True)
    trust = (f"-Djavax.net.ssl.trustStore={store}", "-Djavax.net.ssl.trustStorePassword=changeit")
    made_a_task(replace(form, options=trust), server)


def made_a_task(form: Form, server: PenstockServer) -> None:
    """A program of Tencent's creates a task over HTTPS."""
    endpoint: Any = SimpleNamespace(host=urlsplit(https(server)).netloc)
    lines = calls(form, endpoint, keys(server), "10000")
    created = next(line for line in lines if line["action"] == "CreateLivePullStreamTask")
    assert created.get("code", "") == "", created
    assert created["answer"]["TaskId"]


@pytest.mark.parametrize("environment", [".venv-tccli", ".venv-tccli-intl"])
def test_command_line_works_with_one_more_authority(server: PenstockServer, tmp_path: Path, environment: str) -> None:
    tccli = Tccli(environment, urlsplit(https(server)).netloc, own_ca(server), tmp_path)
    task_id = tccli.call(keys(server), "CreateLivePullStreamTask", **wish())["TaskId"]
    assert tccli.call(keys(server), "DescribeLivePullStreamTasks")["TaskInfos"][0]["TaskId"] == task_id


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1 is deprecated")
def test_nothing_below_tls_1_2_is_spoken(server: PenstockServer) -> None:
    asking = ssl.create_default_context(cafile=str(own_ca(server)))
    asking.set_ciphers("DEFAULT:@SECLEVEL=0")  # itself it would speak any version
    where = urlsplit(https(server))
    spoken = {}
    for version in (ssl.TLSVersion.TLSv1_1, ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        asking.minimum_version = asking.maximum_version = version
        with (
            suppress(ssl.SSLError),
            socket.create_connection((where.hostname, where.port), timeout=PATIENCE) as plain,
            asking.wrap_socket(plain, server_hostname=where.hostname) as secure,
        ):
            spoken[version] = secure.version()
    assert spoken == {ssl.TLSVersion.TLSv1_2: "TLSv1.2", ssl.TLSVersion.TLSv1_3: "TLSv1.3"}


def test_same_certificate_and_port_serve_after_a_kill_and_after_a_restart(server: PenstockServer) -> None:
    before, where = shown(server), https(server)
    server.until_replaced(server.kill("api"))
    assert (shown(server), https(server)) == (before, where)
    cloud = client(server, own_ca(server))
    cloud.create(SOURCE, SINK)
    server.restart()
    assert shown(server) == before


def test_given_certificate_is_shown_and_another_one_after_sighup(
    penstock_server: ServerFactory, tmp_path: Path
) -> None:
    old, new = make(tmp_path / "old"), make(tmp_path / "new")
    server = penstock_server(workers=1, arguments=HTTPS, env=given(tmp_path, old))
    assert shown(server) == old.certificate.read_text()
    assert not (server.data / "tls").exists()
    client(server, tmp_path / "old" / "ca.pem").create(SOURCE, SINK)

    given(tmp_path, new)
    assert shown(server) == old.certificate.read_text()
    before = server.pids
    server.process.send_signal(signal.SIGHUP)
    server.until_replaced(before["api"])
    assert shown(server) == new.certificate.read_text()
    client(server, tmp_path / "new" / "ca.pem").create(SOURCE, SINK)
    assert {**server.pids, "api": 0} == {**before, "api": 0}


def test_certificate_that_cannot_be_used_restarts_nothing_on_sighup(
    penstock_server: ServerFactory, tmp_path: Path
) -> None:
    files = make(tmp_path / "old")
    server = penstock_server(workers=1, arguments=HTTPS, env=given(tmp_path, files))
    (tmp_path / "certificate.pem").write_text("garbage")
    before = server.pids
    server.process.send_signal(signal.SIGHUP)
    until(lambda: "the API is not restarted" in server.log)
    assert "certificate.pem" in server.log
    assert server.pids == before
    assert shown(server) == files.certificate.read_text()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"PENSTOCK_TLS_CERTIFICATE": "a.pem"}, "tls.certificate and tls.key go together"),
        ({"PENSTOCK_TLS_CERTIFICATE": "a.pem", "PENSTOCK_TLS_KEY": "b.pem"}, "tls.certificate: cannot read a.pem"),
    ],
)
def test_certificate_that_cannot_be_used_ends_the_start(tmp_path: Path, settings: dict[str, str], message: str) -> None:
    ports = [word for name in ("http", "https", "media", "rtmp") for word in (f"--{name}", "127.0.0.1:0")]
    done = penstock("serve", "--data", tmp_path / "data", *ports, "--workers", "1", check=False, **settings)
    assert done.returncode == 1
    assert f"penstock: {message}" in done.stderr
    assert "Traceback" not in done.stderr


def test_api_alone_serves_https_too(penstock_server: ServerFactory, tmp_path: Path) -> None:
    server = penstock_server(start=False)
    command: list[str | Path] = [PENSTOCK, "api", "--data", str(server.data), "--http", "127.0.0.1:0", *HTTPS]
    with (tmp_path / "api.log").open("w") as log, subprocess.Popen(command, env=environment(), stderr=log) as api:
        try:
            until(lambda: "ca.pem" in (tmp_path / "api.log").read_text())
        finally:
            api.send_signal(signal.SIGTERM)
    assert api.returncode == 0
    assert (server.data / "tls" / "ca.pem").exists()
