"""A database of the tests' own, and the service on it with a pool of one."""

import logging
import os
from collections.abc import AsyncIterator, Iterator

import asyncpg
import pytest
import structlog
from dotenv import dotenv_values
from httpx2 import AsyncClient
from prometheus_client import REGISTRY

from scripts.develop import upstream
from scripts.postgres import postgres
from tests.databases import Sql, alembic, new_database
from tests.process import Process, started
from tests.serving import Settings, serve
from tests.wire import Wire


@pytest.fixture(scope="session")
def server() -> Iterator[str]:
    """The URL of a server: what DATABASE_URL names, of which no database is touched, or ours."""
    if url := os.environ.get("DATABASE_URL") or dotenv_values(".env").get("DATABASE_URL"):
        yield url
    else:
        with postgres() as url:
            yield url


@pytest.fixture(scope="session", autouse=True)
def environment(server: str) -> Iterator[None]:
    """Keep what the developer has set away from the service."""
    with pytest.MonkeyPatch.context() as patch:
        for name in list(os.environ):
            if name.lower() in Settings.model_fields:
                patch.delenv(name)
        info = structlog.make_filtering_bound_logger(logging.INFO)
        structlog.configure(wrapper_class=info)
        yield


@pytest.fixture(scope="session")
async def database_url(server: str) -> AsyncIterator[str]:
    async with new_database(server) as url:
        await alembic(url, "upgrade", "head")
        yield url


@pytest.fixture(scope="session")
def settings(database_url: str) -> Settings:
    """A pool of one: a handler that holds a connection while it waits is a deadlock here."""
    return Settings.load(
        _env_file=None,
        database_url=database_url,
        database_pool_size=1,
        database_pool_timeout=3,
        database_statement_timeout=3,
        upstream_url="http://127.0.0.1:9",
        upstream_timeout=3,
    )


@pytest.fixture(scope="session")
async def service(settings: Settings) -> AsyncIterator[AsyncClient]:
    async with serve(settings) as client:
        yield client


@pytest.fixture(scope="session")
async def process(
    settings: Settings, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Process]:
    """The service as in production, for the name 127.0.0.1, with the stub of its upstream."""
    folder = tmp_path_factory.mktemp("service")
    with upstream(None) as url:
        hosts = {"ALLOWED_HOSTS": "127.0.0.1"}
        async with started(settings, folder, UPSTREAM_URL=url, **hosts) as process:
            yield process


@pytest.fixture
async def sql(database_url: str) -> AsyncIterator[Sql]:
    """The test's own connection to the database, whose tables are empty."""
    connection = await asyncpg.connect(database_url, command_timeout=10)
    tables = await connection.fetchval(
        "SELECT string_agg(format('%I', tablename), ', ') FROM pg_tables"
        " WHERE schemaname = 'public' AND tablename <> 'alembic_version'"
    )
    if tables:
        await connection.execute(f"TRUNCATE {tables} RESTART IDENTITY CASCADE")
    yield connection
    await connection.close()


@pytest.fixture
async def client(service: AsyncClient, sql: Sql) -> AsyncIterator[AsyncClient]:
    """Whoever asks the service, whose one connection must be free again at the end."""
    yield service
    assert REGISTRY.get_sample_value("database_pool_in_use") == 0


@pytest.fixture
async def wire(database_url: str) -> AsyncIterator[Wire]:
    """A way to the database that counts statements and that the test can cut."""
    wire = Wire(database_url)
    await wire.start()
    yield wire
    await wire.stop()
