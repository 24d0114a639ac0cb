"""Signatures of Alibaba Cloud's RPC style: v1 (HMAC-SHA1) and v3 (ACS3-HMAC-SHA256); pure functions.

Both sign the parameters decoded and encoded anew by RFC 3986, since clients do not agree on how to send them.
"""

import base64
import hashlib
import hmac
import re
from collections.abc import Iterable
from typing import Final
from urllib.parse import quote

import msgspec

from penstock.api.aliyun import codes
from penstock.api.http import Head
from penstock.tasks import times

#: How far a request's time may lie from ours, in ms, in both directions.
WINDOW: Final = 15 * times.MINUTE
#: Headers that every call of v3 must sign.
MUST_SIGN: Final = frozenset(
    {"host", "x-acs-action", "x-acs-version", "x-acs-date", "x-acs-signature-nonce", "x-acs-content-sha256"}
)
#: Longest nonce, in characters.
MAX_NONCE: Final = 256

Pairs = Iterable[tuple[str, str]]


class Authorization(msgspec.Struct, frozen=True, kw_only=True):
    """The parts of an ACS3 Authorization header."""

    access_key_id: str
    signed_headers: tuple[str, ...]
    signature: str


_AUTHORIZATION = re.compile(
    r"ACS3-HMAC-SHA256\s+Credential=(?P<key>[^\s,]+)\s*,\s*SignedHeaders=(?P<signed>[^\s,]+)\s*,"
    r"\s*Signature=(?P<signature>[0-9a-f]{64})"
)


def authorization(header: str) -> Authorization:
    """Read the header. Raise `ApiError`."""
    found = _AUTHORIZATION.fullmatch(header)
    if not found:
        raise codes.signature_incomplete("its Authorization is not of the form of ACS3-HMAC-SHA256")
    signed = tuple(found["signed"].lower().split(";"))
    if unsigned := MUST_SIGN.difference(signed):
        raise codes.signature_incomplete(f"it does not sign {', '.join(sorted(unsigned))}")
    return Authorization(access_key_id=found["key"], signed_headers=signed, signature=found["signature"])


def check_time(text: str, now: int) -> None:
    """Raise `ApiError` if the time, as the caller wrote it, is malformed or too far from `now` (Unix ms)."""
    try:
        at = times.parse_utc(text)
    except ValueError:
        raise codes.time_malformed() from None
    if abs(now - at) > WINDOW:
        raise codes.time_expired()


def check_v1(given: str, *, method: str, parameters: Pairs, secret_key: str) -> None:
    """Raise `ApiError` unless the signature is right. `parameters` are decoded and without ``Signature``."""
    text = f"{method}&%2F&{encoded(canonical_query(parameters))}"
    expected = base64.b64encode(hmac.digest(f"{secret_key}&".encode(), text.encode(), "sha1"))
    if not hmac.compare_digest(given.encode(), expected):
        raise codes.signature_wrong(text)


def check_v3(given: Authorization, *, head: Head, query: Pairs, body: bytes, secret_key: str) -> None:
    """Raise `ApiError` unless the signature is right, and that of this body."""
    if any(name not in head.headers for name in given.signed_headers):
        raise codes.signature_incomplete("a signed header is not in the request")
    payload = hashlib.sha256(body).hexdigest()
    lines = [
        head.method,
        "/",
        canonical_query(query),
        *(f"{name}:{head.header(name)}" for name in given.signed_headers),
        "",
        ";".join(given.signed_headers),
        payload,
    ]
    request = "\n".join(lines).encode("latin-1", "replace")
    text = f"ACS3-HMAC-SHA256\n{hashlib.sha256(request).hexdigest()}"
    expected = hmac.digest(secret_key.encode(), text.encode(), "sha256").hex()
    if head.header("x-acs-content-sha256") != payload or not hmac.compare_digest(given.signature, expected):
        raise codes.signature_wrong(text)


def canonical_query(parameters: Pairs) -> str:
    """The parameters by their names, encoded."""
    return "&".join(f"{encoded(name)}={encoded(value)}" for name, value in sorted(parameters))


def encoded(text: str) -> str:
    """Percent-encoded by RFC 3986."""
    return quote(text, safe="~")
