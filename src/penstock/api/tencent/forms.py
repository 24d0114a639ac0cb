"""Parameters that do not come as one JSON text: flattened in a query or a form, or as the parts of a multipart body.

All of them become the same tree: ``{"A.0.B": "x"}`` is ``{"A": [{"B": "x"}]}``.
"""

import re
from collections.abc import Iterable, Iterator
from typing import Any, Final

import msgspec

from penstock.api import http
from penstock.api.tencent import codes

#: Bytes of the head of one part.
MAX_PART_HEAD: Final = 4096
#: Objects and lists inside each other, in a flattened name.
MAX_DEPTH: Final = 10

_INDEX = re.compile("[0-9]{1,9}")
_BOUNDARY = re.compile(rb"[0-9A-Za-z'()+_,./:=? -]{0,69}[0-9A-Za-z'()+_,./:=?-]")
_BOUNDARY_IN_TYPE = re.compile(r""";\s*boundary=(?:"([^"]*)"|([^\s;"]+))""", re.IGNORECASE)
_NAME_IN_HEAD = re.compile(
    rb"""content-disposition:[ \t]*form-data[ \t]*;(?:[^\r\n]*;)?[ \t]*name="([^"\r\n]*)\"""", re.IGNORECASE
)
_JSON_IN_HEAD = re.compile(rb"content-type:[ \t]*application/json\b", re.IGNORECASE)


def pairs_of(text: str) -> list[tuple[str, str]]:
    """The parameters of a query or a form, decoded, in their order. Raise `ApiError`."""
    try:
        return http.pairs_of(text)
    except ValueError:
        raise codes.query_invalid() from None


def fields_of(body: bytes, content_type: str) -> Iterator[tuple[str, Any]]:
    """The fields of a ``multipart/form-data`` body: texts, or what a field of type JSON holds. Raise `ApiError`."""
    for name, head, value in parts_of(body, content_type):
        try:
            yield name.decode(), msgspec.json.decode(value) if _JSON_IN_HEAD.search(head) else value.decode()
        except RecursionError:
            raise codes.body_invalid("it is nested too deeply") from None
        except UnicodeDecodeError:
            raise codes.body_invalid("it is not UTF-8") from None
        except msgspec.MsgspecError:
            raise codes.body_invalid("a field is not JSON") from None


def parts_of(body: bytes, content_type: str) -> Iterator[tuple[bytes, bytes, bytes]]:
    """Name, head and value of each part, as RFC 7578 has them; an empty body has none. Raise `ApiError`."""
    found = _BOUNDARY_IN_TYPE.search(content_type)
    boundary = (found[1] or found[2] or "").encode("latin-1") if found else b""
    if not _BOUNDARY.fullmatch(boundary):
        raise codes.body_invalid("its content type names no boundary")
    if not body:
        return
    _, *parts = (b"\r\n" + body).split(b"\r\n--" + boundary, http.MAX_FIELDS + 1)
    if not parts or not parts.pop().startswith(b"--"):
        raise codes.body_invalid("it does not end with its boundary, or has too many parts")
    for part in parts:
        head, blank, value = part.partition(b"\r\n\r\n")
        name = _NAME_IN_HEAD.search(head, 0, MAX_PART_HEAD)
        if not blank or not name:
            raise codes.body_invalid("a part has no name")
        yield name[1], head, value


class Node(dict[str, Any]):
    """An object or a list that was made of flattened names, and not given as JSON."""


def unflattened(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """The tree of flattened names. Raise `ApiError`."""
    tree = Node()
    for name, value in pairs:
        *path, last = name.split(".", maxsplit=MAX_DEPTH)
        node: Any = tree
        for step in path:
            node = node.setdefault(step, Node()) if isinstance(node, Node) else None
        if not isinstance(node, Node) or last in node:
            raise codes.parameter_type(name)
        node[last] = value
    return {name: with_lists(value) for name, value in tree.items()}


def with_lists(node: Any) -> Any:
    """The same with a list for every object whose names are all numbers."""
    if not isinstance(node, Node):
        return node
    if all(_INDEX.fullmatch(name) for name in node):
        return [with_lists(node[name]) for name in sorted(node, key=int)]
    return {name: with_lists(value) for name, value in node.items()}
