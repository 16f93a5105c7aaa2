"""DATABASE_URL: what asyncpg understands of it, and what becomes of the rest."""

import os
import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

URL_FORM = "postgresql://user:password@host:port/name"
MUST_ENCODE = (
    f"must look like {URL_FORM}, with special characters in the password percent-encoded: "
    "@ as %40, : as %3A, / as %2F, ? as %3F, # as %23, & as %26, % as %25"
)
# Where asyncpg looks for files that the URL does not name.
DEFAULT_CERTIFICATES = "~/.postgresql/root.crt"
DEFAULT_KEY = "~/.postgresql/postgresql.key"
ANY: tuple[str, ...] = ()
TLS_VERSIONS = ("TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3")

# asyncpg knows these parameters. Each has the values that are allowed.
KNOWN: Mapping[str, tuple[str, ...]] = {
    "database": ANY,
    "dbname": ANY,
    "gsslib": ("gssapi", "sspi"),
    "host": ANY,
    "krbsrvname": ANY,
    "passfile": ANY,
    "password": ANY,
    "port": ANY,
    "ssl_max_protocol_version": TLS_VERSIONS,
    "ssl_min_protocol_version": TLS_VERSIONS,
    "sslcert": ANY,
    "sslcrl": ANY,
    "sslkey": ANY,
    "sslmode": ("disable", "allow", "prefer", "require", "verify-ca", "verify-full"),
    "sslnegotiation": ("postgres", "direct"),
    "sslpassword": ANY,
    "sslrootcert": ANY,
    "target_session_attrs": (
        "any",
        "primary",
        "standby",
        "prefer-standby",
        "read-write",
        "read-only",
    ),
    "user": ANY,
}
# The server knows these settings. It also takes any names that are joined by dots.
SERVER_SETTINGS = {
    "application_name",
    "datestyle",
    "default_transaction_isolation",
    "default_transaction_read_only",
    "idle_session_timeout",
    "intervalstyle",
    "jit",
    "lock_timeout",
    "options",
    "role",
    "search_path",
    "synchronous_commit",
    "timezone",
    "transaction_timeout",
    "work_mem",
}
# asyncpg does not need these, so they are left out.
NOT_NEEDED: Mapping[str, tuple[str, ...]] = {
    # asyncpg cannot bind the login to the TLS connection. verify-full stops the same attack.
    "channel_binding": ("disable", "prefer", "require"),
    "client_encoding": ANY,  # it is always UTF-8
    "connect_timeout": ANY,  # `read_timeout` reads it
    "fallback_application_name": ANY,  # the service has a name
    "gssdelegation": ("0",),
    "gssencmode": ("disable", "prefer"),
    # A timeout of each statement notices a server that is silent.
    "keepalives": ANY,
    "keepalives_count": ANY,
    "keepalives_idle": ANY,
    "keepalives_interval": ANY,
    "load_balance_hosts": ("disable",),  # asyncpg tries the hosts in their order
    "max_protocol_version": ANY,
    "min_protocol_version": ("3.0",),
    "replication": ("false", "off", "no", "0"),
    "sslcertmode": ("allow",),
    "sslcompression": ANY,  # libpq ignores it, too
    "sslsni": ("1",),
    "tcp_user_timeout": ANY,  # like the keepalives
}
LIBPQ = {**KNOWN, **NOT_NEEDED}
# These are refused, with what to do instead. Some of them are not libpq's.
REFUSED = {
    "connection_limit": "set DATABASE_POOL_SIZE",
    "currentschema": "write options=-csearch_path%3DNAME",
    "hostaddr": "write the address as the host",
    "idle_in_transaction_session_timeout": "set DATABASE_STATEMENT_TIMEOUT",
    "pgbouncer": "set DATABASE_PGBOUNCER",
    "pool_timeout": "set DATABASE_POOL_TIMEOUT",
    "schema": "write options=-csearch_path%3DNAME",
    "service": "write what the service file says",
    "servicefile": "write what the service file says",
    "ssl": "write sslmode=require or sslmode=verify-full",
    "sslcrldir": "write sslcrl=FILE",
    "statement_timeout": "set DATABASE_STATEMENT_TIMEOUT",
    # These would demand of asyncpg what it cannot do.
    "oauth_client_id": "asyncpg has no OAuth",
    "oauth_client_secret": "asyncpg has no OAuth",
    "oauth_issuer": "asyncpg has no OAuth",
    "oauth_scope": "asyncpg has no OAuth",
    "require_auth": "leave it out",
    "requirepeer": "leave it out",
    "scram_client_key": "write the password",
    "scram_server_key": "write the password",
    "sslkeylogfile": "leave it out",
}


@dataclass(frozen=True, repr=False)  # so that nothing shows the password by accident
class DatabaseUrl:
    """A URL that was checked."""

    dsn: str  # the URL as asyncpg reads it, with the password
    parameters: Mapping[str, str]
    connect_timeout: float | None  # seconds


def parse_database_url(text: str) -> DatabaseUrl:
    """Read a URL. Raises ValueError, whose message repeats nothing of the password."""
    address, database, parameters = split_database_url(text)
    for name, value in parameters.items():
        refuse_parameter(name, value, has_password="password" in parameters)
    timeout = read_timeout(parameters)
    used = {name: value for name, value in parameters.items() if name not in NOT_NEEDED}
    check_address(address, database, used)
    use_system_certificates(used)
    if not database:
        database = quote(used.pop("dbname", "") or used.pop("database", ""), safe="")
    return DatabaseUrl(build_dsn(address, database, used), used, timeout)


def split_database_url(text: str) -> tuple[str, str, dict[str, str]]:
    """Return the user, password and hosts; the name of the database; and the parameters."""
    # `docker run --env-file` keeps quotes, and a file with a secret may end in a line break.
    text = re.sub(r"""^(['"])(.*)\1$""", r"\2", text.strip()).strip()
    scheme = re.match(r"(?i)postgres(ql)?(\+\w+)?://", text)  # SQLAlchemy's has a driver after a +
    if not scheme:
        raise ValueError(f"must look like {URL_FORM}")
    try:
        parts = urlsplit("postgresql://" + text[scheme.end() :])
        unquote(text, errors="strict")
    except ValueError:
        raise ValueError(MUST_ENCODE) from None
    at_signs = 1 if "@" in parts.netloc else 0  # one @ separates the password from the hosts
    is_ambiguous = (
        text.count("@") > at_signs
        or "#" in text
        or re.search("%(?![0-9A-Fa-f]{2})|%00", text)
        or not text.isprintable()  # urlsplit leaves line breaks and tabs out
    )
    if is_ambiguous:
        raise ValueError(MUST_ENCODE)
    database = parts.path.removeprefix("/")
    if "/" in database:
        raise ValueError("must not contain a / after the name of the database")
    if "+" in parts.query:
        raise ValueError("must not contain a + after the ?: write a space as %20, a + as %2B")
    try:
        parameters = dict(parse_qsl(parts.query, strict_parsing=True)) if parts.query else {}
    except ValueError:
        raise ValueError("after the ? there must be NAME=VALUE, joined by &") from None
    return parts.netloc, database, parameters


# asyncpg sends each parameter that it does not know to the server as a setting. The server refuses
# an unknown one at every connection, so it is refused here, at the start. All parameters of libpq:
# https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-PARAMKEYWORDS
def refuse_parameter(name: str, value: str, *, has_password: bool) -> None:
    """Raise ValueError if neither asyncpg nor the server can use a parameter.

    has_password: the URL has a parameter `password`. The names after it may be the rest of it.
    """
    lower = name.lower()
    if name in LIBPQ:
        allowed = LIBPQ[name]
        if allowed and value not in allowed:
            raise ValueError(f"{name} must be one of: {', '.join(allowed)}")
        return
    if lower in LIBPQ:
        raise ValueError(f"parameter names are lower case: {lower}")
    if lower in REFUSED:
        raise ValueError(f"the parameter {name} cannot be used: {REFUSED[lower]}")
    if lower in SERVER_SETTINGS or re.fullmatch(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+", name):
        return
    # A name that is similar to a known one is a typing error, and no part of a password.
    is_similar = get_close_matches(lower, {*LIBPQ, *REFUSED, *SERVER_SETTINGS}, cutoff=0.75)
    if (has_password and not is_similar) or not re.fullmatch("[A-Za-z_]{1,40}", name):
        raise ValueError(MUST_ENCODE)
    raise ValueError(
        f"the parameter {name} is not known to asyncpg: leave it out or, if it is a setting of the "
        f"server, write options=-c{name}%3DVALUE"
    )


def check_address(address: str, database: str, parameters: Mapping[str, str]) -> None:
    """Refuse an address that is incomplete, or that the parameters contradict."""
    login, _, hosts = address.rpartition("@")
    user, _, password = login.partition(":")
    also_in_address = {
        "user": user,
        "password": password,
        "host": hosts,
        "port": hosts,  # without one, it is 5432
        "dbname": database,
        "database": database,
    }
    for name, value in also_in_address.items():
        if value and name in parameters:  # libpq would use this one, and asyncpg the other one
            raise ValueError(f"write the {name} before the ?, not as a parameter after it")
    socket = "/"  # what begins with a / is the folder of a socket, here the default one
    check_hosts((hosts or parameters.get("host", socket)).split(","), parameters.get("port"))


def check_hosts(hosts: list[str], ports: str | None) -> None:
    """Check hosts, each of which may have a port or be the folder of a socket."""
    try:
        for host in hosts:
            parts = urlsplit(f"//{host}")
            if not host.startswith("/") and (not parts.hostname or parts.port == 0 or " " in host):
                raise ValueError
        if ports and not all(0 < int(port) < 65536 for port in ports.split(",")):
            raise ValueError
    except ValueError:
        message = f"each host needs a name or address, and each port is from 1 to 65535: {URL_FORM}"
        raise ValueError(message) from None
    if ports and ports.count(",") not in {0, len(hosts) - 1}:
        raise ValueError("there must be one port, or one for each host")


def build_dsn(address: str, database: str, parameters: Mapping[str, str]) -> str:
    if not database:
        raise ValueError(f"must end with the name of a database: {URL_FORM}")
    query = urlencode(parameters, quote_via=quote)
    return f"postgresql://{address}/{database}" + (f"?{query}" if query else "")


def use_system_certificates(parameters: dict[str, str]) -> None:
    """Replace sslrootcert=system, which asyncpg does not know, by the file that it means."""
    if parameters.get("sslrootcert") != "system":
        return
    if parameters.setdefault("sslmode", "verify-full") != "verify-full":
        raise ValueError("sslrootcert=system needs sslmode=verify-full")  # as libpq does
    file = ssl.get_default_verify_paths().cafile
    if file is None:
        raise ValueError("sslrootcert=system finds no file here: write the name of one")
    parameters["sslrootcert"] = file


def read_timeout(parameters: Mapping[str, str]) -> float | None:
    """Return the seconds of connect_timeout. It has no limit if it is not above 0."""
    try:
        seconds = int(parameters.get("connect_timeout", "0"))
    except ValueError:
        raise ValueError("connect_timeout must be a whole number of seconds") from None
    return seconds if seconds > 0 else None


def check_tls(parameters: Mapping[str, str]) -> None:
    """Refuse parameters of TLS that exclude each other."""
    mode = parameters.get("sslmode", "prefer")
    if parameters.get("sslnegotiation") == "direct" and mode in {"disable", "allow", "prefer"}:
        raise ValueError("sslnegotiation=direct needs sslmode=require or verify-full")
    lowest = parameters.get("ssl_min_protocol_version", "TLSv1.2")  # asyncpg's default
    if parameters.get("ssl_max_protocol_version", lowest) < lowest:
        raise ValueError(f"ssl_max_protocol_version must be at least {lowest}")
    default = os.environ.get("PGSSLROOTCERT") or os.path.expanduser(DEFAULT_CERTIFICATES)
    has_certificates = "sslrootcert" in parameters or os.path.exists(default)
    if mode.startswith("verify") and not has_certificates:
        raise ValueError(f"sslmode={mode} needs sslrootcert, a file or the word system")


def check_files(parameters: Mapping[str, str]) -> None:
    """Refuse files that cannot be used, which asyncpg would notice when it connects."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    for name in ("passfile", "sslrootcert", "sslcrl", "sslkey", "sslcert"):
        if name not in parameters:
            continue
        try:
            with open(parameters[name], "rb"):
                pass
            if name in {"sslrootcert", "sslcrl"}:
                context.load_verify_locations(parameters[name])
            elif name == "sslcert":  # Without a key, asyncpg looks for one in the same file.
                default = os.environ.get("PGSSLKEY") or os.path.expanduser(DEFAULT_KEY)
                key = parameters.get("sslkey", default if os.path.exists(default) else None)
                password = parameters.get("sslpassword", "")
                context.load_cert_chain(parameters[name], key, password)
        except OSError as error:  # ssl.SSLError is one
            raise ValueError(f"the file of {name} cannot be used: {type(error).__name__}") from None
