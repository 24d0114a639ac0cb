"""Signs calls as the vendor's pages say, apart from the server's own code, and sends them."""

import asyncio
import base64
import hashlib
import hmac
import http.client
import json
import time
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple, Protocol
from urllib.parse import quote, urlencode

from penstock.tasks.accounts import NewAccount, add_domain
from penstock.tasks.model import Area
from tests.endpoint import Endpoint
from tests.patience import PATIENCE

VERSION = "2016-11-01"
SET, DESCRIBE = "SetLiveStreamPreloadTasks", "DescribeLiveStreamPreloadTasks"


class Called(Protocol):
    """Where calls go, and the time there in Unix ms."""

    @property
    def address(self) -> tuple[str, int]: ...
    @property
    def host(self) -> str: ...
    def now(self) -> int: ...


class Served:
    """The API of a server that runs by itself."""

    def __init__(self, url: str) -> None:
        self.host = url.removeprefix("http://")
        name, _, port = self.host.rpartition(":")
        self.address = name, int(port)

    def now(self) -> int:
        return time.time_ns() // 1_000_000


class Answer(NamedTuple):
    """What came back."""

    status: int
    kind: str
    body: bytes

    @property
    def tree(self) -> dict[str, Any]:
        tree: dict[str, Any] = json.loads(self.body)
        return tree

    @property
    def refusal(self) -> tuple[int, str]:
        return self.status, self.tree["Code"]


def utc(at: int) -> str:
    """Unix milliseconds."""
    return datetime.fromtimestamp(at / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def encode(text: str) -> str:
    return quote(text, safe="-_.~")


class Signer:
    """An account's calls; whatever is given in place of a common parameter is sent, None: left out."""

    def __init__(self, endpoint: Called, account: NewAccount) -> None:
        self.endpoint = endpoint
        self.account = account

    def v1(
        self,
        action: str = DESCRIBE,
        parameters: Mapping[str, str] | None = None,
        *,
        method: str = "GET",
        headers: Mapping[str, str] | None = None,
        **common: str | None,
    ) -> Answer:
        """GET with all in the query, or POST with all in a form."""
        given: dict[str, str | None] = {
            "Action": action,
            "Version": VERSION,
            "Format": "JSON",
            "AccessKeyId": self.account.secret_id,
            "SignatureMethod": "HMAC-SHA1",
            "SignatureVersion": "1.0",
            "SignatureNonce": str(uuid.uuid4()),
            "Timestamp": utc(self.endpoint.now()),
            **(parameters or {}),
        }
        signature = common.pop("Signature", "")
        pairs = {name: value for name, value in (given | common).items() if value is not None}
        query = "&".join(f"{encode(name)}={encode(pairs[name])}" for name in sorted(pairs))
        text = f"{method}&%2F&{encode(query)}"
        mac = hmac.digest(f"{self.account.secret_key}&".encode(), text.encode(), "sha1")
        if signature is not None:
            pairs["Signature"] = signature or base64.b64encode(mac).decode()
        form = urlencode(pairs)
        if method == "POST":
            kind = {"Content-Type": "application/x-www-form-urlencoded"}
            return self.send(method, "/", {**kind, **(headers or {})}, form.encode())
        return self.send(method, f"/?{form}", headers or {})

    def v3(
        self,
        action: str = DESCRIBE,
        parameters: Mapping[str, str] | None = None,
        *,
        method: str = "POST",
        body: bytes = b"",
        unsigned: tuple[str, ...] = (),
        **changed: str | None,
    ) -> Answer:
        """Parameters in the query. `unsigned`: headers that are sent and not signed."""
        given: dict[str, str | None] = {
            "host": self.endpoint.host,
            "x-acs-action": action,
            "x-acs-version": VERSION,
            "x-acs-date": utc(self.endpoint.now()),
            "x-acs-signature-nonce": str(uuid.uuid4()),
            "x-acs-content-sha256": hashlib.sha256(body).hexdigest(),
        }
        authorization = changed.pop("authorization", "")
        given |= {name.replace("_", "-"): value for name, value in changed.items()}
        headers = {name: value for name, value in given.items() if value is not None}
        query = "&".join(f"{encode(name)}={encode(value)}" for name, value in sorted((parameters or {}).items()))
        signed = sorted(set(headers) - set(unsigned))
        lines = [method, "/", query, *(f"{name}:{headers[name]}" for name in signed), "", ";".join(signed)]
        request = "\n".join([*lines, hashlib.sha256(body).hexdigest()])
        text = f"ACS3-HMAC-SHA256\n{hashlib.sha256(request.encode()).hexdigest()}"
        mac = hmac.digest(self.account.secret_key.encode(), text.encode(), "sha256").hex()
        key = self.account.secret_id
        right = f"ACS3-HMAC-SHA256 Credential={key},SignedHeaders={';'.join(signed)},Signature={mac}"
        return self.send(method, f"/?{query}", {**headers, "Authorization": authorization or right}, body)

    def send(self, method: str, path: str, headers: Mapping[str, str], body: bytes = b"") -> Answer:
        connection = http.client.HTTPConnection(*self.endpoint.address, timeout=PATIENCE)
        try:
            connection.request(method, path, body or None, dict(headers))
            response = connection.getresponse()
            return Answer(response.status, response.headers.get("content-type", ""), response.read())
        finally:
            connection.close()


def signer_of(url: str, made: Mapping[str, Any]) -> Signer:
    """For the API at `url` and the account that `penstock account create --json` told of."""
    keys = {name: made[name] for name in ("name", "app_id", "secret_id", "secret_key")}
    return Signer(Served(url), NewAccount(**keys, sdk_apps=()))


def domain_of(endpoint: Endpoint, account: NewAccount) -> str:
    """A domain of the account, whose audience is at home."""
    name = f"{account.name}.example.com"
    asyncio.run(add_domain(endpoint.store, name, account.name, area=Area.DOMESTIC))
    return name
