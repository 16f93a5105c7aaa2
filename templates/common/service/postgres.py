"""How the service connects to PostgreSQL and what its errors mean, the same in every data layer."""

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import asyncpg
from asyncpg.pool import PoolConnectionProxy

from .errors import (
    DatabaseReadOnly,
    DatabaseUnavailable,
    StatementTimeout,
    TransactionConflict,
    TransactionNotCommitted,
)
from .settings import DatabaseSettings

# Errors that the caller did not cause, by SQLSTATE or by its class (the first two characters):
# https://www.postgresql.org/docs/current/errcodes-appendix.html
ERRORS_BY_SQLSTATE: Mapping[str, type[DatabaseUnavailable]] = {
    "08": DatabaseUnavailable,  # connection exception
    "25006": DatabaseReadOnly,
    "25P03": StatementTimeout,  # idle in a transaction for too long
    "25P04": StatementTimeout,  # the transaction took too long
    "28": DatabaseUnavailable,  # the server does not accept the user
    "3D000": DatabaseUnavailable,  # the database does not exist (yet)
    "40001": TransactionConflict,  # serialization failure
    "40P01": TransactionConflict,  # deadlock
    "53": DatabaseUnavailable,  # out of connections, memory or disk
    "55P03": StatementTimeout,  # lock not available
    "57": DatabaseUnavailable,  # the server is shutting down
    "57014": StatementTimeout,
    "58": DatabaseUnavailable,  # a system error on the server
}


RESET_TIMEOUT = 1  # second, after which a connection is closed instead


class CommitCheckedConnection(asyncpg.Connection):
    """A connection whose COMMIT raises an error unless everything was stored.

    After a statement of the transaction has failed PostgreSQL answers COMMIT with ROLLBACK. asyncpg
    does not report that, so a handler that swallows the statement's error would answer 2xx.
    """

    async def execute(self, query: str, *args: object, **options: Any) -> str:
        """Raises TransactionNotCommitted, and DatabaseUnavailable when COMMIT conflicted."""
        if not query.startswith("COMMIT"):
            return await super().execute(query, *args, **options)
        try:
            status = await super().execute(query, *args, **options)
        except asyncpg.TransactionRollbackError as error:
            # Not a TransactionConflict: after COMMIT was sent nothing is tried again.
            raise DatabaseUnavailable from error
        if status == "ROLLBACK":
            raise TransactionNotCommitted
        return status


def connect_options(settings: DatabaseSettings) -> dict[str, Any]:
    """Return the options of `asyncpg.connect` that are the same in every pool."""
    options: dict[str, Any] = {
        "connection_class": CommitCheckedConnection,
        "timeout": settings.database_pool_timeout,
        # A little later than the server's own timeout, after which the connection is still usable.
        "command_timeout": settings.database_statement_timeout + 0.5,
        "server_settings": {"application_name": __name__.partition(".")[0]},
    }
    if settings.database_pgbouncer:
        # Each transaction may run on another server connection, which lacks the statements that
        # were prepared before. PgBouncer refuses timeouts here, so ALTER ROLE must set them.
        options["statement_cache_size"] = 0
    else:
        milliseconds = str(int(settings.database_statement_timeout * 1000))
        for name in ("statement_timeout", "idle_in_transaction_session_timeout"):
            options["server_settings"][name] = milliseconds
    return options


def translate(error: BaseException, *, is_connected: bool) -> DatabaseUnavailable | None:
    """Return the answer to an error of asyncpg that the caller did not cause, else None."""
    if isinstance(error, asyncpg.InvalidCachedStatementError | asyncpg.OutdatedSchemaCacheError):
        return TransactionConflict()  # a table or type was altered since the statement was prepared
    if isinstance(error, asyncpg.PostgresError):
        sqlstate = error.sqlstate or ""
        answer = ERRORS_BY_SQLSTATE.get(sqlstate) or ERRORS_BY_SQLSTATE.get(sqlstate[:2])
        return answer() if answer else None
    if isinstance(error, TimeoutError):
        return StatementTimeout()
    # asyncpg raises InterfaceError for a lost connection, but for wrong arguments, too.
    is_lost = isinstance(error, asyncpg.InterfaceError) and not is_connected
    if is_lost or isinstance(error, OSError | asyncpg.InternalClientError):
        return DatabaseUnavailable()
    return None


def is_unusable_after(error: BaseException) -> bool:
    """Return whether a connection must be closed after `error`, without another statement.

    After a timeout the server may be silent, so that a ROLLBACK would only wait again. After a
    failover a server that has become read-only may no longer be the one at its address.
    """
    return isinstance(error, TimeoutError | asyncpg.ReadOnlySQLTransactionError)


async def reset_or_close(
    connection: "asyncpg.Connection[Any] | PoolConnectionProxy[Any]", error: BaseException
) -> bool:
    """Make a connection fit for the next request after `error`, and return whether that worked.

    A statement may still be running on it, for example one of a `gather` of which another raised.
    Then asyncpg refuses to reset the connection, and it is closed.
    """
    is_reset = False
    try:
        with suppress(Exception):  # it is busy or lost
            if not is_unusable_after(error):
                await connection.reset(timeout=RESET_TIMEOUT)
                is_reset = True
    finally:
        if not is_reset:
            with suppress(asyncpg.InterfaceError):  # the pool has already taken it back
                connection.terminate()
    return is_reset
