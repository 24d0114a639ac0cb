"""A signer of our own, from the vendor's pages alone: it shares no line with the product."""

import base64
import hashlib
import hmac
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote_plus

SIGNED = ("content-type", "host")


def sha256(text: bytes) -> str:
    return hashlib.sha256(text).hexdigest()


def mac(key: bytes, text: str) -> bytes:
    return hmac.new(key, text.encode(), "sha256").digest()


def tc3(
    *,
    secret_id: str,
    secret_key: str,
    host: str,
    timestamp: int,
    body: bytes = b"",
    query: str = "",
    method: str = "POST",
    service: str = "live",
    headers: Mapping[str, str],
    signed: Sequence[str] = SIGNED,
    date: str | None = None,
) -> str:
    """The Authorization header. `host` is the signed one; `headers` are the request's, any case."""
    values = {name.lower(): value for name, value in headers.items()} | {"host": host}
    unsigned = values.get("x-tc-content-sha256") == "UNSIGNED-PAYLOAD"
    canonical = "\n".join(
        [
            method,
            "/",
            query,
            "".join(f"{name}:{values[name].strip().lower()}\n" for name in signed),
            ";".join(signed),
            sha256(b"UNSIGNED-PAYLOAD" if unsigned else body),
        ]
    )
    date = date or datetime.fromtimestamp(timestamp, UTC).date().isoformat()
    scope = f"{date}/{service}/tc3_request"
    text = f"TC3-HMAC-SHA256\n{timestamp}\n{scope}\n{sha256(canonical.encode())}"
    key = mac(mac(mac(b"TC3" + secret_key.encode(), date), service), "tc3_request")
    signature = mac(key, text).hex()
    return f"TC3-HMAC-SHA256 Credential={secret_id}/{scope}, SignedHeaders={';'.join(signed)}, Signature={signature}"


def v1(*, secret_key: str, method: str, host: str, parameters: Mapping[str, str], hashed: str = "HmacSHA1") -> str:
    """The Signature parameter."""
    query = "&".join(f"{name}={parameters[name]}" for name in sorted(parameters))
    digest = hmac.new(
        secret_key.encode(), f"{method}{host}/?{query}".encode(), hashed.removeprefix("Hmac").lower()
    ).digest()
    return base64.b64encode(digest).decode()


def flattened(value: Any, prefix: str = "") -> dict[str, str]:
    """Objects and lists as the v1 form writes them: A.0.B."""
    if isinstance(value, dict):
        members = value.items()
    elif isinstance(value, list):
        members = {str(index): item for index, item in enumerate(value)}.items()
    else:
        return {prefix: str(value)}
    return {
        name: text
        for key, member in members
        for name, text in flattened(member, f"{prefix}.{key}" if prefix else key).items()
    }


def encoded(parameters: Mapping[str, str]) -> str:
    return "&".join(f"{quote_plus(name)}={quote_plus(value)}" for name, value in parameters.items())


def as_json(parameters: Any) -> bytes:
    return json.dumps(parameters).encode()


def multipart(parameters: Mapping[str, Any], boundary: str) -> bytes:
    """The body of a multipart form as the vendor's Python SDK writes it: lists and objects are JSON; none is empty."""
    body = b""
    for name, value in parameters.items():
        body += f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n'.encode()
        if isinstance(value, list | dict):
            body += b"Content-Type: application/json\r\n\r\n" + as_json(value)
        else:
            body += b"\r\n" + str(value).encode()
        body += b"\r\n"
    return body + f"--{boundary}--\r\n".encode() if body else body
