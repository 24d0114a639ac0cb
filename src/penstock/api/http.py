"""A request as it was received, and what goes back. Knows no vendor."""

import sys
from collections.abc import Awaitable, Callable, Mapping
from typing import Final
from urllib.parse import parse_qsl

import msgspec

#: Bytes of a body that is read before anything is known of its caller.
SMALL_BODY: Final = 64 * 1024
#: Fields of one request.
MAX_FIELDS: Final = 10_000


class Head(msgspec.Struct, frozen=True, kw_only=True):
    """A request without its body, as it was received."""

    method: str
    #: Undecoded, without the question mark.
    query: str
    #: By lower-case name; values as latin-1 text.
    headers: Mapping[str, str]
    #: The address that it came from.
    client: str = ""

    def header(self, name: str) -> str:
        return self.headers.get(name, "").strip()

    @property
    def announced(self) -> int:
        """Bytes of the body, as far as they are announced; a chunked body may be of any size."""
        length = self.header("content-length")
        if length.isdecimal():
            return int(length)
        return sys.maxsize if "transfer-encoding" in self.headers else 0


class BodyTooLarge(Exception):
    """The body is longer than was allowed."""


class BodyLost(Exception):
    """The client went away, or took too long, before its body had come."""


#: Reads the whole body, at most so many bytes; may be called again. Raises `BodyTooLarge` or `BodyLost`.
ReadBody = Callable[[int], Awaitable[bytes]]


def media_type(head: Head) -> str:
    return head.header("content-type").partition(";")[0].strip().lower()


def pairs_of(text: str) -> list[tuple[str, str]]:
    """The parameters of a query or a form, decoded, in their order. Raise `ValueError`."""
    return parse_qsl(text, keep_blank_values=True, strict_parsing=True, errors="strict", max_num_fields=MAX_FIELDS)


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """What goes back, and what log and metrics say about it."""

    body: bytes
    #: HTTP status, and media type of the body.
    status: int = 200
    kind: bytes = b"application/json"
    request_id: str
    #: Empty: there is none of that name.
    service: str
    #: As the caller gave it, but short; empty: not known.
    action: str
    #: None: not authenticated.
    account_id: int | None
    #: Empty: the call succeeded.
    code: str
    #: What refused it if its caller calls too much: ``rate`` or ``queue``.
    limit: str
