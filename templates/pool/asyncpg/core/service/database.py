"""The database: asyncpg's own pool, and Core statements compiled once to run on it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from contextvars import Context
from json import dumps, loads
from types import TracebackType
from typing import Any, Self, TypeAlias, cast

import asyncpg
import structlog
from asyncpg.pool import PoolConnectionProxy
from sqlalchemy import ClauseElement
from sqlalchemy.dialects.postgresql.asyncpg import dialect
from sqlalchemy.sql.compiler import SQLCompiler

from . import metrics
from .errors import PoolExhausted, Unavailable
from .postgres import Turns, connect_options, failure, is_useless_after
from .settings import DatabaseSettings

log = structlog.get_logger()

Connection: TypeAlias = "PoolConnectionProxy[asyncpg.Record]"

KEPT = 1  # second, or two, that a connection is handed on, until it is the pool's again


class Statement:
    """A Core statement, compiled once, whose call gives the arguments of asyncpg's methods.

        GET = Statement(select(notes).where(notes.c.id == bindparam("note_id")))
        row = await connection.fetchrow(*GET(note_id=1))

    asyncpg knows nothing of SQLAlchemy's types. A column's default in Python, and a list for `IN`,
    are refused (TypeError): let the server have the defaults, and use `= ANY(:ids)`.
    """

    def __init__(self, statement: ClauseElement) -> None:
        compiled = statement.compile(dialect=dialect())  # type: ignore[no-untyped-call]
        assert isinstance(compiled, SQLCompiler)
        if compiled.prefetch or compiled.post_compile_params:
            raise TypeError(f"a Python default or an IN cannot be compiled once: {compiled.string}")
        self._sql = compiled.string
        self._order = tuple(compiled.positiontup or ())
        # Values the statement carries itself, such as the 1 of `version + 1`.
        self._given = {
            name: compiled.params[name]
            for parameter, name in compiled.bind_names.items()
            if not parameter.required
        }
        self._names = frozenset(self._order) - frozenset(self._given)

    def __call__(self, **values: object) -> tuple[Any, ...]:
        """Bind `values` by name. Raises TypeError where one is unknown or missing."""
        if values.keys() != self._names:
            raise TypeError(
                f"the statement takes {sorted(self._names)}, not {sorted(values)}: {self._sql}"
            )
        values |= self._given
        return self._sql, *[values[name] for name in self._order]


class Database:
    """A pool of connections, opened when needed, to be used as an async context manager."""

    def __init__(self, settings: DatabaseSettings) -> None:
        self._turns = Turns(settings)
        self._statement_timeout = settings.database_statement_timeout
        self._size = settings.database_pool_size
        self._pool: asyncpg.Pool[asyncpg.Record] = asyncpg.create_pool(
            settings.dsn,
            min_size=0,
            init_size=0,  # the service starts without its database
            max_size=settings.database_pool_size,
            max_inactive_connection_lifetime=settings.database_pool_recycle,
            init=add_codecs,
            reset=keep,
            **connect_options(settings),
        )
        self._kept = Kept(self._pool)

    async def __aenter__(self) -> Self:
        await self._pool
        metrics.pool_size.inc(self._size)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        metrics.pool_size.dec(self._size)
        self._kept.dismiss()
        try:
            async with asyncio.timeout(self._statement_timeout):
                await self._pool.close()
        except Exception as error:
            log.warning("the pool could not be closed", cause=type(error).__name__)

    def connection(self) -> AbstractAsyncContextManager[Connection]:
        """Lend a connection on which each statement stands alone: no BEGIN, no COMMIT."""
        return Loan(self._turns, self._kept)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Connection]:
        """Lend a connection in a transaction: committed at the end, rolled back if it raises."""
        async with self.connection() as connection:
            transaction = connection.transaction()
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
            await connection.execute("SELECT 1")


class Loan:
    """A connection for the length of one block.

    A class, because what contextlib makes of a generator costs each request several times as much.
    """

    def __init__(self, turns: Turns, kept: "Kept") -> None:
        self._turns = turns
        self._kept = kept

    async def __aenter__(self) -> Connection:
        try:
            self._since, self._connection = await self._turns.take(self._kept.acquire)
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
                    self._connection.terminate()
                if unavailable := failure(error, connected=connected):
                    raise unavailable from error
        finally:
            try:
                if error is not None or not self._kept.keep(self._since, self._connection):
                    await self._kept.release(self._connection)
            finally:
                self._turns.give_back()


class Kept:
    """Connections that came back, for who is next.

    The way through asyncpg's pool and back costs more than a statement. So while all goes well a
    connection makes it once a second, not once a request.
    """

    def __init__(self, pool: "asyncpg.Pool[asyncpg.Record]") -> None:
        self._pool = pool
        self._idle: list[tuple[float, Connection]] = []  # with when the pool lent it
        self._timer: asyncio.TimerHandle | None = None
        self._releases: set[asyncio.Task[None]] = set()

    async def acquire(self) -> tuple[float, Connection]:
        """Give one that is still connected, or ask the pool."""
        while self._idle:
            since, connection = self._idle.pop()
            if not lost(connection):
                return since, connection
            self._release_soon(connection)
        return asyncio.get_running_loop().time(), await self._pool.acquire()

    def keep(self, since: float, connection: Connection) -> bool:
        """Keep a connection. False if it is not fit for that, and is to be released."""
        loop = asyncio.get_running_loop()
        if loop.time() > since + KEPT or self._pool.is_closing():
            return False
        if lost(connection) or not is_untouched(connection):
            return False
        self._idle.append((since, renewed(connection)))
        if self._timer is None:
            # In a context of its own, or what it logs would have this request's id.
            self._timer = loop.call_later(KEPT, self.dismiss, context=Context())
        return True

    def dismiss(self) -> None:
        """Give all that are idle back to the pool."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while self._idle:
            self._release_soon(self._idle.pop()[1])

    def _release_soon(self, connection: Connection) -> None:
        task = asyncio.create_task(self.release(connection))
        self._releases.add(task)  # asyncio itself would not hold it
        task.add_done_callback(self._releases.discard)

    async def release(self, connection: Connection) -> None:
        """Give a connection back to the pool, whose reset ends what was left open."""
        try:
            await self._pool.release(connection)
        except Exception as error:
            # The pool has replaced it. What was committed is, so the caller need not hear.
            log.warning("connection lost at its release", cause=type(error).__name__)


def is_untouched(connection: Connection) -> bool:
    """Tell whether nothing was left open on a connection that the pool's reset would end."""
    driver = cast(Any, connection)._con
    left = driver._top_xact or driver._listeners or driver._log_listeners
    busy = driver._protocol._is_cancelling() or connection.is_in_transaction()
    return not left and not busy


def renewed(connection: Connection) -> Connection:
    """Lend the same connection of the pool anew.

    So who keeps one beyond its block hears that it was released, instead of using what is somebody
    else's by then. asyncpg has no public name for this: see its `Pool.release` and
    `PoolConnectionHolder.acquire`.
    """
    proxy = cast(Any, connection)
    driver, holder = proxy._con, proxy._holder
    driver._on_release()
    proxy._detach()
    holder._proxy = PoolConnectionProxy(holder, driver)
    return cast(Connection, holder._proxy)


async def add_codecs(connection: "asyncpg.Connection[asyncpg.Record]") -> None:
    """Let JSON columns hold Python values, as SQLAlchemy's own engine does."""
    for name in ("json", "jsonb"):
        await connection.set_type_codec(name, schema="pg_catalog", encoder=dumps, decoder=loads)


async def keep(connection: "asyncpg.Connection[asyncpg.Record]") -> None:
    """Leave a released connection as it is, without the round trip of asyncpg's own reset.

    An open transaction has been rolled back. What is set for a session stays set, as it does in
    other pools: use `SET LOCAL` and `pg_advisory_xact_lock`, which end with the transaction.
    """


def lost(connection: Connection) -> bool:
    """Tell whether the server is gone: then the pool may have taken the connection back already."""
    try:
        return connection.is_closed()
    except asyncpg.InterfaceError:
        return True
