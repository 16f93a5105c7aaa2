"""SQLAlchemy's engine with its pool of asyncpg connections, and how the pool treats lost ones."""

import logging
from typing import Any

import asyncpg
from sqlalchemy import ExceptionContext, event
from sqlalchemy.exc import DBAPIError, DisconnectionError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import ConnectionPoolEntry, PoolProxiedConnection

from .postgres import connect_options, is_unusable_after
from .settings import DatabaseSettings

# The service itself logs the requests that failed because a connection was lost.
logging.getLogger("sqlalchemy.pool").setLevel(logging.CRITICAL)
logging.getLogger("sqlalchemy.engine").setLevel(logging.WARNING)  # at `info` it logs each statement


def create_engine(settings: DatabaseSettings) -> AsyncEngine:
    options = connect_options(settings)

    async def connect() -> "asyncpg.Connection[asyncpg.Record]":
        # asyncpg reads the whole URL, including `sslmode`, which SQLAlchemy would refuse.
        return await asyncpg.connect(settings.dsn, **options)

    engine = create_async_engine(
        "postgresql+asyncpg://",
        async_creator=connect,
        isolation_level="AUTOCOMMIT",  # `transaction` sets another one
        pool_size=settings.database_pool_size,
        max_overflow=0,  # overflow connections would be closed when they are released
        pool_timeout=settings.database_pool_timeout,  # never reached, because of the slots
        pool_recycle=settings.database_pool_recycle,
        hide_parameters=True,  # errors are logged, and what users wrote must not be
        connect_args={"prepared_statement_cache_size": 0} if settings.database_pgbouncer else {},
    )
    event.listen(engine.sync_engine, "checkout", replace_closed)
    event.listen(engine.sync_engine, "checkin", close_open_transaction)
    event.listen(engine.sync_engine, "handle_error", close_unusable)
    return engine


def replace_closed(
    connection: Any, record: ConnectionPoolEntry, proxy: PoolProxiedConnection
) -> None:
    """Let the pool replace a connection that the server has closed, without a round trip.

    At a DisconnectionError SQLAlchemy opens a new connection in its place.
    """
    driver_connection = record.driver_connection
    if driver_connection is None or driver_connection.is_closed():
        raise DisconnectionError


def close_open_transaction(connection: Any, record: ConnectionPoolEntry) -> None:
    """Close a connection whose transaction was begun by SQL, which SQLAlchemy does not roll back."""
    driver_connection = record.driver_connection
    if (
        driver_connection is not None
        and not driver_connection.is_closed()
        and driver_connection.is_in_transaction()
    ):
        driver_connection.terminate()


def close_unusable(context: ExceptionContext) -> None:
    """Close a connection before SQLAlchemy sends it a ROLLBACK."""
    error = context.sqlalchemy_exception or context.original_exception
    if context.connection and is_unusable_after(driver_error(error)):
        driver_connection: Any = context.connection.connection.driver_connection
        driver_connection.terminate()
        context.is_disconnect = True  # so that SQLAlchemy does not use it any more
        context.invalidate_pool_on_disconnect = False  # the other connections are not affected


def driver_error(error: BaseException) -> BaseException:
    """Return what asyncpg raised, where SQLAlchemy has wrapped it."""
    if isinstance(error, DBAPIError) and error.orig is not None:
        return error.orig.__cause__ or error.orig
    return error
