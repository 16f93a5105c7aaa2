"""alembic's environment: the tables that should exist, and the connection to the database."""

import asyncio
import logging
import signal
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from graphlib import CycleError, TopologicalSorter
from typing import Any

import alembic_postgresql_enum  # noqa: F401  # migrations create, change and drop enum types
import asyncpg
from alembic import context
from alembic.operations.ops import DropTableOp, MigrationScript, ModifyTableOps
from alembic.util import CommandError
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool

from service import domains  # noqa: F401  # imports all models, so their tables join the metadata
from service.connect_failures import explain
from service.models import metadata
from service.settings import DatabaseSettings, InvalidSettings

# The key of the advisory lock. No other program may use it in this database.
LOCK_KEY = 5_432_001
LOCK_TIMEOUT = 600  # Seconds. Another replica may be building an index.
TIMEOUTS = ("statement_timeout", "idle_in_transaction_session_timeout", "idle_session_timeout")

logging.basicConfig(format="%(message)s")
logging.getLogger("alembic.runtime.migration").setLevel(logging.INFO)
logging.getLogger("alembic.util.messaging").setLevel(logging.CRITICAL)  # alembic prints errors, too


def include_name(name: str | None, kind: str, _: object) -> bool:
    """Return whether to compare what has this name. Schemas without tables of ours are left alone.

    None is the default schema. A migration must create the others with `CREATE SCHEMA` itself.
    """
    return kind != "schema" or name in {None, *(table.schema for table in metadata.tables.values())}


def drop_tables_last(_context: object, _revision: object, scripts: list[MigrationScript]) -> None:
    """Let a new migration drop tables after the columns and the tables that refer to them.

    alembic would drop tables in any order, and before it changes others.
    """
    for script in scripts:
        assert script.upgrade_ops
        assert script.downgrade_ops
        operations = script.upgrade_ops.ops
        changes = [operation for operation in operations if isinstance(operation, ModifyTableOps)]
        drops = {op.to_table().key: op for op in operations if isinstance(op, DropTableOp)}
        references = {}
        for name, drop in drops.items():
            keys = drop.to_table().foreign_key_constraints
            references[name] = {key.referred_table.key for key in keys} - {name}
        try:
            order = [*TopologicalSorter(references).static_order()]
        except CycleError:  # Tables refer to each other. One of the keys must be dropped first.
            continue
        in_order = iter([*changes, *(drops[name] for name in reversed(order) if name in drops)])
        script.upgrade_ops.ops = [
            # Other operations, such as those on enum types, stay where they are.
            next(in_order) if isinstance(operation, ModifyTableOps | DropTableOp) else operation
            for operation in operations
        ]
        script.upgrade_ops.reverse_into(script.downgrade_ops)


def run_migrations(**options: Any) -> None:
    context.configure(
        target_metadata=metadata,
        compare_server_default=True,
        include_schemas=True,
        include_name=include_name,
        process_revision_directives=drop_tables_last,
        # Each migration has a transaction of its own. CREATE INDEX CONCURRENTLY cannot run in one:
        # put it into `with op.get_context().autocommit_block():`.
        transaction_per_migration=True,
        **options,
    )
    with context.begin_transaction():
        context.run_migrations()


@asynccontextmanager
async def migration_lock(engine: AsyncEngine) -> AsyncIterator[None]:
    """Hold an advisory lock, so that replicas which start together migrate one after the other.

    Polling is needed: a replica that waits in `pg_advisory_lock` holds a snapshot, and CREATE INDEX
    CONCURRENTLY in another replica waits for that snapshot, which is a deadlock. For the same
    reason the lock has a connection in AUTOCOMMIT, in addition to the one that migrates.
    """
    lock = text("SELECT pg_try_advisory_lock(:key)").bindparams(key=LOCK_KEY)
    async with engine.execution_options(isolation_level="AUTOCOMMIT").connect() as connection:
        deadline = time.monotonic() + LOCK_TIMEOUT
        while not await connection.scalar(lock):
            if time.monotonic() > deadline:
                raise CommandError(f"another migration has been running for {LOCK_TIMEOUT} s")
            await asyncio.sleep(0.2)
        yield  # PostgreSQL releases the lock when its connection is closed.


def stop_at_sigterm() -> None:
    """Let SIGTERM cancel the current task, which rolls back the migration that runs.

    Linux ignores SIGTERM for the first process of a container, unless the process handles it.
    """
    task = asyncio.current_task()
    if task and threading.current_thread() is threading.main_thread():  # tests use another one
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)


async def migrate(dsn: str) -> None:
    async def connect() -> "asyncpg.Connection[asyncpg.Record]":
        # A migration may take long, so the role's timeouts, which are for requests, are turned off.
        # PgBouncer refuses these settings. That is intended: through PgBouncer, statements of one
        # client use different connections, so the advisory lock would protect nothing.
        no_timeouts = dict.fromkeys(TIMEOUTS, "0")
        try:
            return await asyncpg.connect(dsn, server_settings=no_timeouts)
        except Exception as error:
            message = f"no connection: {type(error).__name__}: {explain(error)}"
            raise CommandError(message) from None

    stop_at_sigterm()
    engine = create_async_engine("postgresql+asyncpg://", async_creator=connect, poolclass=NullPool)
    async with migration_lock(engine), engine.connect() as connection:
        await connection.run_sync(lambda connection: run_migrations(connection=connection))


if context.is_offline_mode():
    run_migrations(dialect_name="postgresql", literal_binds=True)
else:
    try:
        settings = DatabaseSettings.load()
    except InvalidSettings as error:
        raise CommandError(str(error)) from None
    try:
        asyncio.run(migrate(settings.dsn))
    except asyncio.CancelledError:
        raise CommandError("stopped by SIGTERM") from None
