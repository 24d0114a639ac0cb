"""The two forms in which one API call arrives, and how each is read and verified.

v3: the common parameters in ``x-acs-*`` headers and an ``ACS3`` Authorization. v1: all of them among the parameters,
whatever headers there are. Either has its parameters in the query, in a form, or in both.
"""

import re
from functools import cached_property
from typing import Final, Protocol, TypeVar

from penstock.api import door, schema
from penstock.api.aliyun import codes, signature
from penstock.api.http import BodyTooLarge, Head, ReadBody, media_type, pairs_of
from penstock.api.schema import Misfit, Request

#: Bytes of a body.
BODY_LIMIT: Final = 1024 * 1024
FORM: Final = "application/x-www-form-urlencoded"

#: What only this vendor's calls carry among their parameters.
_OURS = re.compile(r"(?:^|&)(?:AccessKeyId|SignatureNonce|SignatureVersion|Version=2016-11-01(?:&|$))")

R = TypeVar("R", bound=Request)
Pairs = list[tuple[str, str]]


class Call(door.Call, Protocol):
    """One call, in either form. Every method may raise `ApiError`."""

    action: str
    version: str
    #: Of temporary credentials.
    token: str

    @property
    def time(self) -> str:
        """As the caller wrote it."""
        ...

    @property
    def nonce(self) -> str: ...

    def verify(self, secret_key: str) -> None:
        """Raise unless the signature is right."""
        ...


class _Parameters:
    """A call's parameters, which are texts."""

    def __init__(self, pairs: Pairs) -> None:
        self._pairs = pairs
        self._given = dict(pairs)

    async def arrive(self) -> None:
        """All of it is here: it was needed to know what call this is."""

    def parameters(self, kind: type[R]) -> R:
        """Those that the action knows; others are nobody's business, and empty ones count as absent."""
        names = {field.encode_name for field in schema.fields_of(kind)}
        known = {name: value for name, value in self._given.items() if name in names and value}
        try:
            return schema.converted(known, kind, strict=False)
        except Misfit as error:
            if error.fault == "missing":
                raise codes.parameter_missing(error.name) from None
            raise codes.parameter_invalid(error.name, error.value) from None


class V1Call(_Parameters):
    """A call signed with HMAC-SHA1."""

    def __init__(self, head: Head, pairs: Pairs) -> None:
        super().__init__(pairs)
        self._method = head.method
        self.action = self._given.get("Action", "")
        self.version = self._given.get("Version", "")
        self.token = self._given.get("SecurityToken", "")

    @property
    def time(self) -> str:
        return self._required("Timestamp")

    @property
    def nonce(self) -> str:
        return self._required("SignatureNonce")

    def secret_id(self) -> str:
        return self._required("AccessKeyId")

    def verify(self, secret_key: str) -> None:
        if self._given.get("SignatureMethod", "HMAC-SHA1") != "HMAC-SHA1":
            raise codes.signature_method_invalid()
        if (version := self._given.get("SignatureVersion", "1.0")) != "1.0":
            raise codes.parameter_invalid("SignatureVersion", version)
        parameters = [pair for pair in self._pairs if pair[0] != "Signature"]
        given = self._required("Signature")
        signature.check_v1(given, method=self._method, parameters=parameters, secret_key=secret_key)

    def _required(self, name: str) -> str:
        if not (value := self._given.get(name)):
            raise codes.common_missing(name)
        return value


class V3Call(_Parameters):
    """A call signed with ACS3-HMAC-SHA256."""

    def __init__(self, head: Head, query: Pairs, form: Pairs, body: bytes) -> None:
        super().__init__([*query, *form])
        self._head = head
        self._query = query
        self._body = body
        self.action = head.header("x-acs-action")
        self.version = head.header("x-acs-version")
        self.token = head.header("x-acs-security-token")

    @property
    def time(self) -> str:
        return self._required("x-acs-date")

    @property
    def nonce(self) -> str:
        return self._required("x-acs-signature-nonce")

    @cached_property
    def _authorization(self) -> signature.Authorization:
        return signature.authorization(self._head.header("authorization"))

    def secret_id(self) -> str:
        return self._authorization.access_key_id

    def verify(self, secret_key: str) -> None:
        signature.check_v3(
            self._authorization, head=self._head, query=self._query, body=self._body, secret_key=secret_key
        )

    def _required(self, name: str) -> str:
        if not (value := self._head.header(name)):
            raise codes.common_missing(name)
        return value


def recognises(head: Head) -> bool:
    """Whether head or query show that a request is, or tries to be, such a call."""
    if "x-tc-action" in head.headers:
        return False
    return is_v3(head) or "x-acs-action" in head.headers or bool(_OURS.search(head.query))


async def in_form(head: Head, read: ReadBody) -> bool:
    """Whether the body shows it. Raise `BodyLost`."""
    if head.method != "POST" or media_type(head) != FORM:
        return False
    try:
        body = await read(BODY_LIMIT)
    except BodyTooLarge:
        return False
    return bool(_OURS.search(body.decode("latin-1")))


def is_v3(head: Head) -> bool:
    return head.header("authorization").startswith("ACS3")


async def call_of(head: Head, read: ReadBody) -> Call:
    """The call that a request makes. Raise `ApiError`, or `BodyLost`."""
    if head.method not in {"GET", "POST"}:
        raise codes.method_unsupported()
    try:
        body = await read(BODY_LIMIT)
    except BodyTooLarge:
        raise codes.too_large(BODY_LIMIT) from None
    try:
        query = pairs_of(head.query) if head.query else []
        form = pairs_of(body.decode()) if body and media_type(head) == FORM else []
    except ValueError:
        raise codes.query_invalid() from None
    return V3Call(head, query, form, body) if is_v3(head) else V1Call(head, [*query, *form])
