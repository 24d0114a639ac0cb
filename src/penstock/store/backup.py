"""A backup: one file with all that a server needs to go on elsewhere, written while it runs.

It is a plain tar, so that nobody needs Penstock to look into it: the database as ``penstock.db``, and of DATA, as
far as they are there, the key of its secrets, the settings and the certificate of our own making; at last their sums,
for ``sha256sum --check``.
"""

import filecmp
import hashlib
import io
import os
import shutil
import sqlite3
import tarfile
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import IO, NamedTuple

from penstock.errors import ConfigError, StoreError
from penstock.store.inspection import examine_file
from penstock.store.secrets import KEY_FILE, Sealer, load_sealer, parse_key
from penstock.store.sql import DATABASE, database_path, on_server, translated
from penstock.store.sqlite import Sqlite

#: What goes with the database, by its place in DATA.
BESIDE = (KEY_FILE, "penstock.toml", "tls/ca.pem", "tls/server.pem", "tls/server.key")
SUMS = "SHA256SUMS"
#: What SQLite puts beside a database, and would take for a part of the next one.
_COMPANIONS = ("-wal", "-shm", "-journal")


class Backup(NamedTuple):
    """What a backup holds."""

    #: The database's revision.
    schema: str
    #: Its members' names, the database first.
    contents: tuple[str, ...]


def back_up(database_url: str, data: Path, security_key: str | None, file: Path) -> Backup:
    """Write `file`, for our eyes only: the database as it is at one moment, whoever writes to it meanwhile.

    A file of that name is replaced when the new one is complete. Raise `ConfigError` or `StoreError` if that
    cannot be done, or if what would be written could not be restored.
    """
    database = _database(database_url, data)
    if not database.exists():
        raise StoreError(f"There is no database {database}.")
    sealer = load_sealer(data, security_key, fresh=False)
    with _told(f"cannot write {file}"), tempfile.TemporaryDirectory(prefix=".penstock-", dir=file.parent) as folder:
        copy, part = Path(folder, DATABASE), Path(folder, "backup.tar")
        _copy(database, copy)
        revision = examine_file(copy, sealer)
        beside = [name for name in BESIDE if (data / name).exists()]
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as stream:
            with tarfile.open(fileobj=stream, mode="w") as tar:
                members = {DATABASE: copy, **{name: data / name for name in beside}}
                for name, path in members.items():
                    tar.add(path, name, filter=_private)
                _add_sums(tar, members)
            stream.flush()
            os.fsync(stream.fileno())
        part.rename(file)
        _sync(file.parent)
    return Backup(revision, (DATABASE, *beside))


def restore(file: Path, database_url: str, data: Path, security_key: str | None) -> Backup:
    """Put the contents of a backup into DATA, where no server may run.

    Nothing that is there is overwritten, and nothing is left there if anything is amiss. Raise `ConfigError`
    if other files are in the place of these or the key is missing, `SchemaTooNew` if a newer Penstock wrote
    them, `StoreError` if the file is no backup, or a damaged one.
    """
    database = _database(database_url, data)
    targets = {DATABASE: database, **{name: data / name for name in BESIDE}}
    for found in (database, *(database.with_name(database.name + suffix) for suffix in _COMPANIONS)):
        if found.exists():
            raise ConfigError(
                f"{found} is there already, and is not overwritten: move it away, or choose another DATA."
            )
    with _told(f"cannot restore {file}"), _unpacked(file, targets) as parts:
        revision = examine_file(parts[DATABASE], _sealer(parts.get(KEY_FILE), data, security_key))
        for name, part in parts.items():
            if targets[name].exists() and not filecmp.cmp(part, targets[name], shallow=False):
                raise ConfigError(f"{targets[name]} is there already, and is another one: move it away.")
        for name in sorted(parts, key=lambda name: name == DATABASE):  # last: with it, DATA is whole
            parts[name].rename(targets[name])
            _sync(targets[name].parent)
    return Backup(revision, (DATABASE, *(name for name in BESIDE if name in parts)))


def _sealer(key: Path | None, data: Path, security_key: str | None) -> Sealer:
    """As it will be when the file `key` lies in DATA."""
    if key and not security_key:
        return Sealer(parse_key(key.read_text("ascii", "replace")))
    return load_sealer(data, security_key, fresh=False)


def _database(database_url: str, data: Path) -> Path:
    """The database's file. Raise `ConfigError` for one that is a server's."""
    if on_server(database_url):
        raise ConfigError(f"The database is PostgreSQL's: back it up with pg_dump, and {data / KEY_FILE} with it.")
    return database_path(database_url, data)


def _copy(database: Path, copy: Path) -> None:
    """One moment of a database, by SQLite's own means; nobody has to wait for it."""
    with (
        translated(Sqlite(database, connections=1)),
        closing(sqlite3.connect(f"{database.absolute().as_uri()}?mode=rw", uri=True)) as source,
        closing(sqlite3.connect(copy)) as target,
    ):
        source.backup(target)


def _private(member: tarfile.TarInfo) -> tarfile.TarInfo:
    """Whoever unpacks it by hand owns it, alone."""
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    member.mode = 0o600
    return member


def _sums(members: Mapping[str, Path]) -> bytes:
    """As ``sha256sum`` prints them."""
    return "".join(f"{_sum(path)}  {name}\n" for name, path in members.items()).encode()


def _add_sums(tar: tarfile.TarFile, members: Mapping[str, Path]) -> None:
    text = _sums(members)
    member = tarfile.TarInfo(SUMS)
    member.size, member.mode = len(text), 0o600
    tar.addfile(member, io.BytesIO(text))


def _sum(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


@contextmanager
def _unpacked(file: Path, targets: Mapping[str, Path]) -> Iterator[dict[str, Path]]:
    """The members of a backup, by name, each in a file of its own beside its target; whole, as their sums say."""
    parts: dict[str, Path] = {}
    sums = b""
    try:
        with tarfile.open(file, "r:") as tar:
            for member in tar:
                content = tar.extractfile(member) if member.isreg() else None
                if content is None or member.name in parts or member.name not in (*targets, SUMS):
                    raise StoreError(f"{file} is no backup of Penstock: it holds {member.name!r}.")
                if member.name == SUMS:
                    sums = content.read(1 << 16)
                    continue
                target = targets[member.name]
                target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                parts[member.name] = target.with_name(f".{target.name}.restore")
                _write(content, parts[member.name])
        if DATABASE not in parts or sums != _sums(parts):
            raise StoreError(f"{file} is damaged: what it holds is not what was written.")
        yield parts
    except tarfile.TarError as error:
        raise StoreError(f"{file} is no backup of Penstock, or a damaged one: {error}.") from None
    finally:
        for part in parts.values():
            part.unlink(missing_ok=True)


def _write(content: IO[bytes], part: Path) -> None:
    part.unlink(missing_ok=True)  # from a restore that was cut off
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as stream:
        shutil.copyfileobj(content, stream)
        stream.flush()
        os.fsync(stream.fileno())


def _sync(folder: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _told(what: str) -> Iterator[None]:
    """The file system's errors in our words."""
    try:
        yield
    except OSError as error:
        raise ConfigError(f"{what}: {error.strerror or error}") from None
