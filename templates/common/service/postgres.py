"""How PostgreSQL is connected to and what its failures mean, whatever the pool."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar

import asyncpg

from . import metrics
from .errors import Collision, ReadOnly, StatementTimedOut, Unavailable
from .settings import DatabaseSettings

# Failures that the caller did not cause, by SQLSTATE or its class:
# https://www.postgresql.org/docs/current/errcodes-appendix.html
SQLSTATES: Mapping[str, type[Unavailable]] = {
    "08": Unavailable,  # connection exception
    "25006": ReadOnly,
    "25P03": StatementTimedOut,  # idle in a transaction for too long
    "25P04": StatementTimedOut,  # the transaction took too long
    "28": Unavailable,  # the server does not let us in
    "3D000": Unavailable,  # the database does not exist (yet)
    "40001": Collision,  # serialization failure
    "40P01": Collision,  # deadlock
    "53": Unavailable,  # out of connections, memory or disk
    "55P03": StatementTimedOut,  # lock not available
    "57": Unavailable,  # the operator is shutting it down
    "57014": StatementTimedOut,
    "58": Unavailable,  # a system error on the server
}

T = TypeVar("T")


class Turns:
    """Turns at the pool, as many as it has connections: first come, first served.

    Of a pool's own queue who asks just when a connection is free takes it, past all who wait: under
    load some would wait for many times as long as others, and too long. (By hand, because asyncio's
    semaphore takes 1 to 3 % of the instructions of reading a note.)
    """

    def __init__(self, settings: DatabaseSettings) -> None:
        self._free = settings.database_pool_size  # 0 as long as anybody waits
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._timeout = settings.database_pool_timeout

    async def take(self, acquire: Callable[[], Awaitable[T]]) -> T:
        """Wait for a turn, and call `acquire`. Raises TimeoutError when that took too long."""
        if self._free:
            # Who need not wait may have to connect, or to wait while a connection is rolled back:
            # the bounds of both are in `connect_options`.
            self._free -= 1
            return await self._taken(acquire)
        async with asyncio.timeout(self._timeout):
            with metrics.pool_waiting.track_inprogress():
                await self._wait()
            return await self._taken(acquire)

    async def _wait(self) -> None:
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if not turn.cancelled():  # it came at the same moment
                self._pass_on()
            while self._waiting and self._waiting[0].done():  # or they would pile up
                self._waiting.popleft()
            raise

    async def _taken(self, acquire: Callable[[], Awaitable[T]]) -> T:
        metrics.pool_in_use.inc()
        try:
            return await acquire()
        except BaseException:
            self.give_back()
            raise

    def give_back(self) -> None:
        metrics.pool_in_use.dec()
        self._pass_on()

    def _pass_on(self) -> None:
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():  # or it was cancelled, and nobody waits for it
                turn.set_result(None)
                return
        self._free += 1


class NotCommitted(RuntimeError):
    """A statement of a transaction failed, but its error was swallowed."""


class FrankConnection(asyncpg.Connection):
    """A connection that tells when a transaction's COMMIT did not commit.

    Where a statement failed PostgreSQL makes it a ROLLBACK, and asyncpg says nothing: a handler
    that swallowed the error would answer as if everything were stored.
    """

    async def execute(self, query: str, *args: object, **options: Any) -> str:
        """Raises NotCommitted."""
        status = await super().execute(query, *args, **options)
        if status == "ROLLBACK" and query.startswith("COMMIT"):
            raise NotCommitted
        return status


def connect_options(settings: DatabaseSettings) -> dict[str, Any]:
    """Give the options of `asyncpg.connect` that are the same for every pool."""
    options: dict[str, Any] = {
        "connection_class": FrankConnection,
        "timeout": settings.database_pool_timeout,
        # A little later than the server's own, which costs no connection.
        "command_timeout": settings.database_statement_timeout + 0.5,
        "server_settings": {"application_name": __name__.partition(".")[0]},
    }
    if settings.database_pgbouncer:
        # The next transaction may be on another server connection, without our statements; and
        # PgBouncer refuses settings it does not track, so there ALTER ROLE has the timeout.
        options["statement_cache_size"] = 0
    else:
        milliseconds = str(int(settings.database_statement_timeout * 1000))
        options["server_settings"] |= {
            "statement_timeout": milliseconds,
            "idle_in_transaction_session_timeout": milliseconds,
        }
    return options


def failure(error: BaseException, *, connected: bool) -> Unavailable | None:
    """Translate what asyncpg raised; None where it is a fault of ours, or not asyncpg's at all.

    connected: whether the connection still is.
    """
    kind: type[Unavailable] | None = None
    if isinstance(error, asyncpg.PostgresError):
        sqlstate = error.sqlstate or ""
        kind = SQLSTATES.get(sqlstate) or SQLSTATES.get(sqlstate[:2])
    elif isinstance(error, TimeoutError):
        kind = StatementTimedOut
    elif isinstance(error, OSError | asyncpg.InternalClientError) or (
        isinstance(error, asyncpg.InterfaceError) and not connected
    ):
        kind = Unavailable
    return kind() if kind else None


def is_useless_after(error: BaseException) -> bool:
    """Tell whether a connection is not to be used again, not even for a ROLLBACK.

    Its server is silent, and would be waited for once more. Or it has become read-only, and after
    a failover another one may be at its address.
    """
    return isinstance(error, TimeoutError | asyncpg.ReadOnlySQLTransactionError)
