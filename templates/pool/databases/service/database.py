"""The database: connections of the package databases, and statements compiled once for them."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from types import TracebackType
from typing import Self, TypeAlias, cast

import asyncpg
import databases
import structlog
from databases.backends.postgres import PostgresBackend
from databases.core import Connection as DatabasesConnection
from sqlalchemy import ClauseElement, select
from sqlalchemy.sql.compiler import SQLCompiler

from . import metrics
from .errors import PoolExhausted, Unavailable
from .postgres import Turns, connect_options, failure, is_useless_after
from .settings import DatabaseSettings

log = structlog.get_logger()

Connection: TypeAlias = DatabasesConnection

logging.getLogger("databases").setLevel(logging.WARNING)  # it tells of itself at `info`

DIALECT = PostgresBackend("postgresql://")._get_dialect()  # as databases has it


class Statement:
    """A statement, compiled once, whose call gives what the methods of a connection take.

        LOCK = Statement(select(func.pg_advisory_xact_lock(bindparam("key"))))
        row = await connection.fetch_one(LOCK(key=1))

    databases compiles any other statement whenever it runs it, which is most of what a request
    costs. A column's default in Python, and a list for `IN`, are refused (TypeError): let the
    server have the defaults, and use `= ANY(:ids)`.

    Of a row that comes back, `row["name"]` is what the column's type makes of it: JSON is decoded.
    `row._mapping` has what asyncpg read, as fast as can be: JSON is text.
    """

    def __init__(self, statement: ClauseElement) -> None:
        compiled = statement.compile(dialect=DIALECT)
        assert isinstance(compiled, SQLCompiler)
        if compiled.prefetch or compiled.post_compile_params:
            raise TypeError(f"a Python default or an IN cannot be compiled once: {compiled.string}")
        self._compiled = compiled
        self._names = {name for value, name in compiled.bind_names.items() if value.required}
        # Values the statement carries itself, such as the 1 of `version + 1`.
        self._given = {
            name: value for name, value in compiled.params.items() if name not in self._names
        }

    def __call__(self, **values: object) -> ClauseElement:
        """Bind `values` by name. Raises TypeError where one is unknown or missing."""
        if values.keys() != self._names:
            raise TypeError(
                f"the statement takes {sorted(self._names)}, not {sorted(values)}:"
                f" {self._compiled.string}"
            )
        return cast(ClauseElement, Bound(self._compiled, values | self._given))


class Bound:
    """A statement and its values, as far as databases looks: it compiles, and reads these four.

    Some are private to SQLAlchemy, but databases is archived and will not read any others.
    """

    def __init__(self, compiled: SQLCompiler, values: dict[str, object]) -> None:
        self.string = compiled.string
        self.params = values
        self._bind_processors = compiled._bind_processors
        self._result_columns = compiled._result_columns

    def compile(self, **options: object) -> Self:
        return self


class Database:
    """A pool of connections, opened when needed, to be used as an async context manager."""

    def __init__(self, settings: DatabaseSettings) -> None:
        self._turns = Turns(settings)
        self._statement_timeout = settings.database_statement_timeout
        self._size = settings.database_pool_size
        self._database = databases.Database(
            "postgresql://",
            dsn=settings.dsn,  # asyncpg reads the whole URL, sslmode included; databases does not
            database=None,
            min_size=0,
            init_size=0,  # the service starts without its database
            max_size=settings.database_pool_size,
            max_inactive_connection_lifetime=settings.database_pool_recycle,
            reset=keep,
            **connect_options(settings),
        )

    async def __aenter__(self) -> Self:
        await self._database.connect()
        metrics.pool_size.inc(self._size)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        metrics.pool_size.dec(self._size)
        try:
            async with asyncio.timeout(self._statement_timeout):
                await self._database.disconnect()
        except Exception as error:
            log.warning("the pool could not be closed", cause=type(error).__name__)

    def connection(self) -> AbstractAsyncContextManager[Connection]:
        """Lend a connection on which each statement stands alone: no BEGIN, no COMMIT."""
        return Loan(self._turns, self._database)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Connection]:
        """Lend a connection in a transaction: committed at the end, rolled back if it raises."""
        async with self.connection() as connection:
            # Not `connection.transaction()`: it never gives the connection back when BEGIN,
            # COMMIT or ROLLBACK fails.
            transaction = connection.raw_connection.transaction()
            await transaction.start()
            try:
                yield connection
            except BaseException as error:
                if not is_useless_after(error):
                    await transaction.rollback()
                raise
            try:
                await transaction.commit()
            except asyncpg.TransactionRollbackError as error:
                raise Unavailable from error  # and no Collision: it is not to be tried again

    async def ping(self) -> None:
        """Return when the database answers. Raises Unavailable."""
        async with self.connection() as connection:
            await connection.fetch_one(select(1))


class Loan:
    """A connection for the length of one block.

    A class, because what contextlib makes of a generator costs each request several times as much.
    """

    def __init__(self, turns: Turns, database: databases.Database) -> None:
        self._turns = turns
        # Not `database.connection()`, which hands the same one out again within a task, also
        # after its release failed.
        self._connection = DatabasesConnection(database, database._backend)

    async def __aenter__(self) -> Connection:
        try:
            await self._turns.take(self._connection.__aenter__)
        except TimeoutError as error:
            raise PoolExhausted from error
        except Exception as error:
            raise failure(error, connected=False) or Unavailable() from error
        return self._connection

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if isinstance(error, Exception):
                connected = not lost(self._connection)
                if connected and is_useless_after(error):
                    self._connection.raw_connection.terminate()
                if unavailable := failure(error, connected=connected):
                    raise unavailable from error
        finally:
            await self._release()

    async def _release(self) -> None:
        try:
            # Not its `__aexit__`, which counts: a transaction that fails to end is never taken off.
            await self._connection._connection.release()
        except Exception as error:
            # The pool has replaced it. What was committed is, so the caller need not hear.
            log.warning("connection lost at its release", cause=type(error).__name__)
        finally:
            self._turns.give_back()


async def keep(connection: "asyncpg.Connection[asyncpg.Record]") -> None:
    """Leave a released connection as it is, without the round trip of asyncpg's own reset.

    An open transaction has been rolled back. What is set for a session stays set, as it does in
    other pools: use `SET LOCAL` and `pg_advisory_xact_lock`, which end with the transaction.
    """


def lost(connection: Connection) -> bool:
    """Tell whether the server is gone: then the pool may have taken the connection back already."""
    try:
        return bool(connection.raw_connection.is_closed())
    except asyncpg.InterfaceError:
        return True
