"""A backup holds all that is needed, and restoring overwrites nothing and trusts nothing."""

import hashlib
import io
import sqlite3
import subprocess
import tarfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from penstock.errors import ConfigError, PenstockError, SchemaTooNew, StoreError
from penstock.store.backup import Backup, back_up, restore
from penstock.store.migrations import revisions
from penstock.store.sql import open_store
from tests.unit.making import add_account, add_task, open_new, read_task

KEY = "ab" * 32


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A DATA with a task, a certificate and settings."""
    data = tmp_path / "data"
    store = open_new(data)
    add_task(store, add_account(store), "10001")
    store.close()
    (data / "penstock.toml").write_text("[sink]\nhold = 5\n")
    (data / "tls").mkdir()
    (data / "tls" / "ca.pem").write_text("an authority")
    return data


@pytest.fixture
def file(data: Path, tmp_path: Path) -> Path:
    """A backup of `data`."""
    back_up("", data, None, tmp_path / "backup.tar")
    return tmp_path / "backup.tar"


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def members(file: Path) -> dict[str, bytes]:
    with tarfile.open(file) as tar:
        return {one.name: (tar.extractfile(one) or io.BytesIO()).read() for one in tar}


def rewrite(file: Path, *, sums: bool = True, **changes: bytes) -> None:
    """Change members of a backup (``db``, ``key``, …) and say so in its sums, or not."""
    names = {"db": "penstock.db", "key": "secret.key", "toml": "penstock.toml", "evil": "../evil"}
    contents = members(file) | {names[name]: content for name, content in changes.items()}
    if sums:
        del contents["SHA256SUMS"]
        lines = (f"{hashlib.sha256(content).hexdigest()}  {name}\n" for name, content in contents.items())
        contents["SHA256SUMS"] = "".join(lines).encode()
    with tarfile.open(file, "w") as tar:
        for name, content in contents.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))


def test_backup_holds_all_that_is_needed_and_is_for_our_eyes_only(data: Path, file: Path, tmp_path: Path) -> None:
    assert file.stat().st_mode & 0o777 == 0o600
    assert {path.name for path in tmp_path.iterdir()} == {"backup.tar", "data"}
    (tmp_path / "by-hand").mkdir()
    subprocess.run(["tar", "xf", file, "-C", tmp_path / "by-hand"], check=True)
    subprocess.run(["sha256sum", "--check", "--quiet", "SHA256SUMS"], cwd=tmp_path / "by-hand", check=True)
    assert (tmp_path / "by-hand" / "tls" / "ca.pem").read_text() == "an authority"
    open_store("", tmp_path / "by-hand", None, migrate=False).close()


def test_restored_data_is_the_one_that_was_backed_up(data: Path, file: Path, tmp_path: Path) -> None:
    new = tmp_path / "new"
    new.mkdir()
    assert restore(file, "", new, None) == Backup(
        revisions()[-1], ("penstock.db", "secret.key", "penstock.toml", "tls/ca.pem")
    )
    for name in ("secret.key", "penstock.toml", "tls/ca.pem"):
        assert (new / name).read_bytes() == (data / name).read_bytes()
    assert {(new / name).stat().st_mode & 0o777 for name in ("penstock.db", "secret.key")} == {0o600}
    old, restored = open_new(data), open_new(new)
    assert read_task(restored, 1) == read_task(old, 1)
    old.close()
    restored.close()


def test_backup_is_one_moment_of_a_database_in_use(data: Path, tmp_path: Path) -> None:
    """What has been committed is in it, also if it is still in the write-ahead log; what has not is not."""
    store, other = open_new(data), sqlite3.connect(data / "penstock.db", isolation_level=None)
    add_task(store, 1, "10002")
    other.execute("BEGIN IMMEDIATE")
    other.execute("UPDATE account SET name = 'half done'")
    back_up("", data, None, tmp_path / "b.tar")
    other.rollback()
    other.close()
    store.close()
    (tmp_path / "new").mkdir()
    restore(tmp_path / "b.tar", "", tmp_path / "new", None)
    restored = open_new(tmp_path / "new")
    assert read_task(restored, 2).id == "10002"
    assert restored.read_now(lambda tx: [one.name for one in tx.accounts()]) == ["demo"]
    restored.close()


def test_key_that_is_a_setting_is_not_in_the_backup_and_is_needed_again(tmp_path: Path) -> None:
    open_store("", tmp_path / "data", KEY, migrate=True, inline=True).close()
    back_up("", tmp_path / "data", KEY, tmp_path / "b.tar")
    assert set(members(tmp_path / "b.tar")) == {"penstock.db", "SHA256SUMS"}
    (tmp_path / "new").mkdir()
    with pytest.raises(ConfigError, match=r"secret\.key"):
        restore(tmp_path / "b.tar", "", tmp_path / "new", None)
    assert files(tmp_path / "new") == set()
    restore(tmp_path / "b.tar", "", tmp_path / "new", KEY)
    open_store("", tmp_path / "new", KEY, migrate=False).close()


def test_database_may_lie_elsewhere(tmp_path: Path) -> None:
    url, other = f"sqlite:///{tmp_path}/my.db", f"sqlite:///{tmp_path}/other.db"
    open_store(url, tmp_path / "data", None, migrate=True, inline=True).close()
    back_up(url, tmp_path / "data", None, tmp_path / "b.tar")
    (tmp_path / "new").mkdir()
    restore(tmp_path / "b.tar", other, tmp_path / "new", None)
    open_store(other, tmp_path / "new", None, migrate=False).close()
    assert files(tmp_path / "new") == {"secret.key"}


def test_backup_of_a_database_that_could_not_be_restored_is_refused(data: Path, file: Path) -> None:
    before = file.read_bytes()
    (data / "secret.key").write_text(KEY)
    with pytest.raises(ConfigError, match="not the one"):
        back_up("", data, None, file)
    (data / "penstock.db").write_bytes(b"garbage " * 1000)
    with pytest.raises(StoreError, match="not a database"):
        back_up("", data, None, file)
    assert file.read_bytes() == before


def test_backup_of_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="There is no database"):
        back_up("", tmp_path / "data", None, tmp_path / "b.tar")
    assert list(tmp_path.iterdir()) == []


def test_backup_that_cannot_be_written_says_where(data: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot write .*/nowhere/b\.tar: No such file or directory"):
        back_up("", data, None, tmp_path / "nowhere" / "b.tar")


@pytest.mark.parametrize("name", ["penstock.db", "penstock.db-wal", "secret.key", "penstock.toml", "tls/ca.pem"])
def test_restore_overwrites_nothing(file: Path, tmp_path: Path, name: str) -> None:
    """A -wal without its database would become a part of the restored one."""
    there = tmp_path / "new" / name
    there.parent.mkdir(parents=True)
    there.write_bytes(b"mine")
    with pytest.raises(ConfigError, match=f"{there} is there already"):
        restore(file, "", tmp_path / "new", None)
    assert (there.read_bytes(), files(tmp_path / "new")) == (b"mine", {name})


def test_restore_that_was_cut_off_is_done_again(data: Path, file: Path, tmp_path: Path) -> None:
    """The database comes last: what else is there already is the same."""
    new = tmp_path / "new"
    new.mkdir()
    (new / "secret.key").write_bytes((data / "secret.key").read_bytes())
    (new / ".penstock.db.restore").write_bytes(b"half")
    restore(file, "", new, None)
    open_store("", new, None, migrate=False).close()
    assert files(new) == {"penstock.db", "secret.key", "penstock.toml", "tls/ca.pem"}


def flip(file: Path) -> None:
    """Change one bit in the midst of the database."""
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def make_newer(file: Path) -> None:
    """As a later Penstock would have written it."""
    database = file.with_name("newer.db")
    database.write_bytes(members(file)["penstock.db"])
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
        connection.commit()
        connection.execute("PRAGMA journal_mode=DELETE")
    rewrite(file, db=database.read_bytes())


@pytest.mark.parametrize(
    ("harm", "error", "words"),
    [
        (lambda file: file.write_bytes(file.read_bytes()[: file.stat().st_size // 2]), StoreError, "is no backup of"),
        (lambda file: file.write_bytes(b""), StoreError, "is no backup of"),
        (lambda file: file.write_bytes(b"garbage " * 1000), StoreError, "is no backup of"),
        (lambda file: file.unlink(), ConfigError, "cannot restore .*: No such file or directory"),
        (flip, StoreError, "is damaged"),
        (lambda file: rewrite(file, toml=b"x", sums=False), StoreError, "is damaged"),
        (make_newer, SchemaTooNew, "schema 9999, and this Penstock knows none after"),
        (lambda file: rewrite(file, key=KEY.encode()), ConfigError, "key is not the one"),
        (lambda file: rewrite(file, db=b"garbage " * 1000), StoreError, "file is not a database"),
        (lambda file: rewrite(file, db=b""), StoreError, "This database is empty"),
        (lambda file: rewrite(file, evil=b"x"), StoreError, r"it holds '\.\./evil'"),
    ],
    ids=["cut", "empty", "garbage", "absent", "bit", "member", "newer", "key", "no db", "no tables", "path"],
)
def test_file_that_cannot_be_trusted_is_refused_and_leaves_nothing(
    file: Path, tmp_path: Path, harm: Callable[[Path], object], error: type[PenstockError], words: str
) -> None:
    harm(file)
    (tmp_path / "new").mkdir()
    with pytest.raises(error, match=words):
        restore(file, "", tmp_path / "new", None)
    assert files(tmp_path / "new") == set()
    assert not (tmp_path / "evil").exists()


def test_postgresql_is_left_to_its_own_tools(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"pg_dump, and .*secret\.key"):
        back_up("postgresql://h/penstock", tmp_path, None, tmp_path / "b.tar")
    with pytest.raises(ConfigError, match=r"pg_dump, and .*secret\.key"):
        restore(tmp_path / "b.tar", "postgresql://h/penstock", tmp_path, None)
