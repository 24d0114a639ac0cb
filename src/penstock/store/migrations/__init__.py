"""The schema's versions, each a file in `versions` named ``v<revision>_<what>.py``, applied by Alembic."""

from pathlib import Path

from sqlalchemy import Connection, inspect, text

from penstock.errors import SchemaTooNew, StoreError

_HERE = Path(__file__).parent


def revisions() -> list[str]:
    """Every revision we know, oldest first."""
    return sorted(path.name[1:].partition("_")[0] for path in (_HERE / "versions").glob("v*_*.py"))


def current(connection: Connection) -> str | None:
    """The database's revision; None for an empty one. Raise `StoreError` for a database of somebody else."""
    tables = inspect(connection).get_table_names()
    if "alembic_version" in tables:
        revision = connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one_or_none()
        return None if revision is None else str(revision)
    if tables:
        raise StoreError("This database holds tables that are not Penstock's.")
    return None


def check(connection: Connection) -> None:
    """Raise unless the database has the newest revision that we know."""
    revision, known = current(connection), revisions()
    if revision is not None and revision not in known:
        raise SchemaTooNew(
            f"The database has schema {revision}, and this Penstock knows none after {known[-1]}: use a newer one."
        )
    if revision != known[-1]:
        raise StoreError(f"The database has schema {revision or 'none'}, and {known[-1]} is needed.")


def upgrade(connection: Connection) -> None:
    """Bring the database to the newest revision, inside the connection's transaction."""
    revision, known = current(connection), revisions()
    if revision == known[-1]:
        return
    if revision is not None and revision not in known:
        check(connection)
    # Alembic takes long to import, and most starts have no use for it.
    from alembic import command  # noqa: PLC0415
    from alembic.config import Config  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", str(_HERE).replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
