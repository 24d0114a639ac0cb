"""The two forms in which one API call arrives, and how each is read and verified.

TC3: the common parameters in ``X-TC-*`` headers, the action's own as JSON, as the fields of a multipart body, or
in the query of a GET. v1: all of them, flattened, in the query or in a form; no ``X-TC-*`` header at all.
"""

import re
from functools import cached_property
from typing import Final, Protocol, TypeVar

import msgspec

from penstock.api import door
from penstock.api.http import BodyTooLarge, Head, ReadBody, media_type
from penstock.api.schema import Request
from penstock.api.tencent import codes, forms, schema, signature

#: Bytes of a body, or of a query, by the vendor's pages.
TC3_LIMIT: Final = 10 * 1024 * 1024
V1_LIMIT: Final = 1024 * 1024
QUERY_LIMIT: Final = 32 * 1024

#: What a v1 call carries beside the action's own parameters, as its names in `Common`, or unused.
V1_COMMON: Final = frozenset(
    {"Action", "Version", "Region", "Timestamp", "Nonce", "SecretId", "Signature", "SignatureMethod"}
    | {"Token", "Language", "RequestClient"}
)

R = TypeVar("R", bound=Request)


class Common(msgspec.Struct, frozen=True, kw_only=True):
    """The common parameters as they came; empty: absent."""

    action: str
    version: str
    region: str
    timestamp: str
    language: str
    token: str

    def timestamp_s(self) -> int:
        """Raise `ApiError`."""
        if not self.timestamp:
            raise codes.parameter_missing("Timestamp")
        if not re.fullmatch("[0-9]{1,11}", self.timestamp):
            raise codes.parameter_value("Timestamp", self.timestamp)
        return int(self.timestamp)


class Call(door.Call, Protocol):
    """One call, in either form. Every method may raise `ApiError`."""

    common: Common

    def verify(self, *, service: str, secret_key: str) -> None:
        """Raise unless the signature is right."""
        ...


class Tc3Call:
    """A call signed with TC3-HMAC-SHA256."""

    def __init__(self, head: Head, read: ReadBody) -> None:
        self._head = head
        self._read = read
        self._body = b""
        self.common = Common(
            action=head.header("x-tc-action"),
            version=head.header("x-tc-version"),
            region=head.header("x-tc-region"),
            timestamp=head.header("x-tc-timestamp"),
            language=head.header("x-tc-language"),
            token=head.header("x-tc-token"),
        )

    @cached_property
    def _authorization(self) -> signature.Authorization:
        return signature.authorization(self._head.header("authorization"))

    def secret_id(self) -> str:
        return self._authorization.secret_id

    async def arrive(self) -> None:
        self._body = await within(self._read, TC3_LIMIT)

    def verify(self, *, service: str, secret_key: str) -> None:
        given = self._authorization
        signature.check_scope(given, service=service, head=self._head, timestamp_s=self.common.timestamp_s())
        signature.check_tc3(
            given,
            head=self._head,
            body=self._body,
            timestamp=self.common.timestamp,
            secret_key=secret_key,
        )

    def parameters(self, kind: type[R]) -> R:
        if self._head.method == "GET":
            return schema.from_pairs(forms.pairs_of(self._head.query), kind)
        match media_type(self._head):
            case "application/json":
                return schema.from_json(self._body, kind)
            case "multipart/form-data":
                return schema.from_pairs(forms.fields_of(self._body, self._head.header("content-type")), kind)
            case other:
                raise codes.protocol_unsupported(other)


class V1Call:
    """A call signed with HmacSHA1 or HmacSHA256: everything is a text parameter."""

    def __init__(self, head: Head, pairs: list[tuple[str, str]]) -> None:
        self._head = head
        self._pairs = pairs
        self._given = dict(pairs)
        self.common = Common(
            action=self._given.get("Action", ""),
            version=self._given.get("Version", ""),
            region=self._given.get("Region", ""),
            timestamp=self._given.get("Timestamp", ""),
            language=self._given.get("Language", ""),
            token=self._given.get("Token", ""),
        )

    def secret_id(self) -> str:
        return self._required("SecretId")

    async def arrive(self) -> None:
        """All of it is here: it was needed to know what call this is."""

    def verify(self, *, service: str, secret_key: str) -> None:
        self._required("Nonce")
        method = self._given.get("SignatureMethod") or "HmacSHA1"
        if method not in signature.V1_METHODS:
            raise codes.parameter_value("SignatureMethod", method)
        signature.check_v1(
            self._required("Signature"),
            method=method,
            head=self._head,
            parameters=[pair for pair in self._pairs if pair[0] != "Signature"],
            secret_key=secret_key,
        )

    def parameters(self, kind: type[R]) -> R:
        return schema.from_pairs((pair for pair in self._pairs if pair[0] not in V1_COMMON), kind)

    def _required(self, name: str) -> str:
        if not (value := self._given.get(name)):
            raise codes.parameter_missing(name)
        return value


def recognises(head: Head) -> bool:
    """Whether a request is, or tries to be, such a call; a browser's plain GET is not."""
    return head.method not in {"GET", "HEAD"} or is_tc3(head) or "Action=" in head.query


def is_tc3(head: Head) -> bool:
    return "x-tc-action" in head.headers or head.header("authorization").startswith("TC3")


async def call_of(head: Head, read: ReadBody) -> Call:
    """The call that a request makes. Raise `ApiError`."""
    if head.method not in {"GET", "POST"}:
        raise codes.protocol_unsupported(head.method)
    if len(head.query) > QUERY_LIMIT:
        raise codes.too_large(QUERY_LIMIT)
    if is_tc3(head):
        return Tc3Call(head, read)
    if head.method == "GET":
        return V1Call(head, forms.pairs_of(head.query))
    if media_type(head) != "application/x-www-form-urlencoded":
        raise codes.parameter_missing("Action")
    return V1Call(head, forms.pairs_of(form_text(await within(read, V1_LIMIT))))


def form_text(body: bytes) -> str:
    try:
        return body.decode()
    except UnicodeDecodeError:
        raise codes.body_invalid("it is not UTF-8") from None


async def within(read: ReadBody, limit: int) -> bytes:
    try:
        return await read(limit)
    except BodyTooLarge:
        raise codes.too_large(limit) from None
