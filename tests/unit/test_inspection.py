"""What can be said of a database without changing it, of either kind."""

from pathlib import Path

import pytest

from penstock.errors import ConfigError, SchemaTooNew, StoreError
from penstock.store.inspection import describe
from penstock.store.migrations import revisions
from tests.unit.place import Place


def test_new_database_is_told_and_stays_new(place: Place) -> None:
    for _ in range(2):
        assert "is new; `penstock serve` makes its tables" in describe(place.url, place.data, None)


def test_sound_database_says_its_schema(place: Place) -> None:
    place.make()
    assert describe(place.url, place.data, None).endswith(f" has schema {revisions()[-1]}")


def test_older_database_is_sound_and_will_be_upgraded(place: Place) -> None:
    place.make()
    place.execute("UPDATE alembic_version SET version_num = '0001'")
    assert describe(place.url, place.data, None).endswith(
        f" has schema 0001, which the next start brings to {revisions()[-1]}"
    )


def test_newer_database_is_refused(place: Place) -> None:
    place.make()
    place.execute("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(SchemaTooNew, match="9999"):
        describe(place.url, place.data, None)


def test_another_key_is_refused(place: Place) -> None:
    place.make()
    with pytest.raises(ConfigError, match="not the one"):
        describe(place.url, place.data, "ab" * 32)


def test_server_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="The database cannot answer"):
        describe("postgresql://127.0.0.1:9/penstock?connect_timeout=2", tmp_path, None)
