"""Requests as the endpoint receives them, signed by `signing`."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from penstock.api.http import BodyTooLarge, Head
from tests.tencent import signing

SECRET_ID = "AKIDz8krbsJ5yKBZQpn74WFkmLPx3EXAMPLE"
SECRET_KEY = "Gu5t9xGARNpq86cd98joQYCN3EXAMPLE"
HOST = "127.0.0.1:8080"
#: 2026-11-21T08:00:00Z
NOW_S = 1795248000


def reader(body: bytes) -> Callable[[int], Awaitable[bytes]]:
    """The body of a request as the server hands it over."""

    async def read(limit: int) -> bytes:
        if len(body) > limit:
            raise BodyTooLarge
        return body

    return read


def post(
    action: str,
    body: bytes,
    *,
    secret_id: str = SECRET_ID,
    secret_key: str = SECRET_KEY,
    timestamp: int = NOW_S,
    host: str = HOST,
    headers: Mapping[str, str | None] = {},
    **signer: Any,
) -> Head:
    """A TC3 POST; `headers` change the usual ones before they are signed, None takes one away."""
    usual: dict[str, str | None] = {
        "Content-Type": "application/json",
        "Host": host,
        "X-TC-Action": action,
        "X-TC-Version": "2018-08-01",
        "X-TC-Region": "ap-guangzhou",
        "X-TC-Timestamp": str(timestamp),
        "X-TC-Language": "en-US",
    }
    sent = {name: value for name, value in {**usual, **headers}.items() if value is not None}
    sent["Authorization"] = signing.tc3(
        **{
            "secret_id": secret_id,
            "secret_key": secret_key,
            "host": host,
            "timestamp": timestamp,
            "body": body,
            "headers": sent,
            **signer,
        }
    )
    return received("POST", "", sent)


def received(method: str, query: str, headers: Mapping[str, str]) -> Head:
    return Head(method=method, query=query, headers={name.lower(): value for name, value in headers.items()})
