"""Opening DATA: its key, its tables, and what is refused."""

import base64
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection

from penstock.errors import ConfigError, SchemaTooNew, StoreError
from penstock.store import migrations, schema
from penstock.store.secrets import Sealer, parse_key
from penstock.store.sql import open_store
from tests.unit.making import add_account, add_task, read_task
from tests.unit.place import Place

KEY = bytes(range(32))
HEX, BASE64 = KEY.hex(), base64.b64encode(KEY).decode()


class TestTables:
    """The schema and its migrations."""

    def test_migrations_lead_to_the_tables_that_the_store_uses(self, place: Place) -> None:
        place.make()
        engine = place.database().engine
        with engine.connect() as connection:
            context = MigrationContext.configure(
                connection, opts={"compare_type": True, "compare_server_default": True}
            )
            differences = compare_metadata(context, schema.metadata)
            indices = indices_of(connection)
            connection.rollback()
            schema.metadata.drop_all(connection)
            schema.metadata.create_all(connection)
            wanted = indices_of(connection)
        engine.dispose()
        assert differences == []
        # Alembic does not compare the conditions of partial indices, so they are compared as text.
        assert len(wanted) > 10
        assert wanted == indices

    def test_second_opening_finds_what_the_first_one_wrote(self, place: Place) -> None:
        store = place.open()
        task = add_task(store, add_account(store), "a")
        store.close()
        store = place.open()
        assert read_task(store, task.key) == task
        store.close()

    def test_opening_without_migration_needs_the_database(self, place: Place) -> None:
        with pytest.raises(StoreError, match="There is no database"):
            place.open(migrate=False)
        assert list(place.data.iterdir()) == []

    def test_opening_without_migration_finds_a_current_database(self, place: Place) -> None:
        place.make()
        place.open(migrate=False).close()

    def test_opening_without_migration_refuses_an_older_schema(self, place: Place) -> None:
        place.make()
        place.execute("DELETE FROM alembic_version")
        with pytest.raises(StoreError, match=r"schema none, and \d+ is needed"):
            place.open(migrate=False)

    @pytest.mark.parametrize("migrate", [True, False])
    def test_newer_schema_is_refused_and_left_alone(self, place: Place, migrate: bool) -> None:
        place.make()
        place.execute("UPDATE alembic_version SET version_num = '9999'")
        before = place.tables()
        with pytest.raises(SchemaTooNew, match="9999"):
            place.open(migrate=migrate)
        assert place.tables() == before

    def test_somebody_elses_database_is_refused_and_left_alone(self, place: Place) -> None:
        place.execute("CREATE TABLE theirs (id INTEGER)")
        with pytest.raises(StoreError, match="not Penstock's"):
            place.open(HEX)
        assert place.tables() == {"theirs"}

    def test_migration_that_is_cut_off_leaves_nothing_behind(self, place: Place) -> None:
        store = place.unopened(Sealer(KEY))
        connection = store._writing.connect()
        connection.begin()
        migrations.upgrade(connection)
        connection.close()
        assert place.tables() == set()
        store.close()

    def test_starters_at_the_same_time_make_one_database(self, place: Place) -> None:
        with ThreadPoolExecutor(4) as pool:
            stores = list(pool.map(lambda _: place.open(), range(4)))
        account = add_account(stores[0])
        for number, store in enumerate(stores):
            add_task(store, account, str(number))
        assert {len(store.read_now(lambda tx: tx.tasks(None, None))) for store in stores} == {4}
        for store in stores:
            store.close()

    def test_data_that_is_no_folder_is_refused(self, place: Place) -> None:
        (place.data / "data").write_text("")
        with pytest.raises(ConfigError, match=f"{place.data}/data cannot be used: File exists"):
            place._replace(data=place.data / "data").open()

    @pytest.mark.parametrize("url", ["mysql://h/db", "sqlite://", "sqlite:///:memory:", "nonsense"])
    def test_database_that_is_not_served_is_refused(self, tmp_path: Path, url: str) -> None:
        with pytest.raises(ConfigError, match=r"database\.url"):
            open_store(url, tmp_path, None, migrate=True)

    def test_database_may_lie_elsewhere(self, tmp_path: Path) -> None:
        open_store(f"sqlite:///{tmp_path}/my.db", tmp_path / "data", None, migrate=True).close()
        assert (tmp_path / "my.db").exists()
        assert (tmp_path / "data" / "secret.key").exists()


def indices_of(connection: Connection) -> dict[str, str]:
    """All indices by name, in the database's own words."""
    asked = (
        "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'public' AND indexname <> 'alembic_version_pkc'"
    )
    if connection.dialect.name == "sqlite":
        asked = "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL"
    return dict(map(tuple, connection.exec_driver_sql(asked)))


class TestKey:
    """The key of the secrets."""

    def test_first_start_makes_a_key_for_our_eyes_only(self, place: Place) -> None:
        place._replace(data=place.data / "data").make()
        path = place.data / "data" / "secret.key"
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
        assert len(parse_key(path.read_text())) == 32

    def test_database_without_its_key_is_refused_and_no_new_key_is_made(self, place: Place) -> None:
        place.make()
        (place.data / "secret.key").unlink()
        for migrate in (True, False):
            with pytest.raises(ConfigError, match=r"secret\.key"):
                place.open(migrate=migrate)
        assert not (place.data / "secret.key").exists()

    def test_key_left_by_an_interrupted_first_start_is_used(self, place: Place) -> None:
        (place.data / "secret.key").write_text(HEX)
        place.make()
        assert (place.data / "secret.key").read_text() == HEX
        place.open(HEX, migrate=False).close()

    def test_given_key_is_used_and_not_written_down(self, place: Place) -> None:
        place.make(HEX)
        assert not (place.data / "secret.key").exists()
        place.open(BASE64, migrate=False).close()

    @pytest.mark.parametrize("migrate", [True, False])
    def test_another_key_is_refused(self, place: Place, migrate: bool) -> None:
        place.make()
        with pytest.raises(ConfigError, match="not the one"):
            place.open(HEX, migrate=migrate)

    @pytest.mark.parametrize("text", ["short", "zz" * 32, "ab" * 31, base64.b64encode(b"x" * 31).decode()])
    def test_text_that_is_no_key_is_refused(self, place: Place, text: str) -> None:
        with pytest.raises(ConfigError, match="security key"):
            place.open(text)
        (place.data / "secret.key").write_text(text)
        with pytest.raises(ConfigError, match="security key"):
            place.open()

    def test_key_file_that_cannot_be_read_is_refused(self, place: Place) -> None:
        (place.data / "secret.key").mkdir()
        with pytest.raises(ConfigError, match=r"secret\.key"):
            place.open()


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
