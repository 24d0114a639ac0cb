"""One connection to the endpoint, as a client without manners uses it."""

import contextlib
import json
import re
import socket
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

from penstock.tasks.accounts import NewAccount
from tests.patience import PATIENCE
from tests.tencent import heads, signing

LIST = "DescribeLivePullStreamTasks"
FORM = "application/x-www-form-urlencoded"


class Line:
    """One connection, as a client without manners uses it."""

    def __init__(self, address: tuple[str, int], account: NewAccount, now_s: int | None = None) -> None:
        self.socket = socket.create_connection(address, timeout=PATIENCE)
        self._reader = self.socket.makefile("rb")
        self._host = "{}:{}".format(*address)
        self._account = account
        self._now_s = now_s or int(time.time())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._reader.close()
        self.socket.close()

    def head(self, body: bytes, *, action: str = LIST, lines: Sequence[bytes] = (), **headers: str | None) -> bytes:
        """The head of a call with this body, well signed; `lines` are more of its headers."""
        changes = {name.replace("_", "-"): value for name, value in headers.items()}
        head = heads.post(
            action,
            body,
            secret_id=self._account.secret_id,
            secret_key=self._account.secret_key,
            timestamp=self._now_s,
            host=self._host,
            headers=changes,
        )
        named = {"content-length": str(len(body)), **head.headers}
        written = [f"{name}: {value}".encode("latin-1") for name, value in named.items()]
        return b"\r\n".join([b"POST / HTTP/1.1", *written, *lines, b"", b""])

    def post(self, body: bytes, **options: Any) -> dict[str, Any]:
        """The ``Response`` of a call with this body."""
        return self.exchange(self.head(body, **options) + body)

    def v1(self, method: str, **parameters: str) -> dict[str, Any]:
        """The ``Response`` of a call in the old form."""
        given = {
            "Action": LIST,
            "Version": "2018-08-01",
            "Region": "ap-guangzhou",
            "Language": "en-US",
            "Nonce": "1",
            "SecretId": self._account.secret_id,
            "Timestamp": str(self._now_s),
            **parameters,
        }
        given["Signature"] = signing.v1(
            secret_key=self._account.secret_key, method=method, host=self._host, parameters=given
        )
        text = signing.encoded(given)
        target, body = (f"/?{text}", "") if method == "GET" else ("/", text)
        head = f"{method} {target} HTTP/1.1\r\nHost: {self._host}\r\nContent-Type: {FORM}\r\n"
        return self.exchange(f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode())

    def exchange(self, request: bytes) -> dict[str, Any]:
        self.socket.sendall(request)
        status, body = self.answer()
        assert (status, b"Traceback" in body) == (200, False)
        response: dict[str, Any] = json.loads(body)["Response"]
        assert re.fullmatch(r"[0-9a-f-]{36}", response["RequestId"])
        return response

    def answer(self) -> tuple[int, bytes]:
        """Status and body of the next answer; the status is 0 if the connection ends instead."""
        with contextlib.suppress(ConnectionError):
            if status := self._reader.readline():
                length = 0
                while (line := self._reader.readline()) not in (b"\r\n", b""):
                    name, _, value = line.partition(b":")
                    length = int(value) if name.lower() == b"content-length" else length
                return int(status.split()[1]), self._reader.read(length)
        return 0, b""


def memory_mb(pid: int) -> float:
    """The most memory that a process has had."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found
    return int(found[1]) / 1024
