"""Signatures of Tencent Cloud API 3.0: TC3-HMAC-SHA256, and the old HmacSHA1 and HmacSHA256; pure functions.

What clients really send is less uniform than the vendor's pages: some sign the host without the port that
they send, and some put the first label of the host where the service belongs. Both are accepted; nothing
else is.
"""

import base64
import hashlib
import hmac
import re
import time
from collections.abc import Iterable
from functools import lru_cache
from typing import Final

import msgspec

from penstock.api.http import Head
from penstock.api.tencent import codes

#: How far a request's time may lie from ours, in seconds, in both directions.
WINDOW_S: Final = 300

UNSIGNED_PAYLOAD: Final = "UNSIGNED-PAYLOAD"

V1_METHODS: Final = {"HmacSHA1": "sha1", "HmacSHA256": "sha256"}


class Authorization(msgspec.Struct, frozen=True, kw_only=True):
    """The parts of a TC3 Authorization header."""

    secret_id: str
    date: str
    service: str
    signed_headers: tuple[str, ...]
    signature: str


_AUTHORIZATION = re.compile(
    r"TC3-HMAC-SHA256\s+Credential=(?P<secret_id>[^/\s,]+)/(?P<date>[^/\s,]+)/(?P<service>[^/\s,]+)/tc3_request\s*,"
    r"\s*SignedHeaders=(?P<signed>[^\s,]+)\s*,\s*Signature=(?P<signature>[0-9a-f]{64})"
)


def authorization(header: str) -> Authorization:
    """Read the header. Raise `ApiError`."""
    found = _AUTHORIZATION.fullmatch(header)
    if not found:
        raise codes.authorization_invalid("it is not of the form that TC3-HMAC-SHA256 prescribes")
    signed = tuple(found["signed"].lower().split(";"))
    if not {"host", "content-type"} <= set(signed):
        raise codes.authorization_invalid("content-type and host must be signed")
    return Authorization(
        secret_id=found["secret_id"],
        date=found["date"],
        service=found["service"],
        signed_headers=signed,
        signature=found["signature"],
    )


def check_time(timestamp_s: int, now_s: float) -> None:
    """Raise `ApiError` if the two are too far apart."""
    if abs(now_s - timestamp_s) > WINDOW_S:
        raise codes.signature_expired()


def check_scope(given: Authorization, *, service: str, head: Head, timestamp_s: int) -> None:
    """Raise `ApiError` unless the credential's scope is that of this request."""
    if given.date != time.strftime("%Y-%m-%d", time.gmtime(timestamp_s)):
        raise codes.authorization_invalid("its date is not that of X-TC-Timestamp")
    labels = {host.partition(".")[0] for host in hosts(head)}
    if given.service != service and given.service.lower() not in labels:
        raise codes.authorization_invalid(f"its scope is not `{service}`")


def check_tc3(given: Authorization, *, head: Head, body: bytes, timestamp: str, secret_key: str) -> None:
    """Raise `ApiError` unless the signature is right."""
    unknown = [name for name in given.signed_headers if name not in head.headers]
    if unknown:
        raise codes.authorization_invalid("a signed header is not in the request")
    payload = body
    if head.header("x-tc-content-sha256") == UNSIGNED_PAYLOAD:
        payload = UNSIGNED_PAYLOAD.encode()
    key = signing_key(secret_key, given.date, given.service)
    scope = f"{given.date}/{given.service}/tc3_request"
    check_any(
        given.signature,
        (
            hmac.digest(key, f"TC3-HMAC-SHA256\n{timestamp}\n{scope}\n{digest}".encode(), "sha256").hex()
            for host in hosts(head)
            for digest in [hashlib.sha256(canonical_request(given, head, host, payload)).hexdigest()]
        ),
    )


@lru_cache(4096)
def signing_key(secret_key: str, date: str, service: str) -> bytes:
    """What signs all of a day's calls to a service: it stays the same, and costs as much as all the rest."""
    key = f"TC3{secret_key}".encode()
    for part in (date, service, "tc3_request"):
        key = hmac.digest(key, part.encode(), "sha256")
    return key


def canonical_request(given: Authorization, head: Head, host: str, payload: bytes) -> bytes:
    """What the client must have hashed, if it signed this host."""
    values = {name: head.headers[name].encode("latin-1").strip().lower() for name in given.signed_headers}
    values["host"] = host.encode("latin-1")
    lines = [
        head.method.encode(),
        b"/",
        head.query.encode("latin-1") if head.method == "GET" else b"",
        *(name.encode("latin-1") + b":" + values[name] for name in given.signed_headers),
        b"",
        ";".join(given.signed_headers).encode("latin-1"),
        hashlib.sha256(payload).hexdigest().encode(),
    ]
    return b"\n".join(lines)


def check_v1(given: str, *, method: str, head: Head, parameters: Iterable[tuple[str, str]], secret_key: str) -> None:
    """Raise `ApiError` unless the signature is right. `parameters` are decoded and without ``Signature``."""
    pairs = sorted((name.replace("_", "."), value) for name, value in parameters)
    query = "&".join(f"{name}={value}" for name, value in pairs)
    check_any(
        given,
        (
            base64.b64encode(
                hmac.digest(secret_key.encode(), f"{head.method}{host}/?{query}".encode(), V1_METHODS[method])
            ).decode()
            for host in hosts(head)
        ),
    )


def check_any(given: str, expected: Iterable[str]) -> None:
    """Raise `ApiError` unless one of them was given. How long it takes tells nothing of what they are."""
    if not any(hmac.compare_digest(given.encode(), one.encode()) for one in expected):
        raise codes.signature_wrong()


def hosts(head: Head) -> tuple[str, ...]:
    """The host as received, and without its port."""
    host = head.header("host").lower()
    return tuple(dict.fromkeys((host, re.sub(r":\d+$", "", host))))
