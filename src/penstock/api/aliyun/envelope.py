"""How answers and errors are written: JSON or XML, as the caller asks.

Answers hold their lists as the vendor's SDKs read them: in an object with one member, ``{"PreloadTask": [...]}``. The
vendor's pages show them flat; a setting chooses that for JSON, and XML has them so always: one element an item.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any
from xml.sax.saxutils import escape

import msgspec

from penstock.api.aliyun import codes
from penstock.api.aliyun.calls import is_v3
from penstock.api.http import Head

JSON, XML = b"application/json;charset=utf-8", b"text/xml;charset=utf-8"

#: What XML 1.0 cannot hold, however it is written.
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_FORMAT = re.compile("(?:^|&)Format=([^&]*)")


def kind_asked(head: Head, form: str) -> bytes:
    """The media type to answer: by ``Format`` in query or form, else by ``Accept``, else the form's own default.

    Raise `ApiError` for a format that there is not.
    """
    if found := _FORMAT.search(head.query) or _FORMAT.search(form):
        kind = {"json": JSON, "xml": XML}.get(found[1].lower())
        if not kind:
            raise codes.format_invalid()
        return kind
    accept = head.header("accept").lower()
    if "json" in accept:
        return JSON
    return XML if "xml" in accept or not is_v3(head) else JSON


def written(root: str, tree: Mapping[str, Any], kind: bytes, *, nested: bool) -> bytes:
    """An answer of this media type; `root` is its element in XML. `nested`: lists in JSON, as the SDKs read them."""
    if kind == XML:
        return ('<?xml version="1.0" encoding="UTF-8"?>' + "".join(element(root, flat(tree)))).encode()
    return msgspec.json.encode(tree if nested else flat(tree))


def flat(value: Any) -> Any:
    """The same with a list in place of an object that holds nothing else."""
    if isinstance(value, Mapping):
        if len(value) == 1 and isinstance(only := next(iter(value.values())), list | tuple):
            return [flat(item) for item in only]
        return {name: flat(member) for name, member in value.items()}
    return [flat(item) for item in value] if isinstance(value, list | tuple) else value


def element(name: str, value: Any) -> Iterator[str]:
    """A value as XML; a list is one element an item."""
    if isinstance(value, list):
        for item in value:
            yield from element(name, item)
        return
    yield f"<{name}>"
    if isinstance(value, Mapping):
        for member, inner in value.items():
            yield from element(member, inner)
    else:
        yield escape(_NOT_XML.sub("\ufffd", str(value)))
    yield f"</{name}>"
