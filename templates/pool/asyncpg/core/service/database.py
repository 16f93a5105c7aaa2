"""The database: asyncpg's own pool of connections."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from json import loads
from typing import NewType, Self, TypeAlias

import asyncpg
import structlog
from asyncpg.pool import PoolConnectionProxy

from . import metrics
from .postgres import connect_options, is_unusable_after, reset_or_close, translate
from .settings import DatabaseSettings
from .slots import Slots

log = structlog.get_logger()

Connection: TypeAlias = "PoolConnectionProxy[asyncpg.Record]"
# The same connection while it is in a transaction. Queries that write take this type, so the type
# checker refuses to call them without one.
Transaction = NewType("Transaction", "PoolConnectionProxy[asyncpg.Record]")


class Database:
    """A pool of connections. Each is opened when it is first needed.

    As an async context manager it closes them at its end.
    """

    def __init__(self, settings: DatabaseSettings) -> None:
        self._slots = Slots[Connection](settings)
        self._size = settings.database_pool_size
        self._timeout = settings.database_statement_timeout
        self._pool: asyncpg.Pool[asyncpg.Record] = asyncpg.create_pool(
            settings.dsn,
            min_size=0,
            init_size=0,  # the service starts without its database
            max_size=settings.database_pool_size,
            max_inactive_connection_lifetime=settings.database_pool_recycle,
            init=add_json_codecs,
            reset=keep_session_state,
            **connect_options(settings),
        )

    async def __aenter__(self) -> Self:
        await self._pool
        metrics.pool_size.inc(self._size)
        return self

    async def __aexit__(self, *_: object) -> None:
        metrics.pool_size.dec(self._size)
        try:
            async with asyncio.timeout(self._timeout):
                await self._pool.close()
        except Exception as error:
            log.warning("the pool could not be closed", cause=type(error).__name__)

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """Check out a connection on which each statement stands alone: no BEGIN, no COMMIT."""
        connection = await self._slots.checkout(self._pool.acquire)
        try:
            yield connection
        except BaseException as error:
            is_usable = await reset_or_close(connection, error)
            if service_error := translate(error, is_usable=is_usable):
                raise service_error from error
            raise
        finally:
            await self._release(connection)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Transaction]:
        """Check out a connection in a transaction: committed at the end, rolled back on error."""
        async with self.connection() as connection:
            transaction = connection.transaction()
            await transaction.start()
            try:
                yield Transaction(connection)
            except BaseException as error:
                if not is_unusable_after(error):
                    with suppress(Exception):  # if this fails, `connection()` closes the connection
                        await transaction.rollback()
                raise
            # Outside the `try`, because a failed COMMIT needs no ROLLBACK. It raises an error unless
            # everything was stored, see `CommitCheckedConnection`.
            await transaction.commit()

    async def ping(self) -> None:
        """Return when the database answers. Raises DatabaseUnavailable."""
        async with self.connection() as connection:
            await connection.execute("SELECT 1")

    async def _release(self, connection: Connection) -> None:
        try:
            await self._pool.release(connection)
        except Exception as error:
            # The pool replaces the connection. What was committed is stored, so the request goes on.
            log.warning("a connection was lost when it was released", cause=type(error).__name__)
        finally:
            self._slots.release(connection)


async def add_json_codecs(connection: "asyncpg.Connection[asyncpg.Record]") -> None:
    """Read JSON columns as Python values. `Statement` has written the values as JSON."""
    for name in ("json", "jsonb"):
        await connection.set_type_codec(name, schema="pg_catalog", encoder=str, decoder=loads)


async def keep_session_state(connection: "asyncpg.Connection[asyncpg.Record]") -> None:
    """Leave a released connection as it is: asyncpg's own reset would cost a round trip.

    asyncpg rolls back an open transaction all the same. What was `SET` for the session may stay, so
    use `SET LOCAL` and `pg_advisory_xact_lock`, which end with the transaction. If a statement of a
    task that was not awaited still runs, the next block fails with a 503 and closes the connection.
    """
