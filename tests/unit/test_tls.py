"""The certificate of the HTTPS port: given, or our own."""

import ipaddress
import ssl
import stat
from collections.abc import Collection
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat

from penstock.api import tls
from penstock.api.certificate import own_files
from penstock.api.tls import Files
from penstock.app import certificate
from penstock.config import load
from penstock.errors import ConfigError

NOW = datetime.now(UTC)
NAMES = {"localhost", "127.0.0.1", "::1", "live.example.com"}


def make(folder: Path, names: Collection[str] = NAMES, *, now: datetime = NOW) -> Files:
    return own_files(folder / "tls", names, now=now)


def shaken(files: Files, ca: Path, host: str, *, highest: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3) -> str:
    """The version of TLS that a client which trusts `ca` alone and asks for `host` comes to speak."""
    client = ssl.create_default_context(cafile=str(ca))
    client.verify_flags |= ssl.VERIFY_X509_STRICT  # as Python 3.13 does
    client.set_ciphers("DEFAULT:@SECLEVEL=0")  # itself it would speak any version
    client.minimum_version, client.maximum_version = ssl.TLSVersion.MINIMUM_SUPPORTED, highest
    ends = [ssl.MemoryBIO() for _ in range(2)]
    server = tls.context(files).wrap_bio(ends[0], ends[1], server_side=True)
    asking = client.wrap_bio(ends[1], ends[0], server_hostname=host)
    for side in [asking, server] * 3:
        with suppress(ssl.SSLWantReadError):
            side.do_handshake()
    return str(asking.version())


class TestOwn:
    """A certificate of our own."""

    @pytest.mark.parametrize("host", sorted(NAMES))
    def test_client_that_trusts_its_authority_is_served_under_every_name(self, tmp_path: Path, host: str) -> None:
        files = make(tmp_path)
        assert shaken(files, tmp_path / "tls" / "ca.pem", host) == "TLSv1.3"

    def test_client_that_asks_for_another_name_is_not(self, tmp_path: Path) -> None:
        files = make(tmp_path)
        with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
            shaken(files, tmp_path / "tls" / "ca.pem", "evil.example.com")

    def test_client_that_trusts_another_authority_is_not(self, tmp_path: Path) -> None:
        files = make(tmp_path)
        make(tmp_path / "other")
        with pytest.raises(ssl.SSLCertVerificationError):
            shaken(files, tmp_path / "other" / "tls" / "ca.pem", "localhost")

    def test_key_is_for_our_eyes_only_and_the_authoritys_key_is_gone(self, tmp_path: Path) -> None:
        make(tmp_path)
        folder = tmp_path / "tls"
        assert {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {
            "ca.pem": 0o644,
            "server.pem": 0o644,
            "server.key": 0o600,
        }
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert [path.name for path in folder.iterdir() if b"PRIVATE KEY" in path.read_bytes()] == ["server.key"]

    def test_it_is_made_once(self, tmp_path: Path) -> None:
        before = make(tmp_path).certificate.read_bytes()
        assert make(tmp_path, {"localhost"}, now=NOW + timedelta(days=366)).certificate.read_bytes() == before

    @pytest.mark.parametrize(
        ("names", "now"),
        [({"other.example"}, NOW), (NAMES, NOW + timedelta(days=367)), (NAMES, NOW - timedelta(days=2))],
        ids=["another name", "near its end", "of the future"],
    )
    def test_it_is_made_anew_when_it_will_not_do(self, tmp_path: Path, names: set[str], now: datetime) -> None:
        before = make(tmp_path).certificate.read_bytes()
        assert make(tmp_path, names, now=now).certificate.read_bytes() != before

    @pytest.mark.parametrize("name", ["ca.pem", "server.pem", "server.key"])
    @pytest.mark.parametrize("damage", ["", "garbage", None])
    def test_it_is_made_anew_when_a_file_is_damaged(self, tmp_path: Path, name: str, damage: str | None) -> None:
        make(tmp_path)
        path = tmp_path / "tls" / name
        path.unlink() if damage is None else path.write_text(damage)
        shaken(make(tmp_path), tmp_path / "tls" / "ca.pem", "localhost")

    def test_it_is_made_anew_when_its_files_do_not_belong_together(self, tmp_path: Path) -> None:
        make(tmp_path)
        make(tmp_path / "other")
        (tmp_path / "other" / "tls" / "server.key").rename(tmp_path / "tls" / "server.key")
        shaken(make(tmp_path), tmp_path / "tls" / "ca.pem", "localhost")

    def test_name_that_no_certificate_can_hold_is_left_out(self, tmp_path: Path) -> None:
        files = make(tmp_path, {"localhost", "Büro"})
        found = x509.load_pem_x509_certificate(files.certificate.read_bytes())
        held = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        assert held.get_values_for_type(x509.DNSName) == ["localhost"]

    def test_folder_that_cannot_be_written_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "tls").write_text("")
        with pytest.raises(ConfigError, match="tls: File exists"):
            make(tmp_path)


class TestContext:
    """How TLS is done with a certificate."""

    def test_nothing_below_1_2_is_spoken(self, tmp_path: Path) -> None:
        files, ca = make(tmp_path), tmp_path / "tls" / "ca.pem"
        assert shaken(files, ca, "localhost", highest=ssl.TLSVersion.TLSv1_2) == "TLSv1.2"
        with pytest.raises(ssl.SSLError, match="UNSUPPORTED_PROTOCOL"), pytest.warns(match="TLSv1_1 is deprecated"):
            shaken(files, ca, "localhost", highest=ssl.TLSVersion.TLSv1_1)

    def test_file_that_is_not_there_is_named_with_its_setting(self, tmp_path: Path) -> None:
        files = make(tmp_path)
        nowhere = tmp_path / "nowhere.pem"
        with pytest.raises(ConfigError, match=rf"tls\.certificate: cannot read {nowhere}: No such file"):
            tls.context(Files(nowhere, files.key))
        with pytest.raises(ConfigError, match=rf"tls\.key: cannot read {nowhere}"):
            tls.context(Files(files.certificate, nowhere))

    def test_key_of_another_certificate_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match="cannot be used: key values mismatch"):
            tls.context(Files(make(tmp_path).certificate, make(tmp_path / "other").key))

    def test_file_that_is_no_certificate_is_refused(self, tmp_path: Path) -> None:
        files = make(tmp_path)
        with pytest.raises(ConfigError, match="cannot be used"):
            tls.context(Files(files.key, files.key))

    def test_key_with_a_passphrase_is_refused_and_nobody_is_asked_for_it(self, tmp_path: Path) -> None:
        files = make(tmp_path)
        key = ec.generate_private_key(ec.SECP256R1())
        files.key.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"pass")))
        with pytest.raises(ConfigError, match="cannot be used"):
            tls.context(files)


class TestSettings:
    """What the settings say."""

    def test_without_the_port_there_is_no_certificate(self, tmp_path: Path) -> None:
        assert certificate(load(tmp_path, environ={})) is None
        assert list(tmp_path.iterdir()) == []

    def test_given_files_are_taken(self, tmp_path: Path) -> None:
        environ = {"PENSTOCK_TLS_CERTIFICATE": "a.pem", "PENSTOCK_TLS_KEY": "b.pem"}
        found = certificate(load(tmp_path, environ=environ, flags={"server.https": "127.0.0.1:0"}))
        assert found == (Path("a.pem"), Path("b.pem"))

    @pytest.mark.parametrize("name", ["PENSTOCK_TLS_CERTIFICATE", "PENSTOCK_TLS_KEY"])
    def test_one_without_the_other_is_refused(self, tmp_path: Path, name: str) -> None:
        with pytest.raises(ConfigError, match="go together"):
            certificate(load(tmp_path, environ={name: "a.pem"}, flags={"server.https": "127.0.0.1:0"}))

    @pytest.mark.parametrize("where", ["127.0.0.2:0", "0.0.0.0:0", "fd:9"])
    def test_own_one_is_for_the_names_that_the_server_has(self, tmp_path: Path, where: str) -> None:
        found = certificate(
            load(tmp_path, environ={"PENSTOCK_PUBLIC_HOST": "live.example"}, flags={"server.https": where})
        )
        assert found is not None
        loaded = x509.load_pem_x509_certificate(found.certificate.read_bytes())
        assert loaded.signature_hash_algorithm is not None
        assert loaded.signature_hash_algorithm.name == hashes.SHA256.name
        held = loaded.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        assert {"localhost", "live.example"} <= set(held.get_values_for_type(x509.DNSName))
        extra = {ipaddress.ip_address("127.0.0.2")} if where.startswith("127") else set()
        addresses = {ipaddress.ip_address("127.0.0.1"), ipaddress.ip_address("::1")} | extra
        assert set(held.get_values_for_type(x509.IPAddress)) == addresses
