"""Fixtures: a migrated database, and the service on it with a pool of one connection."""

import gc
import logging
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import asyncpg
import pytest
import structlog
from dotenv import dotenv_values
from httpx2 import AsyncClient

from scripts.postgres import postgres
from scripts.upstream import start_upstream  # The example
from tests.postgres_proxy import PostgresProxy
from tests.process import ServiceProcess, run_service
from tests.serving import Settings, connections_in_use, find_database_url, metadata, serve
from tests.temporary_database import MigratedRows, Sql, alembic, temporary_database

DEVELOPMENT = Path(__file__).parent.parent / ".env.development"


def pytest_collection_finish() -> None:
    gc.freeze()  # Modules and tests stay until the end. Collecting garbage ignores them from here on.


@pytest.fixture(scope="session")
def server_url() -> Iterator[str]:
    """The URL of a PostgreSQL server: DATABASE_URL if that is set, else a temporary server.

    The tests create a database of their own there, and do not touch the one that the URL names.
    """
    if url := find_database_url():
        yield url
    else:
        with postgres() as url:
            yield url


@pytest.fixture(scope="session", autouse=True)
def environment(server_url: str) -> Iterator[None]:
    """An environment with the settings of .env.development instead of the developer's.

    Logs are written at the level `info`, for a console.
    """
    with pytest.MonkeyPatch.context() as patch:
        for name in list(os.environ):
            if name.lower() in Settings.model_fields:
                patch.delenv(name)
        for name, value in dotenv_values(DEVELOPMENT).items():
            patch.setenv(name, value or "")
        patch.setenv("UPSTREAM_URL", start_upstream())  # The example
        structlog.configure(
            # Rich would print the local variables of every frame.
            processors=[
                structlog.processors.add_log_level,
                structlog.dev.ConsoleRenderer(
                    colors=False, exception_formatter=structlog.dev.plain_traceback
                ),
            ],
            wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        )
        yield


@pytest.fixture(scope="session")
async def database_url(server_url: str) -> AsyncIterator[str]:
    async with temporary_database(server_url) as url:
        await alembic(url, "upgrade", "head")
        yield url


@pytest.fixture(scope="session")
def settings(database_url: str) -> Settings:
    """Settings with a pool of one: a handler that needs two connections fails here."""
    return Settings.load(
        _env_file=None,
        database_url=database_url,
        database_pool_size=1,
        database_pool_timeout=3,
        database_statement_timeout=3,
    )


@pytest.fixture(scope="session")
async def shared_client(settings: Settings) -> AsyncIterator[AsyncClient]:
    """A client of the service, which is started once for all tests."""
    async with serve(settings) as client:
        yield client


@pytest.fixture(scope="session")
async def service_process(
    settings: Settings, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[ServiceProcess]:
    """The service under gunicorn, for the host 127.0.0.1."""
    folder = tmp_path_factory.mktemp("service")
    async with run_service(settings, folder, ALLOWED_HOSTS="127.0.0.1") as process:
        yield process
        before = len(process.output)
    assert not [line for line in process.output[before:] if "error" in line.lower()], "at the stop"


@pytest.fixture(scope="session")
async def connection(database_url: str) -> AsyncIterator[Sql]:
    connection = await asyncpg.connect(database_url, command_timeout=10)
    yield connection
    await connection.close()


@pytest.fixture(scope="session")
async def migrated_rows(connection: Sql) -> MigratedRows:
    rows = MigratedRows(metadata)
    await rows.remember(connection)
    return rows


@pytest.fixture
async def sql(connection: Sql, migrated_rows: MigratedRows) -> AsyncIterator[Sql]:
    """A connection of the test itself to the service's database.

    Its tables have no rows but those that the migrations inserted.
    """
    await migrated_rows.restore(connection)
    yield connection
    await connection.reset()


@pytest.fixture
async def client(shared_client: AsyncClient, sql: Sql) -> AsyncIterator[AsyncClient]:
    """A client of the service on empty tables. No connection may be in use after the test."""
    yield shared_client
    assert connections_in_use() == 0


@pytest.fixture
async def postgres_proxy(database_url: str) -> AsyncIterator[PostgresProxy]:
    """A proxy in front of the database that records statements and can fail."""
    proxy = PostgresProxy(database_url)
    await proxy.start()
    yield proxy
    await proxy.stop()
