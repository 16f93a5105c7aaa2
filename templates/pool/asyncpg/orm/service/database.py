"""The database: sessions on SQLAlchemy's pool of asyncpg connections."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from typing import Any, NewType, Self, TypeAlias

import structlog
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession, async_sessionmaker
from sqlalchemy.orm import Session

from . import engine, metrics
from .postgres import reset_or_close, translate
from .settings import DatabaseSettings
from .slots import Slots

log = structlog.get_logger()

# Both are sessions, each of which holds one connection of the pool for as long as its block lasts.
Connection: TypeAlias = AsyncSession
# The second is in a transaction. Queries that write take this type, so the type checker refuses to
# call them without one.
Transaction = NewType("Transaction", AsyncSession)


class Database:
    """A pool of connections. Each is opened when it is first needed.

    As an async context manager it closes them at its end.
    """

    def __init__(self, settings: DatabaseSettings) -> None:
        self._slots = Slots[AsyncConnection](settings)
        self._size = settings.database_pool_size
        self._timeout = settings.database_statement_timeout
        self._engine = engine.create_engine(settings)
        # `close_resets_only=False`: after its block a session cannot be used again.
        self._sessions = async_sessionmaker(expire_on_commit=False, close_resets_only=False)
        self._is_closed = False

    async def __aenter__(self) -> Self:
        metrics.pool_size.inc(self._size)
        return self

    async def __aexit__(self, *_: object) -> None:
        metrics.pool_size.dec(self._size)
        self._is_closed = True
        try:
            async with asyncio.timeout(self._timeout):
                await self._engine.dispose()
        except Exception as error:
            log.warning("the pool could not be closed", cause=type(error).__name__)

    def connection(self) -> AbstractAsyncContextManager[Connection]:
        """Open a session on which each statement stands alone: no BEGIN, no COMMIT."""
        return self._session(self._open_connection, engine.ReadSession)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Transaction]:
        """Open a session in a transaction: committed at the end, rolled back on error."""
        async with self._session(self._open_connection_for_transaction, Session) as session:
            yield Transaction(session)
            engine.refuse_while_running(session)
            await session.commit()

    async def ping(self) -> None:
        """Return when the database answers. Raises DatabaseUnavailable."""
        async with self.connection() as session:
            await session.execute(text("SELECT 1"))

    async def _open_connection(self) -> AsyncConnection:
        try:
            return await self._engine.connect()
        except DBAPIError as error:
            raise engine.driver_error(error) from error

    async def _open_connection_for_transaction(self) -> AsyncConnection:
        connection = await self._open_connection()
        # Use the server's own isolation level, which SQLAlchemy read at the first connect, instead of
        # AUTOCOMMIT. SQLAlchemy does not know READ UNCOMMITTED, and PostgreSQL treats it as READ
        # COMMITTED.
        level = (connection.default_isolation_level or "").replace("UNCOMMITTED", "COMMITTED")
        return await connection.execution_options(isolation_level=level)

    @asynccontextmanager
    async def _session(
        self, open_connection: Callable[[], Awaitable[AsyncConnection]], kind: type[Session]
    ) -> AsyncIterator[AsyncSession]:
        connection = await self._slots.checkout(open_connection)
        session = self._sessions(bind=connection, sync_session_class=kind)
        try:
            yield session
            if session.new or session.dirty or session.deleted:  # after a COMMIT there are none
                raise engine.ChangesNotStored
            await session.close()
        except BaseException as error:
            cause = engine.driver_error(error)
            is_usable = await self._roll_back(session, connection, cause)
            if service_error := translate(cause, is_usable=is_usable):
                raise service_error from cause
            raise
        finally:
            try:
                if self._is_closed:  # there is no pool any more to return it to
                    await connection.invalidate()
                await connection.close()
            finally:
                self._slots.release(connection)

    async def _roll_back(
        self, session: AsyncSession, connection: AsyncConnection, error: BaseException
    ) -> bool:
        """End the session after `error`. Return whether its connection is still usable."""
        with suppress(Exception):  # if the ROLLBACK fails, the connection is closed below
            await session.close()
        if connection.invalidated:  # SQLAlchemy has closed it
            return False
        pooled = await connection.get_raw_connection()
        driver_connection: Any = pooled.driver_connection
        if await reset_or_close(driver_connection, error):
            return True
        await connection.invalidate()
        return False
