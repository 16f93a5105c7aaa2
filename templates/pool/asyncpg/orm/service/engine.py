"""SQLAlchemy's engine with its pool of asyncpg connections, and how the pool treats lost ones.

SQLAlchemy calls these functions, in this order:
- `replace_closed` when it checks out a connection
- `run_statement` or `run_statement_for_many` instead of running a statement itself
- `close_unusable` when asyncpg raises an error
- `close_if_in_use` when a connection is released
"""

import logging
from collections.abc import Callable
from typing import Any

from asyncpg import InterfaceError
from sqlalchemy import ExceptionContext, ExecutionContext, event
from sqlalchemy.exc import DBAPIError, DisconnectionError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine
from sqlalchemy.orm import Session
from sqlalchemy.pool import ConnectionPoolEntry, PoolProxiedConnection

from .errors import main_error
from .postgres import connect_options, is_unusable_after
from .settings import DatabaseSettings

# The service itself logs the requests that failed because a connection was lost.
logging.getLogger("sqlalchemy.pool").setLevel(logging.CRITICAL)
logging.getLogger("sqlalchemy.engine").setLevel(logging.WARNING)  # at `info` it logs each statement

# SQLAlchemy's pool does not notice that a released connection is still in use, by a statement that
# nobody awaited or a stream that nobody read to its end. `run` keeps these in its `record_info`:
RUNNING = "running"  # the set of the statements that run now
STREAMED = "streamed"  # whether a result was streamed: nothing shows if it was read to its end


class ChangesNotStored(RuntimeError):
    """Objects were added, changed or deleted outside a transaction, so they are not stored."""


class ReadSession(Session):
    """The session of `connection()`, which stores nothing."""


@event.listens_for(ReadSession, "before_flush")
def refuse_changes(*_: object) -> None:
    raise ChangesNotStored


def create_engine(settings: DatabaseSettings) -> AsyncEngine:
    engine = create_async_engine(
        "postgresql+asyncpg://",
        connect_args={
            "dsn": settings.dsn,  # asyncpg reads the whole URL, SQLAlchemy would refuse `sslmode`
            **connect_options(settings),
            # SQLAlchemy prepares statements, too. As in `connect_options`, not with PgBouncer.
            "prepared_statement_cache_size": 0 if settings.database_pgbouncer else 100,
        },
        isolation_level="AUTOCOMMIT",  # `Database.transaction` sets another one
        pool_size=settings.database_pool_size,
        max_overflow=0,  # overflow connections would be closed when they are released
        pool_timeout=settings.database_pool_timeout,  # never reached, because of the slots
        pool_recycle=settings.database_pool_recycle,
        hide_parameters=True,  # errors are logged, and what users wrote must not be
    )
    event.listen(engine.sync_engine, "checkout", replace_closed)
    event.listen(engine.sync_engine, "do_execute", run_statement)
    event.listen(engine.sync_engine, "do_executemany", run_statement_for_many)
    event.listen(engine.sync_engine, "handle_error", close_unusable)
    event.listen(engine.sync_engine, "checkin", close_if_in_use)
    return engine


def replace_closed(
    connection: Any, record: ConnectionPoolEntry, proxy: PoolProxiedConnection
) -> None:
    """Let the pool replace a connection that the server has closed, without a round trip."""
    driver_connection = record.driver_connection
    if driver_connection is None or driver_connection.is_closed():
        # SQLAlchemy would close it later, and leak its place in the pool if it is cancelled there.
        record.close()
        raise DisconnectionError  # so that SQLAlchemy opens a new connection in its place


def run_statement(cursor: Any, statement: str, parameters: Any, context: ExecutionContext) -> bool:
    return run(context, cursor.execute, statement, parameters)


def run_statement_for_many(
    cursor: Any, statement: str, parameters: Any, context: ExecutionContext
) -> bool:
    return run(context, cursor.executemany, statement, parameters)


def run(
    context: ExecutionContext, method: Callable[[str, Any], None], statement: str, parameters: Any
) -> bool:
    """Run a statement in place of SQLAlchemy, and record it for as long as it runs."""
    info: Any = context.root_connection.connection.record_info
    running: set[ExecutionContext] = info.setdefault(RUNNING, set())
    running.add(context)
    try:
        method(statement, parameters)
    finally:
        running.remove(context)
    if context.execution_options.get("stream_results"):
        info[STREAMED] = True
    return True  # so that SQLAlchemy does not run it again


def refuse_while_running(session: AsyncSession) -> None:
    """Refuse the COMMIT of a session while a statement of a task that was not awaited still runs.

    SQLAlchemy sends BEGIN before the first statement. While that BEGIN is on its way, it believes
    that there is nothing to commit: it would send no COMMIT and raise no error.
    """
    connection: Any = session.get_bind()  # `Database` opened the session on a connection
    if connection.connection.record_info.get(RUNNING):
        connection.connection.driver_connection.terminate()
        raise InterfaceError("a statement still runs on the connection")


def close_if_in_use(connection: Any, record: ConnectionPoolEntry) -> None:
    """Close a released connection on which a statement may still run or a transaction is open.

    A task that was not awaited may have left the statement, and SQL the transaction: SQLAlchemy
    rolls back only what it has begun itself. A connection that streamed a result is closed even if
    the result was read to its end. `replace_closed` replaces the connection later.
    """
    info: Any = record.record_info
    running, streamed = info.pop(RUNNING, None), info.pop(STREAMED, None)
    driver_connection = record.driver_connection
    if driver_connection is None or driver_connection.is_closed():
        return
    if running or streamed or driver_connection.is_in_transaction():
        driver_connection.terminate()


def close_unusable(context: ExceptionContext) -> None:
    """Close a connection that cannot be used any more before SQLAlchemy sends it a ROLLBACK."""
    # If one connection is lost, SQLAlchemy would replace all of them. `replace_closed` looks at each.
    context.invalidate_pool_on_disconnect = False
    error = context.sqlalchemy_exception or context.original_exception
    if context.connection and is_unusable_after(driver_error(error)):
        driver_connection: Any = context.connection.connection.driver_connection
        driver_connection.terminate()
        context.is_disconnect = True  # so that SQLAlchemy does not use it any more


def driver_error(error: BaseException) -> BaseException:
    """Return the error of asyncpg if SQLAlchemy wrapped one, else `error` itself."""
    error = main_error(error)
    if isinstance(error, DBAPIError) and error.orig is not None:
        return error.orig.__cause__ or error.orig
    return error
