"""How the service connects to PostgreSQL, and what PostgreSQL's errors mean."""

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import asyncpg

from . import errors
from .settings import DatabaseSettings

# What callers are told, by SQLSTATE or by its class (the first two characters):
# https://www.postgresql.org/docs/current/errcodes-appendix.html
ERRORS_BY_SQLSTATE: Mapping[str, type[errors.ServiceError]] = {
    "08": errors.DatabaseUnavailable,  # connection exception
    "22001": errors.TextTooLong,
    "22003": errors.NumberOutOfRange,
    "22021": errors.CharacterNotAllowed,  # NUL in a text
    "22P05": errors.CharacterNotAllowed,  # NUL in JSON
    "23001": errors.ForeignKeyViolation,  # of ON DELETE RESTRICT, since PostgreSQL 18
    "23502": errors.ValueMissing,
    "23503": errors.ForeignKeyViolation,
    "23505": errors.UniqueViolation,
    "23514": errors.ValueNotAllowed,
    "23P01": errors.ExclusionViolation,
    "25006": errors.DatabaseReadOnly,
    "25P03": errors.StatementTimeout,  # idle in a transaction, when the next statement came
    "25P04": errors.StatementTimeout,  # the transaction took too long
    "28": errors.DatabaseUnavailable,  # the server does not accept the user
    "3D000": errors.DatabaseUnavailable,  # the database does not exist (yet)
    "40001": errors.TransactionConflict,  # serialization failure
    "40P01": errors.TransactionConflict,  # deadlock
    "53": errors.DatabaseUnavailable,  # out of connections, memory or disk
    "55P03": errors.StatementTimeout,  # lock not available
    "57": errors.DatabaseUnavailable,  # the server is shutting down
    "57014": errors.StatementTimeout,
    "58": errors.DatabaseUnavailable,  # a system error on the server
}


RESET_TIMEOUT = 1  # second, after which a connection is closed instead


class CommitCheckedConnection(asyncpg.Connection):
    """A connection whose COMMIT raises an error unless everything was stored.

    After a statement of the transaction has failed PostgreSQL answers COMMIT with ROLLBACK. asyncpg
    does not report that, so a handler that swallows the statement's error would answer 2xx. asyncpg
    sends the COMMIT of each transaction by `execute`: a test notices if it no longer does.
    """

    async def execute(self, query: str, *args: object, **options: Any) -> str:
        """Raises TransactionNotCommitted, and DatabaseUnavailable when COMMIT conflicted."""
        if not query.startswith("COMMIT"):
            return await super().execute(query, *args, **options)
        try:
            status = await super().execute(query, *args, **options)
        except asyncpg.TransactionRollbackError as error:
            # Not a TransactionConflict, which is tried again. This conflict could be, but one rule is
            # easier to keep: after COMMIT was sent nothing is tried again.
            raise errors.DatabaseUnavailable from error
        if status == "ROLLBACK":
            raise errors.TransactionNotCommitted
        return status


def connect_options(settings: DatabaseSettings) -> dict[str, Any]:
    """Return the options of `asyncpg.connect`."""
    package = __name__.partition(".")[0]
    application_name = settings.url.parameters.get("application_name", package)
    options: dict[str, Any] = {
        "connection_class": CommitCheckedConnection,
        "timeout": settings.connect_timeout,
        # Longer than statement_timeout, so that the server cancels first: then the connection stays
        # usable. After this timeout of the client it is closed.
        "command_timeout": settings.database_statement_timeout + 0.5,
        "server_settings": {"application_name": application_name},
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


def translate(error: BaseException, *, is_usable: bool) -> errors.ServiceError | None:
    """Return what callers are told about an error of asyncpg, or None: then it is a 500.

    is_usable: whether the connection can still be used. A TimeoutError of other code inside a block
    of `connection()` or `transaction()` is taken for one of asyncpg.
    """
    error = errors.main_error(error)
    if isinstance(error, asyncpg.InvalidCachedStatementError):
        return errors.StatementOutdated()
    if isinstance(error, asyncpg.DataError):  # With one of these causes, asyncpg did not send it.
        if isinstance(error.__cause__, OverflowError):
            return errors.NumberOutOfRange()
        if isinstance(error.__cause__, UnicodeEncodeError):
            return errors.CharacterNotAllowed()  # half of a surrogate pair
        if isinstance(error.__cause__, ValueError):
            return errors.ValueNotAllowed()  # a Decimal with too large an exponent
    if isinstance(error, asyncpg.PostgresError):
        sqlstate = error.sqlstate or ""
        service_error = ERRORS_BY_SQLSTATE.get(sqlstate) or ERRORS_BY_SQLSTATE.get(sqlstate[:2])
        return service_error() if service_error else None
    if isinstance(error, TimeoutError):
        return errors.StatementTimeout()
    # asyncpg raises InterfaceError for a lost connection, but for wrong arguments, too, and other
    # code may raise ConnectionError.
    is_lost = isinstance(error, asyncpg.InterfaceError | ConnectionError) and not is_usable
    if is_lost or isinstance(error, asyncpg.InternalClientError):
        return errors.DatabaseUnavailable()
    return None


def is_unusable_after(error: BaseException) -> bool:
    """Return whether a connection must be closed after `error`, without another statement.

    After a timeout the server may be silent, so that a ROLLBACK would only wait again. And when a
    server has become read-only, a new connection may lead to the one that took its place.
    """
    error = errors.main_error(error)
    return isinstance(error, TimeoutError | asyncpg.ReadOnlySQLTransactionError)


async def reset_or_close(connection: Any, error: BaseException) -> bool:
    """Reset a connection of asyncpg after `error`, or close it. Return whether it is still usable.

    A statement may still be running on it, for example one of a `gather` of which another raised.
    Then the reset fails, and no other request may get the connection. The reset is a round trip for
    each block that raises, even if the error is the caller's, such as a 404.
    """
    is_usable = False
    try:
        with suppress(Exception):  # it is busy or lost
            if not is_unusable_after(error):
                await connection.reset(timeout=RESET_TIMEOUT)
                is_usable = True
    finally:
        if not is_usable:
            # asyncpg's own pool refuses to close a connection that it knows to be lost.
            with suppress(asyncpg.InterfaceError):
                connection.terminate()
    return is_usable
