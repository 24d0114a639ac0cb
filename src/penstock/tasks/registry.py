"""The register of edge nodes: which there are, and what an entry must look like."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from penstock.errors import ConfigError, Conflict, InvalidField
from penstock.tasks.addresses import check_host, split_host
from penstock.tasks.model import Edge, EdgeOrigin
from penstock.tasks.ports import Store, Tx

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_PLACES = re.compile(r"\{[^}]*\}")
#: What a path may be made of, besides letters.
_KNOWN = ("{path}", "{app}", "{stream}")
MAX_CONCURRENCY = 1_000_000
_TYPES = {field.name: field.type for field in msgspec.structs.fields(Edge)}


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
    """Take an edge out. Raise `Conflict` if there is none of this name, or if it is the configuration file's."""
    await store.write(lambda tx: _remove(tx, name))


async def take_edges(store: Store, file: Path, tables: Sequence[Mapping[str, object]]) -> None:
    """Make the register's edges of the configuration file those of its tables ``[[edge]]``.

    Raise `ConfigError`, with the file, the edge and the field, and change nothing.
    """
    edges = {edge.name: edge for edge in _read_tables(file, tables)}
    await store.write(lambda tx: _take(tx, file, edges))


def _take(tx: Tx, file: Path, edges: Mapping[str, Edge]) -> None:
    for known in tx.edges():
        if known.origin is EdgeOrigin.FILE:
            tx.remove_edge(known.name)
        elif known.name in edges:
            words = "is registered by command, too: take it out of the file, or remove it with `penstock edge remove`"
            raise ConfigError(f"edge {known.name!r} (from {file}): name: {words}")
    for edge in edges.values():
        tx.add_edge(edge)


def _remove(tx: Tx, name: str) -> None:
    edge = next((edge for edge in tx.edges() if edge.name == name), None)
    if edge is None:
        raise _unknown(name)
    if edge.origin is EdgeOrigin.FILE:
        words = "take it out there, then restart the server or send it SIGHUP"
        raise Conflict(f"The edge {name!r} is in the configuration file: {words}.")
    tx.remove_edge(name)


def _read_tables(file: Path, tables: Sequence[Mapping[str, object]]) -> list[Edge]:
    """The file's edges. Raise `ConfigError` for the first that cannot be used."""
    edges: list[Edge] = []
    for number, table in enumerate(tables, 1):
        where = f"edge {table.get('name', number)!r} (from {file})"
        try:
            edge = _read_table(table)
            if any(edge.name == other.name for other in edges):
                raise InvalidField("name", "Another edge of the file has this name.")
        except InvalidField as error:
            raise ConfigError(f"{where}: {error.field}: {error.message.removeprefix(f'{error.field}: ')}") from None
        edges.append(edge)
    return edges


def _read_table(table: Mapping[str, object]) -> Edge:
    """Read one ``[[edge]]``. Raise `InvalidField`."""
    keys = set(Edge.__struct_fields__) - {"origin"}
    for key in table:
        if key not in keys:
            raise InvalidField(key, f"An edge has no such field, but {', '.join(sorted(keys))}.")
    for key in ("name", "area"):
        if key not in table:
            raise InvalidField(key, "It is missing.")
    for key, value in table.items():
        try:
            msgspec.convert(value, _TYPES[key])
        except msgspec.ValidationError as error:
            raise InvalidField(key, f"{error}.") from None
    edge = msgspec.convert({**table, "origin": EdgeOrigin.FILE}, Edge)
    _check(edge)
    return edge


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
    addresses = {"rtmp": edge.rtmp, "http": edge.http, "https": edge.https}
    if not any(addresses.values()):
        raise InvalidField("rtmp", "An edge serves RTMP (rtmp), HTTP (http), HTTPS (https), or several of them.")
    for field, address in (*addresses.items(), ("host", edge.host)):
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
        raise InvalidField("path", "A path holds no question mark; that is what query is for.")
    if not 0 <= edge.concurrency <= MAX_CONCURRENCY:
        raise InvalidField("concurrency", f"concurrency is 0 to {MAX_CONCURRENCY}.")
