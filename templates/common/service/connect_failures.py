"""Why no connection to the database could be opened, in words for those who run the service."""

import socket
import ssl

import asyncpg

UNKNOWN_HOST = "the host in DATABASE_URL is not known: look at its name and at the DNS"
# The first matching type wins. The texts of the errors are not shown: they may hold a part of the URL.
REASONS: tuple[tuple[type[BaseException], str], ...] = (
    (socket.gaierror, UNKNOWN_HOST),
    (
        UnicodeDecodeError,
        "the server or a file sent text that is not UTF-8: look at the files that DATABASE_URL names, "
        "and at the log of the server",
    ),
    (UnicodeError, UNKNOWN_HOST),  # a name that the DNS cannot have
    (
        ssl.SSLCertVerificationError,
        "the certificate of the server is not trusted: look at sslrootcert, which must have its CA, "
        "at its date, and with sslmode=verify-full at its host name",
    ),
    (ssl.SSLError, "TLS failed: look at the certificates and TLS versions of both sides"),
    (
        PermissionError,
        "a file may not be read: look at the socket and at the files that DATABASE_URL names, and "
        "at ~/.postgresql, where asyncpg looks for certificates. HOME must be that of the user "
        "who runs this",
    ),
    (
        FileNotFoundError,
        "a file does not exist: look at the socket and at the files that DATABASE_URL names",
    ),
    (
        ConnectionRefusedError,
        "nothing listens there: look at host and port in DATABASE_URL, and whether PostgreSQL runs",
    ),
    (
        TimeoutError,
        "the server did not answer in time: look at host and port in DATABASE_URL, at firewalls, "
        "and at DATABASE_POOL_TIMEOUT if the server first has to wake up",
    ),
    (
        asyncpg.ConnectionDoesNotExistError,
        "the server closed the connection during login: look at its log, and whether a proxy or "
        "PgBouncer stands before it",
    ),
    (
        ConnectionError,
        "the server closed the connection or offers no TLS: look at sslmode in DATABASE_URL, "
        "and at the log of the server",
    ),
    (
        OSError,
        "the server cannot be reached: look at host and port in DATABASE_URL, whether PostgreSQL "
        "runs, and at the network",
    ),
    (
        asyncpg.InvalidPasswordError,
        "the password is wrong: look at DATABASE_URL, where special characters must be "
        "percent-encoded. A password file must be readable by its owner only",
    ),
    (
        asyncpg.InvalidAuthorizationSpecificationError,
        "the server does not let this user in: look at the user and sslmode in DATABASE_URL, "
        "and at pg_hba.conf",
    ),
    (
        asyncpg.InvalidCatalogNameError,
        "the database does not exist: look at the name in DATABASE_URL, and create it",
    ),
    (
        asyncpg.InsufficientPrivilegeError,
        "the user may not connect to this database: look at its privileges",
    ),
    (
        asyncpg.TooManyConnectionsError,
        "the server has no connection left: look at DATABASE_POOL_SIZE and max_connections",
    ),
    (asyncpg.CannotConnectNowError, "the server starts or stops: wait, and look at its log"),
    (
        asyncpg.ProtocolViolationError,
        "the server refuses what asyncpg sends: look at DATABASE_PGBOUNCER, which must be true if "
        "DATABASE_URL names PgBouncer. For migrations DATABASE_URL must name PostgreSQL itself",
    ),
    (
        asyncpg.PostgresError,
        "the server refuses the connection: look at the parameters of DATABASE_URL, and at the "
        "log of the server",
    ),
    (
        asyncpg.TargetServerAttributeNotMatched,
        "no host is of the kind that target_session_attrs asks for: look at DATABASE_URL",
    ),
    (
        asyncpg.InterfaceError,
        "asyncpg cannot log in: look at DATABASE_URL, at variables whose names begin with PG, and "
        "at the method in pg_hba.conf",
    ),
)
OTHERS = "asyncpg failed: look at DATABASE_URL and at variables whose names begin with PG"


def explain(error: BaseException) -> str:
    """Return what prevented a connection, and where to look. It holds no value of any setting."""
    return next((reason for cls, reason in REASONS if isinstance(error, cls)), OTHERS)
