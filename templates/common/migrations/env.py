"""How alembic reaches the database, and what it should look like."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
from alembic import context
from alembic.util import CommandError
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool

from service import domains  # noqa: F401  # imports all models, so their tables join the metadata
from service.models import metadata
from service.settings import DatabaseSettings, InvalidSettings

# Any number will do, if all who migrate this database share it and nobody else takes it.
LOCK = 5_432_001
LOCK_TIMEOUT = 600  # seconds: another replica may be building an index
TIMEOUTS = ("statement_timeout", "idle_in_transaction_session_timeout", "idle_session_timeout")

logging.basicConfig(format="%(message)s")
logging.getLogger("alembic.runtime.migration").setLevel(logging.INFO)


def run(**options: Any) -> None:
    context.configure(
        target_metadata=metadata,
        # Each migration commits by itself, so one that cannot run in a transaction may leave it.
        transaction_per_migration=True,
        **options,
    )
    with context.begin_transaction():
        context.run_migrations()


@asynccontextmanager
async def locked(engine: AsyncEngine) -> AsyncIterator[None]:
    """Hold a lock so that of several replicas that start at once only one migrates.

    It is polled for: waiting in `pg_advisory_lock` would hold a snapshot, for which CREATE INDEX
    CONCURRENTLY in another replica would wait in turn. It needs a connection of its own, in
    AUTOCOMMIT for the same reason.
    """
    lock = text("SELECT pg_try_advisory_lock(:key)").bindparams(key=LOCK)
    async with engine.execution_options(isolation_level="AUTOCOMMIT").connect() as connection:
        deadline = time.monotonic() + LOCK_TIMEOUT
        while not await connection.scalar(lock):
            if time.monotonic() > deadline:
                raise CommandError(f"another migration has been running for {LOCK_TIMEOUT} s")
            await asyncio.sleep(0.2)
        yield  # the lock ends with its connection


async def migrate(dsn: str) -> None:
    async def connect() -> "asyncpg.Connection[asyncpg.Record]":
        # Migrations may take long, whatever the role's own settings are for requests. At startup,
        # which PgBouncer refuses: through it they would reach other clients, and the lock nobody.
        unlimited = dict.fromkeys(TIMEOUTS, "0")
        return await asyncpg.connect(dsn, server_settings=unlimited)

    engine = create_async_engine("postgresql+asyncpg://", async_creator=connect, poolclass=NullPool)
    async with locked(engine), engine.connect() as connection:
        await connection.run_sync(lambda connection: run(connection=connection))


if context.is_offline_mode():
    run(dialect_name="postgresql", literal_binds=True)
else:
    try:
        settings = DatabaseSettings.load()
    except InvalidSettings as error:
        raise CommandError(str(error)) from None
    asyncio.run(migrate(settings.dsn))
