"""TLS for the HTTPS port."""

import ssl
from pathlib import Path
from typing import NamedTuple

from penstock.errors import ConfigError


class Files(NamedTuple):
    """A certificate chain and its private key, in PEM."""

    certificate: Path
    key: Path


def context(files: Files) -> ssl.SSLContext:
    """What TLS is done with: version 1.2 or later. Raise `ConfigError` if the files cannot be used."""
    for name, path in zip(("tls.certificate", "tls.key"), files, strict=True):
        try:
            path.read_bytes()
        except OSError as error:
            raise ConfigError(f"{name}: cannot read {path}: {error.strerror}") from None
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.minimum_version = ssl.TLSVersion.TLSv1_2
    made.set_alpn_protocols(["http/1.1"])
    try:
        # An empty passphrase: a server cannot ask for one.
        made.load_cert_chain(*files, password="")
    except (ssl.SSLError, ValueError) as error:
        reason = str(getattr(error, "reason", None) or error).lower().replace("_", " ")
        raise ConfigError(
            f"tls.certificate, tls.key: {files.certificate} and {files.key} cannot be used: {reason}"
        ) from None
    return made
