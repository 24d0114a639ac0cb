"""Secrets at rest: sealed with AES-256-GCM under one key, which lives outside of the database.

The key is the setting ``security.key``, or the file ``DATA/secret.key``, made at the first start.
"""

import base64
import binascii
import hmac
import os
import secrets
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from penstock.errors import ConfigError, StoreError

KEY_FILE = "secret.key"
KEY_BYTES = 32
_NONCE_BYTES = 12


class Sealer:
    """Seals and opens values; each is bound to a context, so that none can be put in another's place."""

    def __init__(self, key: bytes) -> None:
        """`key`: 32 bytes. Raise `ConfigError` for another length."""
        if len(key) != KEY_BYTES:
            raise ConfigError(f"The security key must have {KEY_BYTES} bytes, as 64 hex digits or in base64.")
        self._cipher = AESGCM(key)
        self._marking = derive(key, "affinity")

    def seal(self, plain: bytes, context: str) -> bytes:
        """A nonce and the ciphertext. `context` names table, column and row, and is not kept."""
        nonce = os.urandom(_NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, plain, context.encode())

    def open(self, sealed: bytes, context: str) -> bytes:
        """What was sealed in this context. Raise `StoreError` if this was not, or not under this key."""
        try:
            return self._cipher.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], context.encode())
        except (InvalidTag, ValueError) as error:
            raise StoreError(f"A secret in the database cannot be opened ({context}).") from error

    def mark(self, text: str) -> str:
        """What is equal for equal texts, and tells nothing else of them."""
        return hmac.digest(self._marking, text.encode(), "sha256").hex()


def parse_key(text: str) -> bytes:
    """The key that stands in a setting or a key file: 64 hex digits, or base64. Raise `ConfigError`."""
    text = text.strip()
    try:
        return bytes.fromhex(text) if len(text) == 2 * KEY_BYTES else base64.b64decode(text, validate=True)
    except (ValueError, binascii.Error):
        raise ConfigError("The security key is neither 64 hex digits nor base64.") from None


def derive(key: bytes, purpose: str) -> bytes:
    """A key for another purpose, from which neither `key` nor those for other purposes can be told."""
    return hmac.digest(key, purpose.encode(), "sha256")


def load_sealer(data: Path, security_key: str | None, *, fresh: bool) -> Sealer:
    """As `load_key`, what seals with it."""
    return Sealer(load_key(data, security_key, fresh=fresh))


def load_key(data: Path, security_key: str | None, *, fresh: bool = False) -> bytes:
    """The key of this DATA: `security_key`, else what stands in its key file.

    The file is made if it is absent and `fresh` says that there is no database yet; to make another one for
    a database that exists would lose every secret in it. Raise `ConfigError`.
    """
    if security_key:
        return parse_key(security_key)
    path = data / KEY_FILE
    try:
        if fresh and not path.exists():
            _write_new(path, base64.b64encode(secrets.token_bytes(KEY_BYTES)) + b"\n")
        return parse_key(path.read_text("ascii", "replace"))
    except FileNotFoundError:
        raise ConfigError(
            f"There is a database but not its key: put {path} back, or set PENSTOCK_SECURITY_KEY."
        ) from None
    except OSError as error:
        raise ConfigError(f"The key file {path} cannot be used: {error.strerror}.") from error


def _write_new(path: Path, content: bytes) -> None:
    """Write a file that only we may read; whole or not at all, also if the machine stops now."""
    part = path.with_suffix(".part")
    part.unlink(missing_ok=True)
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    part.rename(path)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
