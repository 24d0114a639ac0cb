"""Opening DATA: its key, its tables, and what is refused."""

import base64
import sqlite3
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, create_engine

from penstock.errors import ConfigError, SchemaTooNew, StoreError
from penstock.store import migrations, schema
from penstock.store.secrets import Sealer, parse_key
from penstock.store.sql import SqlStore, open_store
from tests.unit.making import add_account, add_task, open_new, read_task

KEY = bytes(range(32))
HEX, BASE64 = KEY.hex(), base64.b64encode(KEY).decode()


def execute(path: Path, statement: str) -> list[tuple[object, ...]]:
    """Run a statement past the store."""
    with sqlite3.connect(path) as connection:
        rows = connection.execute(statement).fetchall()
    connection.close()
    return rows


def make(data: Path, key: str | None = None) -> None:
    """A DATA as a first start leaves it."""
    open_store("", data, key, migrate=True, inline=True).close()


class TestTables:
    """The schema and its migrations."""

    def test_migrations_lead_to_the_tables_that_the_store_uses(self, tmp_path: Path) -> None:
        make(tmp_path)
        engine = create_engine(f"sqlite:///{tmp_path}/penstock.db")
        with engine.connect() as connection:
            context = MigrationContext.configure(
                connection, opts={"compare_type": True, "compare_server_default": True}
            )
            differences = compare_metadata(context, schema.metadata)
            indices = indices_of(connection)
        engine.dispose()
        assert differences == []
        # Alembic does not compare the conditions of partial indices, so they are compared as text.
        assert wanted_indices() == indices

    def test_second_opening_finds_what_the_first_one_wrote(self, tmp_path: Path) -> None:
        store = open_new(tmp_path)
        task = add_task(store, add_account(store), "a")
        store.close()
        store = open_new(tmp_path)
        assert read_task(store, task.key) == task
        store.close()

    def test_opening_without_migration_needs_the_database(self, tmp_path: Path) -> None:
        with pytest.raises(StoreError, match="There is no database"):
            open_store("", tmp_path, None, migrate=False)
        assert list(tmp_path.iterdir()) == []

    def test_opening_without_migration_finds_a_current_database(self, tmp_path: Path) -> None:
        make(tmp_path)
        open_store("", tmp_path, None, migrate=False).close()

    def test_opening_without_migration_refuses_an_older_schema(self, tmp_path: Path) -> None:
        make(tmp_path)
        execute(tmp_path / "penstock.db", "DELETE FROM alembic_version")
        with pytest.raises(StoreError, match=r"schema none, and \d+ is needed"):
            open_store("", tmp_path, None, migrate=False)

    @pytest.mark.parametrize("migrate", [True, False])
    def test_newer_schema_is_refused_and_left_alone(self, tmp_path: Path, migrate: bool) -> None:
        make(tmp_path)
        execute(tmp_path / "penstock.db", "UPDATE alembic_version SET version_num = '9999'")
        before = execute(tmp_path / "penstock.db", "SELECT * FROM sqlite_master")
        with pytest.raises(SchemaTooNew, match="9999"):
            open_store("", tmp_path, None, migrate=migrate)
        assert execute(tmp_path / "penstock.db", "SELECT * FROM sqlite_master") == before

    def test_somebody_elses_database_is_refused_and_left_alone(self, tmp_path: Path) -> None:
        execute(tmp_path / "penstock.db", "CREATE TABLE theirs (id)")
        with pytest.raises(StoreError, match="not Penstock's"):
            open_store("", tmp_path, HEX, migrate=True)
        assert [row[1] for row in execute(tmp_path / "penstock.db", "SELECT * FROM sqlite_master")] == ["theirs"]

    def test_file_that_is_no_database_is_refused_and_left_alone(self, tmp_path: Path) -> None:
        path = tmp_path / "penstock.db"
        path.write_bytes(b"garbage " * 1000)
        with pytest.raises(StoreError, match="not a database"):
            open_store("", tmp_path, HEX, migrate=True)
        assert path.read_bytes() == b"garbage " * 1000

    def test_migration_that_is_cut_off_leaves_nothing_behind(self, tmp_path: Path) -> None:
        store = SqlStore(tmp_path / "b.db", Sealer(KEY), inline=True)
        connection = store._writing.connect()
        connection.begin()
        migrations.upgrade(connection)
        connection.close()
        assert execute(tmp_path / "b.db", "SELECT * FROM sqlite_master") == []
        store.close()

    def test_starters_at_the_same_time_make_one_database(self, tmp_path: Path) -> None:
        with ThreadPoolExecutor(4) as pool:
            stores = list(pool.map(open_new, [tmp_path / "data"] * 4))
        account = add_account(stores[0])
        for number, store in enumerate(stores):
            add_task(store, account, str(number))
        assert {len(store.read_now(lambda tx: tx.tasks(None, None))) for store in stores} == {4}
        for store in stores:
            store.close()

    def test_data_that_is_no_folder_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "data").write_text("")
        with pytest.raises(ConfigError, match=f"{tmp_path}/data cannot be used: File exists"):
            open_store("", tmp_path / "data", None, migrate=True)

    @pytest.mark.parametrize("url", ["postgresql://h/db", "sqlite://", "sqlite:///:memory:", "nonsense"])
    def test_database_that_is_not_served_is_refused(self, tmp_path: Path, url: str) -> None:
        with pytest.raises(ConfigError, match=r"database\.url"):
            open_store(url, tmp_path, None, migrate=True)

    def test_database_may_lie_elsewhere(self, tmp_path: Path) -> None:
        open_store(f"sqlite:///{tmp_path}/my.db", tmp_path / "data", None, migrate=True).close()
        assert (tmp_path / "my.db").exists()
        assert (tmp_path / "data" / "secret.key").exists()


def indices_of(connection: Connection) -> dict[str, str]:
    """All indices by name, in SQLite's own words."""
    rows = connection.exec_driver_sql("SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL")
    return {row.name: row.sql for row in rows}


def wanted_indices() -> dict[str, str]:
    """The same, of tables made from the schema without migrations."""
    engine = create_engine("sqlite://")
    with engine.connect() as connection:
        schema.metadata.create_all(connection)
        indices = indices_of(connection)
    engine.dispose()
    return indices


class TestKey:
    """The key of the secrets."""

    def test_first_start_makes_a_key_for_our_eyes_only(self, tmp_path: Path) -> None:
        make(tmp_path / "data")
        path = tmp_path / "data" / "secret.key"
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
        assert len(parse_key(path.read_text())) == 32

    def test_database_without_its_key_is_refused_and_no_new_key_is_made(self, tmp_path: Path) -> None:
        make(tmp_path)
        (tmp_path / "secret.key").unlink()
        for migrate in (True, False):
            with pytest.raises(ConfigError, match=r"secret\.key"):
                open_store("", tmp_path, None, migrate=migrate)
        assert not (tmp_path / "secret.key").exists()

    def test_key_left_by_an_interrupted_first_start_is_used(self, tmp_path: Path) -> None:
        (tmp_path / "secret.key").write_text(HEX)
        make(tmp_path)
        assert (tmp_path / "secret.key").read_text() == HEX
        open_store("", tmp_path, HEX, migrate=False).close()

    def test_given_key_is_used_and_not_written_down(self, tmp_path: Path) -> None:
        make(tmp_path, HEX)
        assert not (tmp_path / "secret.key").exists()
        open_store("", tmp_path, BASE64, migrate=False).close()

    @pytest.mark.parametrize("migrate", [True, False])
    def test_another_key_is_refused(self, tmp_path: Path, migrate: bool) -> None:
        make(tmp_path)
        with pytest.raises(ConfigError, match="not the one"):
            open_store("", tmp_path, HEX, migrate=migrate)

    @pytest.mark.parametrize("text", ["short", "zz" * 32, "ab" * 31, base64.b64encode(b"x" * 31).decode()])
    def test_text_that_is_no_key_is_refused(self, tmp_path: Path, text: str) -> None:
        with pytest.raises(ConfigError, match="security key"):
            open_store("", tmp_path, text, migrate=True)
        (tmp_path / "secret.key").write_text(text)
        with pytest.raises(ConfigError, match="security key"):
            open_store("", tmp_path, None, migrate=True)

    def test_key_file_that_cannot_be_read_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "secret.key").mkdir()
        with pytest.raises(ConfigError, match=r"secret\.key"):
            open_store("", tmp_path, None, migrate=True)


class TestSealer:
    """AES-GCM with a context."""

    def test_sealed_value_opens_in_its_context(self) -> None:
        sealer = Sealer(KEY)
        assert sealer.open(sealer.seal(b"value", "a:1"), "a:1") == b"value"

    def test_no_two_sealed_values_are_equal(self) -> None:
        assert Sealer(KEY).seal(b"value", "a") != Sealer(KEY).seal(b"value", "a")

    @pytest.mark.parametrize(
        ("key", "context", "flipped"),
        [(bytes(32), "a", None), (KEY, "b", None), (KEY, "a", 0), (KEY, "a", -1)],
        ids=["other key", "other context", "changed nonce", "changed value"],
    )
    def test_value_that_was_not_sealed_so_does_not_open(self, key: bytes, context: str, flipped: int | None) -> None:
        sealed = bytearray(Sealer(KEY).seal(b"value", "a"))
        if flipped is not None:
            sealed[flipped] ^= 1
        with pytest.raises(StoreError, match="cannot be opened"):
            Sealer(key).open(bytes(sealed), context)

    @pytest.mark.parametrize("sealed", [b"", b"short", bytes(12)])
    def test_cut_off_value_does_not_open(self, sealed: bytes) -> None:
        with pytest.raises(StoreError):
            Sealer(KEY).open(sealed, "a")
