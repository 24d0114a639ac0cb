"""The register of edge nodes: which there are, and what an entry must look like."""

import re
from collections.abc import Mapping, Sequence

from penstock.errors import Conflict, InvalidField
from penstock.tasks.addresses import check_host, split_host
from penstock.tasks.model import Edge
from penstock.tasks.ports import Store

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_PLACES = re.compile(r"\{[^}]*\}")
#: What a path may be made of, besides letters.
_KNOWN = ("{path}", "{app}", "{stream}")
MAX_CONCURRENCY = 1_000_000


async def add_edge(store: Store, edge: Edge) -> None:
    """Register an edge. Raise `InvalidField`, or `Conflict` if the name is taken."""
    _check(edge)
    await store.write(lambda tx: tx.add_edge(edge))


async def list_edges(store: Store) -> Sequence[Edge]:
    """All edges, by name."""
    return await store.read(lambda tx: tx.edges())


async def find_edge(store: Store, name: str) -> Edge:
    """Raise `Conflict` if there is none of this name."""
    for edge in await list_edges(store):
        if edge.name == name:
            return edge
    raise _unknown(name)


async def remove_edge(store: Store, name: str) -> None:
    """Take an edge out. Raise `Conflict` if there is none of this name."""
    if not await store.write(lambda tx: tx.remove_edge(name)):
        raise _unknown(name)


def read_labels(texts: Sequence[str]) -> Mapping[str, str]:
    """Read ``KEY=VALUE``. Raise `InvalidField`."""
    pairs = [text.partition("=") for text in texts]
    if not all(key and equals for key, equals, _ in pairs):
        raise InvalidField("label", "A label is KEY=VALUE.")
    return {key: value for key, _, value in pairs}


def _unknown(name: str) -> Conflict:
    return Conflict(f"There is no edge {name!r}.")


def _check(edge: Edge) -> None:
    """Raise `InvalidField` for what no viewer could use."""
    if not _NAME.fullmatch(edge.name):
        raise InvalidField("name", "An edge's name is 1 to 64 letters, digits, dots, hyphens or underscores.")
    if not (edge.rtmp or edge.http):
        raise InvalidField("rtmp", "An edge serves RTMP (--rtmp), HTTP (--http), or both.")
    for field, address in (("rtmp", edge.rtmp), ("http", edge.http), ("host", edge.host)):
        try:
            if address:
                check_host(split_host(address)[0])
        except ValueError as error:
            raise InvalidField(field, f"{field}: {address!r} cannot be used: {error}.") from None
    if not edge.path.startswith(("/", "{path}")) or set(_PLACES.findall(edge.path)) - set(_KNOWN):
        raise InvalidField("path", f"A path begins with / or {{path}}, and is made of {', '.join(_KNOWN)}.")
    for field, text in (("path", edge.path), ("query", edge.query)):
        if not text.isascii() or not text.isprintable() or any(char in text for char in ' #"<>'):
            raise InvalidField(field, f"{field} holds a character that must not stand in a URL.")
    if "?" in edge.path:
        raise InvalidField("path", "A path holds no question mark; use --query.")
    if not 0 <= edge.concurrency <= MAX_CONCURRENCY:
        raise InvalidField("concurrency", f"concurrency is 0 to {MAX_CONCURRENCY}.")
