"""What a client answers to a server that wants to know who it is: HTTP's basic and digest (RFC 7617, RFC 7616).

All is bytes, as it stands in requests and answers; RTSP says it in the same words (RFC 2326, section 14.2).
"""

import re
import secrets
from base64 import b64encode
from collections.abc import Callable, Iterable
from functools import partial
from hashlib import md5, sha256
from typing import NamedTuple, Protocol, Self
from urllib.parse import SplitResult, unquote_to_bytes

from penstock.errors import MediaError

#: How often this nonce was used: each proof has a new one.
COUNT = b"00000001"

_PARAMETER = re.compile(rb'(?<![\w-])([\w-]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^",\s]+))')
#: Where a challenge begins in a list of them.
_CHALLENGE = re.compile(rb"(?:^|,)\s*(?=(?:basic|digest)\b)", re.IGNORECASE)
_CONTROL = re.compile(rb"[\x00-\x1f\x7f]")


class Hash(Protocol):
    """What a digest is made with."""

    def hexdigest(self) -> str: ...


MakeHash = Callable[[bytes], Hash]
MD5: MakeHash = partial(md5, usedforsecurity=False)
_HASHES: dict[bytes, MakeHash] = {b"MD5": MD5, b"SHA-256": sha256}


class User(NamedTuple):
    """Who we are, to one server."""

    name: bytes
    password: bytes

    @classmethod
    def of(cls, parts: SplitResult) -> Self | None:
        """Return the user that a URL names; None: it names none."""
        if parts.username is None:
            return None
        return cls(unquote_to_bytes(parts.username), unquote_to_bytes(parts.password or ""))


def strongest(challenges: Iterable[bytes]) -> bytes:
    """Return the challenge that gives least away of what ``WWW-Authenticate`` offers, of those that we know, if any.

    Empty: nothing is offered.
    """
    offered = [one for line in challenges for one in _CHALLENGE.split(line) if one]
    return max(offered, key=_strength, default=b"")


def _strength(challenge: bytes) -> int:
    """A digest does not tell the password."""
    scheme = _scheme(challenge)
    if scheme == b"digest":
        return 2 if _algorithm(_parameters(challenge)) in _HASHES else 0
    return 1 if scheme == b"basic" else 0


def authorization(challenge: bytes, user: User, method: bytes, uri: bytes) -> bytes:
    """Return the value of ``Authorization`` that answers `challenge`. Raise `MediaError` if nothing does."""
    scheme = _scheme(challenge)
    if scheme == b"basic":
        return b"Basic " + b64encode(user.name + b":" + user.password)
    if scheme != b"digest":
        raise MediaError("the server wants a login of a kind that is not known")
    asked = _parameters(challenge)
    algorithm = _algorithm(asked)
    make = _HASHES.get(algorithm)
    if make is None:
        raise MediaError(f"the server wants a digest by {algorithm.decode('latin-1')[:32]}, which we do not know")
    realm, nonce = asked.get(b"realm", b""), asked.get(b"nonce", b"")
    protected = b"auth" in asked.get(b"qop", b"").replace(b" ", b"").split(b",")
    ours = secrets.token_hex(8).encode() if protected else b""
    proof = response(make, user, realm, method, uri, nonce, ours)
    fields = {b"username": user.name, b"realm": realm, b"nonce": nonce, b"uri": uri, b"response": proof}
    fields |= {b"cnonce": ours} if protected else {}
    fields |= {b"opaque": asked[b"opaque"]} if b"opaque" in asked else {}
    parts = [name + b"=" + _quoted(value) for name, value in fields.items()]
    parts += [b"qop=auth", b"nc=" + COUNT] if protected else []
    parts += [b"algorithm=" + algorithm] if b"algorithm" in asked else []
    return b"Digest " + b", ".join(parts)


def response(make: MakeHash, user: User, realm: bytes, method: bytes, uri: bytes, nonce: bytes, ours: bytes) -> bytes:
    """Return the proof that a digest carries. `ours`: our own nonce; empty: none is asked for (RFC 2069)."""

    def digest(*parts: bytes) -> bytes:
        return make(b":".join(parts)).hexdigest().encode()

    secret, what = digest(user.name, realm, user.password), digest(method, uri)
    return digest(secret, nonce, *((COUNT, ours, b"auth") if ours else ()), what)


def _scheme(challenge: bytes) -> bytes:
    return challenge.partition(b" ")[0].lower()


def _parameters(challenge: bytes) -> dict[bytes, bytes]:
    found = _PARAMETER.findall(challenge)
    return {name.lower(): re.sub(rb"\\(.)", rb"\1", quoted) or bare for name, quoted, bare in found}


def _algorithm(parameters: dict[bytes, bytes]) -> bytes:
    return parameters.get(b"algorithm", b"MD5").upper()


def _quoted(value: bytes) -> bytes:
    if _CONTROL.search(value):
        raise MediaError("a control character cannot be told in a login")
    return b'"' + re.sub(rb'(["\\])', rb"\\\1", value) + b'"'
