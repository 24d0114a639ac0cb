"""A certificate of our own making, for who has none yet.

It is signed by an authority that is made for it alone and whose key is thrown away, so that a client may trust that
authority (``DATA/tls/ca.pem``) without trusting anything else that could ever be signed by it.
"""

import contextlib
import ipaddress
import os
from collections.abc import Collection
from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID

from penstock.api import tls
from penstock.api.tls import Files
from penstock.errors import ConfigError

CA_FILE, CERTIFICATE_FILE, KEY_FILE = "ca.pem", "server.pem", "server.key"
#: How long a certificate is good, and how long before its end another one is made.
LIFE, RENEWAL = timedelta(days=397), timedelta(days=30)
#: Clients' clocks may be behind ours.
SLACK = timedelta(days=1)

_USAGES = (
    *("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement"),
    *("key_cert_sign", "crl_sign", "encipher_only", "decipher_only"),
)


def own_files(folder: Path, names: Collection[str], *, now: datetime) -> Files:
    """A certificate of our own for these names and addresses, kept in `folder`.

    It is made if there is none that holds all the names and is good for a while yet. Raise `ConfigError` if
    the folder cannot be written.
    """
    try:
        if not _serves(folder, names, now):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            _make(folder, names, now)
    except OSError as error:
        raise ConfigError(f"cannot write {error.filename}: {error.strerror}") from None
    return kept_files(folder)


def kept_files(folder: Path) -> Files:
    """Where a certificate of our own is, if it is there."""
    return Files(folder / CERTIFICATE_FILE, folder / KEY_FILE)


def end(files: Files) -> datetime:
    """Until when a certificate is good. Raise `ConfigError` if it cannot be used."""
    tls.context(files)
    return _load(files.certificate).not_valid_after_utc


def _serves(folder: Path, names: Collection[str], now: datetime) -> bool:
    """Whether the files are whole, belong together and will do for a while."""
    try:
        found, ca = (_load(folder / name) for name in (CERTIFICATE_FILE, CA_FILE))
        found.verify_directly_issued_by(ca)
        tls.context(kept_files(folder))
        held = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (OSError, ValueError, TypeError, InvalidSignature, ConfigError, x509.ExtensionNotFound):
        return False
    good = found.not_valid_before_utc <= now < found.not_valid_after_utc - RENEWAL
    return good and set(_names(names)) <= set(held)


def _load(path: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate(path.read_bytes())


def _make(folder: Path, names: Collection[str], now: datetime) -> None:
    """Write an authority, and a certificate that it has signed with the key of that."""
    ca_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    ca_name = _common_name(f"Penstock's own authority of {now:%Y-%m-%d %H:%M:%S}")
    ca = (
        _certificate(ca_name, ca_name, key=ca_key, signed_by=ca_key, now=now)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage("key_cert_sign", "crl_sign"), critical=True)
        .sign(ca_key, hashes.SHA256())
    )
    certificate = (
        _certificate(_common_name("Penstock"), ca_name, key=key, signed_by=ca_key, now=now)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage("digital_signature"), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName(_names(names)), critical=False)
        .sign(ca_key, hashes.SHA256())
    )
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    _write(folder / KEY_FILE, private, mode=0o600)
    _write(folder / CERTIFICATE_FILE, certificate.public_bytes(Encoding.PEM), mode=0o644)
    _write(folder / CA_FILE, ca.public_bytes(Encoding.PEM), mode=0o644)


def _certificate(
    subject: x509.Name,
    issuer: x509.Name,
    *,
    key: ec.EllipticCurvePrivateKey,
    signed_by: ec.EllipticCurvePrivateKey,
    now: datetime,
) -> x509.CertificateBuilder:
    """What both certificates have."""
    authority = x509.AuthorityKeyIdentifier.from_issuer_public_key(signed_by.public_key())
    return (
        x509.CertificateBuilder(issuer, subject, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - SLACK)
        .not_valid_after(now + LIFE)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(authority, critical=False)
    )


def _common_name(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])


def _usage(*allowed: str) -> x509.KeyUsage:
    return x509.KeyUsage(**{name: name in allowed for name in _USAGES})


def _names(names: Collection[str]) -> list[x509.GeneralName]:
    found: list[x509.GeneralName] = []
    for name in sorted(set(names)):
        try:
            found.append(x509.IPAddress(ipaddress.ip_address(name)))
        except ValueError:
            with contextlib.suppress(ValueError):  # beyond ASCII: no certificate can hold it as it is
                found.append(x509.DNSName(name))
    return found


def _write(path: Path, content: bytes, *, mode: int) -> None:
    """Write a file; whoever reads it sees all of it, or what was there before."""
    part = path.with_name(f".{path.name}.{os.getpid()}")
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "wb") as file:
        file.write(content)
    part.rename(path)
