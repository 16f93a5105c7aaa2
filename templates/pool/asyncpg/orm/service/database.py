"""The database: SQLAlchemy's pool of asyncpg connections, and sessions on it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from contextvars import Context
from operator import attrgetter
from types import TracebackType
from typing import Any, Self, TypeAlias, cast

import asyncpg
import structlog
from sqlalchemy import Connection as SyncConnection
from sqlalchemy import ExceptionContext, event, text
from sqlalchemy.exc import DBAPIError, DisconnectionError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import (
    AsyncEngine,
    AsyncSession,
    async_sessionmaker,
    create_async_engine,
)
from sqlalchemy.orm import Session, SessionTransaction, UOWTransaction
from sqlalchemy.pool import ConnectionPoolEntry, PoolProxiedConnection

from . import metrics
from .errors import PoolExhausted, Unavailable
from .postgres import Turns, connect_options, failure, is_useless_after
from .settings import DatabaseSettings

log = structlog.get_logger()

Connection: TypeAlias = AsyncSession

KEPT = 1  # second, or two, that readers hand a session on, until its connection is the pool's


class Database:
    """A pool of connections, opened when needed, to be used as an async context manager."""

    def __init__(self, settings: DatabaseSettings) -> None:
        self._turns = Turns(settings)
        self._statement_timeout = settings.database_statement_timeout
        self._size = settings.database_pool_size
        self._engine = engine(settings)
        self._sessions = async_sessionmaker(
            self._engine,
            sync_session_class=LentSession,
            expire_on_commit=False,
            close_resets_only=False,  # who keeps one beyond its block is refused
        )
        self._readers = Readers(self._engine)

    async def __aenter__(self) -> Self:
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
                await self._readers.stop()
                await self._engine.dispose()
        except Exception as error:
            log.warning("the pool could not be closed", cause=type(error).__name__)

    def connection(self) -> AbstractAsyncContextManager[Connection]:
        """Lend a session on which each statement stands alone: no BEGIN, no COMMIT."""
        return Loan(self._turns, self._sessions, self._readers, autocommit=True)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Connection]:
        """Lend a session in a transaction: committed at the end, rolled back if it raises."""
        loan = Loan(self._turns, self._sessions, self._readers, autocommit=False)
        async with loan as session:
            yield session
            await session.flush()
            try:
                await session.commit()
            except DBAPIError as error:
                if isinstance(error.driver_exception, asyncpg.TransactionRollbackError):
                    raise Unavailable from error  # no Collision: it is not to be tried again
                raise

    async def ping(self) -> None:
        """Return when the database answers. Raises Unavailable."""
        async with self.connection() as connection:
            await connection.execute(text("SELECT 1"))


class Loan:
    """A session that has its connection, for the length of one block.

    A class, because what contextlib makes of a generator costs each request several times as much.
    """

    def __init__(
        self,
        turns: Turns,
        sessions: async_sessionmaker[AsyncSession],
        readers: "Readers",
        *,
        autocommit: bool,
    ) -> None:
        self._turns = turns
        self._sessions = sessions
        self._readers = readers
        self._autocommit = autocommit

    async def __aenter__(self) -> Connection:
        try:
            self._session = await self._turns.take(self._open)
        except TimeoutError as error:
            raise PoolExhausted from error
        except Exception as error:
            raise translated(error) or Unavailable() from error
        # Not on the session itself, which would be a cycle that only the garbage collector ends.
        self._as_lent = vars(self._session.sync_session).copy()
        return self._session

    async def _open(self) -> AsyncSession:
        if reader := self._readers.pop():
            if self._autocommit:
                return reader
            await reader.close()  # or the pool might have no connection left
        session = self._sessions()
        lent(session).autocommit = self._autocommit
        try:
            await session.run_sync(Session.connection)  # which is not to note that it is shown
        except BaseException:
            async with session:
                raise
        return session

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if error is not None:  # to the end, whoever is cancelled meanwhile
                await self._session.__aexit__(kind, error, trace)
            elif not self._readers.keep(self._session, self._as_lent):
                await self._session.close()  # nothing is left to wait for
        except Exception as failed:
            if unavailable := translated(failed):
                raise unavailable from failed
            raise
        finally:  # once it is closed, or who is next would wait in the pool's own queue
            self._turns.give_back()
        if isinstance(error, Exception) and (unavailable := translated(error)):
            raise unavailable from error


class Readers:
    """Sessions whose readers are done, and which have their connections still, for the next readers.

    To make a session, take its connection from the pool and give it back costs as much as a
    statement and its rows. So while others only read it is done once a second, not once a request.
    """

    def __init__(self, bind: AsyncEngine) -> None:
        self._bind = bind
        self._idle: list[AsyncSession] = []
        self._timer: asyncio.TimerHandle | None = None
        self._closing: set[asyncio.Task[None]] = set()
        self._stopped = False

    def keep(self, session: AsyncSession, as_lent: dict[str, Any]) -> bool:
        """Keep a session. False if it is not as it was lent, and is to be closed."""
        loop = asyncio.get_running_loop()
        own = lent(session)
        if self._stopped or loop.time() > own.begun + KEPT or not is_untouched(own, as_lent):
            return False
        own.expunge_all()
        self._idle.append(renewed(session, self._bind))
        if self._timer is None:
            # In a context of its own, or what it logs would have this request's id.
            self._timer = loop.call_later(KEPT, self._dismiss, context=Context())
        return True

    def pop(self) -> AsyncSession | None:
        """Give a session whose connection is still there, if there is one."""
        while self._idle:
            session = self._idle.pop()
            if not lent(session).driver.is_closed():
                return session
            self._close_soon(session)
        return None

    async def stop(self) -> None:
        """Close all that are idle, and keep no more."""
        self._stopped = True
        self._dismiss()
        await asyncio.gather(*self._closing)

    def _dismiss(self) -> None:
        """Let the pool have the connections of those that are idle."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while self._idle:
            self._close_soon(self._idle.pop())

    def _close_soon(self, session: AsyncSession) -> None:
        task = asyncio.create_task(self._close(session))
        self._closing.add(task)  # asyncio itself would not hold it
        task.add_done_callback(self._closing.discard)

    async def _close(self, session: AsyncSession) -> None:
        try:
            await session.close()
        except Exception as error:
            log.warning("connection lost at its release", cause=type(error).__name__)


class LentSession(Session):
    """A session that knows of its connection, and notes what is done with both.

    The option AUTOCOMMIT of an engine would be set at each checkout and back at each release, which
    costs more than the BEGIN and the ROLLBACK that it saves.
    """

    autocommit: bool  # whether its statements stand alone
    begun: float
    driver: Any
    # Set once it was: so `is_untouched` sees it.
    flushed: bool
    shown: bool  # its connection, to somebody who may keep it, and change it

    def connection(self, *arguments: Any, **options: Any) -> SyncConnection:
        self.shown = True
        return super().connection(*arguments, **options)

    def get_transaction(self) -> SessionTransaction | None:
        self.shown = True
        return super().get_transaction()


@event.listens_for(LentSession, "after_begin")
def tell_driver(
    session: LentSession, transaction: SessionTransaction, connection: SyncConnection
) -> None:
    pooled: Any = connection.connection
    pooled.dbapi_connection.autocommit = session.autocommit
    session.driver = pooled.driver_connection
    session.begun = asyncio.get_running_loop().time()


@event.listens_for(LentSession, "after_flush")
def note_flush(session: LentSession, context: UOWTransaction) -> None:
    session.flushed = True


ENDED = LentSession(close_resets_only=False)
ENDED.close()
# The listeners of one session, by kind of event.
LISTENERS = attrgetter(*cast(list[str], type(ENDED.dispatch).__slots__))
NO_LISTENERS = LISTENERS(ENDED.dispatch)


def lent(session: AsyncSession) -> LentSession:
    own = session.sync_session
    assert isinstance(own, LentSession)
    return own


def is_untouched(session: LentSession, as_lent: dict[str, Any]) -> bool:
    """Tell whether a session has only been read from, so that nobody sees who had it before."""
    return (
        vars(session) == as_lent  # its transaction, its options, what was noted or set on it
        and not session.info
        and session.is_active
        and not session.driver.is_closed()
        and not session.driver.is_in_transaction()  # begun by SQL
        and LISTENERS(session.dispatch) == NO_LISTENERS
    )


def renewed(session: AsyncSession, bind: AsyncEngine) -> AsyncSession:
    """Make another session of the same state, and end this one.

    So who keeps one beyond its block is refused, instead of using what is somebody else's by then.
    """
    own = session.sync_session
    session.sync_session = session._proxied = ENDED
    return AsyncSession(bind, sync_session_class=cast(Any, lambda **_: own))


def engine(settings: DatabaseSettings) -> AsyncEngine:
    options = connect_options(settings)

    async def connect() -> "asyncpg.Connection[asyncpg.Record]":
        # asyncpg reads the whole URL, sslmode included, which SQLAlchemy would refuse.
        return await asyncpg.connect(settings.dsn, **options)

    created = create_async_engine(
        "postgresql+asyncpg://",
        async_creator=connect,
        pool_size=settings.database_pool_size,
        max_overflow=0,  # overflow connections would be closed at their release
        pool_timeout=settings.database_pool_timeout,
        pool_recycle=settings.database_pool_recycle,
        hide_parameters=True,  # errors are logged; what users wrote is not
        connect_args={"prepared_statement_cache_size": 0} if settings.database_pgbouncer else {},
    )
    event.listen(created.sync_engine, "checkout", refuse_closed)
    event.listen(created.sync_engine, "checkin", end_open)
    event.listen(created.sync_engine, "handle_error", end_useless)
    return created


def refuse_closed(
    connection: Any, record: ConnectionPoolEntry, proxy: PoolProxiedConnection
) -> None:
    """Let the pool replace a connection that the server has ended, at no round trip."""
    driver = record.driver_connection
    if driver is None or driver.is_closed():
        raise DisconnectionError


def end_open(connection: Any, record: ConnectionPoolEntry) -> None:
    """End a connection in a transaction that SQL began: SQLAlchemy rolls back only its own."""
    driver = record.driver_connection
    if driver is not None and not driver.is_closed() and driver.is_in_transaction():
        driver.terminate()


def end_useless(context: ExceptionContext) -> None:
    """End a connection before SQLAlchemy asks it for a ROLLBACK."""
    error = context.sqlalchemy_exception or context.original_exception
    if context.connection and is_useless_after(cause(error)):
        driver: Any = context.connection.connection.driver_connection
        driver.terminate()
        context.is_disconnect = True
        context.invalidate_pool_on_disconnect = False  # one slow statement says nothing of others


def cause(error: BaseException) -> BaseException:
    """Find what asyncpg raised in what SQLAlchemy makes of it."""
    return (isinstance(error, DBAPIError) and error.driver_exception) or error


def translated(error: Exception) -> Unavailable | None:
    if isinstance(error, PoolTimeoutError):
        return PoolExhausted()
    connected = isinstance(error, DBAPIError) and not error.connection_invalidated
    return failure(cause(error), connected=connected)
