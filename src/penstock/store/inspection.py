"""A look at a database, in use or not, that changes nothing in it: is it ours, whole, and of which version?"""

from pathlib import Path

from penstock.errors import StoreError
from penstock.store import migrations
from penstock.store.database import Database
from penstock.store.secrets import Sealer, load_sealer
from penstock.store.sql import check_key, named_database, translated
from penstock.store.sqlite import Sqlite


def describe(database_url: str, data: Path, security_key: str | None) -> str:
    """A sentence on the database of these settings, which is sound. Raises as `examine`."""
    database = named_database(database_url, data)
    try:
        with translated(database):
            if database.is_new():
                return f"{database} is new; `penstock serve` makes its tables"
        revision, newest = examine(database, load_sealer(data, security_key, fresh=False)), migrations.revisions()[-1]
    finally:
        database.engine.dispose()
    after = "" if revision == newest else f", which the next start brings to {newest}"
    return f"{database} has schema {revision}{after}"


def examine_file(path: Path, sealer: Sealer) -> str:
    """As `examine`, of SQLite's file."""
    database = Sqlite(path, connections=1)
    try:
        return examine(database, sealer)
    finally:
        database.engine.dispose()


def examine(database: Database, sealer: Sealer) -> str:
    """The revision of a database.

    Raise `StoreError` if it is damaged or not Penstock's, `SchemaTooNew` if it is not for us, and `ConfigError` if
    `sealer` has another key than it was written with.
    """
    with translated(database), database.engine.connect() as connection:
        database.look_over(connection)
        revision = migrations.current(connection)
        if revision is None:
            raise StoreError("This database is empty.")
        if revision not in migrations.revisions():
            migrations.check(connection)
        check_key(connection, sealer)
        return revision
