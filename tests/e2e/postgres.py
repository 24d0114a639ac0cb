"""A `penstock serve` that keeps its store in PostgreSQL."""

from tests.e2e.conftest import PenstockServer, ServerFactory
from tests.postgresql import PostgresServer


def serve_on(
    penstock_server: ServerFactory, postgres: PostgresServer, database: str, *, workers: int = 2
) -> PenstockServer:
    """Start it on this empty database, by its settings file, so that commands find the database as well."""
    server = penstock_server(workers=workers, start=False)
    (server.data / "penstock.db").unlink()
    (server.data / "penstock.toml").write_text(f'[database]\nurl = "{postgres.url(database)}"\n')
    return server.start()
