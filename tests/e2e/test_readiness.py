"""`/readyz` of a running server tells the truth about its database; `/healthz` only that it lives."""

import sqlite3

import pytest

from tests.e2e.conftest import PenstockServer, ServerFactory, until
from tests.patience import PATIENCE


@pytest.fixture
def server(penstock_server: ServerFactory) -> PenstockServer:
    server = penstock_server(workers=1)
    until(lambda: is_ready(server))
    return server


def is_ready(server: PenstockServer) -> bool:
    return server.get("/readyz") == (200, "ready\n")


def test_database_that_is_taken_away_is_told_until_it_is_back(server: PenstockServer) -> None:
    path, away = server.data / "penstock.db", server.data / "away.db"
    path.rename(away)
    status, reason = server.get("/readyz")
    assert (status, reason) == (503, f"not ready: The database {path} is gone, or another one is in its place.\n")
    assert server.get("/healthz") == (200, "ok\n")
    away.rename(path)
    until(lambda: is_ready(server))


def test_database_that_is_locked_is_told_until_it_answers(server: PenstockServer) -> None:
    other = sqlite3.connect(server.data / "penstock.db", isolation_level=None, timeout=PATIENCE)
    other.execute("BEGIN IMMEDIATE")
    status, reason = server.get("/readyz")
    assert (status, reason) == (503, "not ready: the database does not answer within 2 s\n")
    assert server.get("/healthz") == (200, "ok\n")
    other.close()
    until(lambda: is_ready(server))


def test_database_of_another_version_is_told(server: PenstockServer) -> None:
    other = sqlite3.connect(server.data / "penstock.db", isolation_level=None, timeout=PATIENCE)
    [(revision,)] = other.execute("SELECT version_num FROM alembic_version").fetchall()
    other.execute("UPDATE alembic_version SET version_num = '9999'")
    status, reason = server.get("/readyz")
    assert (status, "schema 9999" in reason) == (503, True)
    other.execute("UPDATE alembic_version SET version_num = ?", (revision,))
    other.close()
    until(lambda: is_ready(server))


def test_api_that_starts_anew_is_not_ready_before_it_knows_the_workers(server: PenstockServer) -> None:
    server.until_replaced(server.kill("api"))
    assert server.get("/readyz") == (200, "ready\n")
