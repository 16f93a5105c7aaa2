"""DATABASE_URL: it works, or it is refused at the start in one line without the password."""

import asyncio
import re
import socket
import ssl
from pathlib import Path
from unittest.mock import Mock

import asyncpg
import pytest
from pydantic import SecretStr
from structlog.testing import capture_logs

from service.connect_failures import OTHERS, explain
from service.settings import InvalidSettings, Settings

from scripts.postgres import free_port
from tests.postgres_proxy import PostgresProxy
from tests.serving import serve
from tests.temporary_database import with_database

HIDDEN = "hunter2"
NAMED = f"postgresql://me:{HIDDEN}@db.example.com/name"
QUERY = f"postgresql://db.example.com/name?user=me&password={HIDDEN}"
MUST_ENCODE = "percent-encoded: @ as %40"


@pytest.fixture(autouse=True)
def no_env_file(environment: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A folder without .env, which is also that of the user: it has no certificates."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))


def load(url: str) -> Settings:
    return Settings.load(database_url=url)


@pytest.mark.parametrize(
    ("url", "dsn"),
    [
        (f" '{NAMED}'\n", NAMED),
        (f'"{NAMED}"', NAMED),
        (NAMED.replace("postgresql", "postgres"), NAMED),
        (NAMED.replace("postgresql", "postgresql+asyncpg"), NAMED),
        (f"{NAMED}?channel_binding=require&sslmode=require", f"{NAMED}?sslmode=require"),
        (f"{NAMED}?connect_timeout=10&client_encoding=auto", NAMED),
        (f"{NAMED}?keepalives=1&keepalives_idle=30&tcp_user_timeout=9", NAMED),
        (f"{NAMED}?gssencmode=disable&load_balance_hosts=disable&sslcompression=0", NAMED),
        (f"{NAMED}?sslmode=disable&sslmode=prefer&options=", f"{NAMED}?sslmode=prefer"),
        (f"{QUERY}'", f"{QUERY}%27"),
        (f"{NAMED}?options=-cjit=off&a.b=c", f"{NAMED}?options=-cjit%3Doff&a.b=c"),
        (f"{NAMED}?application_name=a%20b&TimeZone=UTC",) * 2,
        (f"{NAMED}?sslnegotiation=direct&sslmode=require",) * 2,
        (f"postgresql://me:a:b&c+d{HIDDEN}é%40@db/name",) * 2,
        (f"{QUERY}%2B", f"{QUERY}%2B"),
        ("postgresql://a,[::1]:2,c/name",) * 2,
        ("postgresql://%2Frun%2Fpostgresql:5433/name",) * 2,
        (
            "postgresql:///name?host=/run,/tmp&port=1,2",
            "postgresql:///name?host=%2Frun%2C%2Ftmp&port=1%2C2",
        ),
        ("postgresql://me@db?dbname=a%2Fb", "postgresql://me@db/a%2Fb"),
    ],
)
def test_url_is_accepted_and_what_asyncpg_does_not_need_is_left_out(url: str, dsn: str) -> None:
    assert load(url).dsn == dsn


@pytest.mark.parametrize(
    ("url", "message"),
    [
        # A special character in the password.
        (f"postgresql://me:{HIDDEN}@{HIDDEN}@db/name", MUST_ENCODE),
        (f"postgresql://me:{HIDDEN}/{HIDDEN}@db/name", MUST_ENCODE),
        (f"postgresql://me:1/{HIDDEN}@db/name", MUST_ENCODE),
        (f"postgresql://me:1?{HIDDEN}@db/name", MUST_ENCODE),
        (f"postgresql://me:1/a?{HIDDEN}=b@db/name", MUST_ENCODE),
        (f"postgresql://me:{HIDDEN}#{HIDDEN}@db/name", MUST_ENCODE),
        (f"postgresql://me:{HIDDEN}%@db/name", MUST_ENCODE),
        (f"postgresql://me:{HIDDEN}%ff@db/name", MUST_ENCODE),
        (f"postgresql://me:{HIDDEN}%00@db/name", MUST_ENCODE),
        (f"postgresql://me:{HIDDEN}\t@db/name", MUST_ENCODE),
        (f"postgresql://me:[{HIDDEN}@db/name", MUST_ENCODE),
        (f"{NAMED}#", MUST_ENCODE),
        (f"{QUERY}&{HIDDEN}=x", MUST_ENCODE),
        (f"{QUERY}&{HIDDEN}.1=x", MUST_ENCODE),
        (f"{QUERY}&secret=x", MUST_ENCODE),
        (f"{QUERY}&{HIDDEN}", "NAME=VALUE"),
        (f"{QUERY}+", r"a \+ as %2B"),
        # Another form.
        (f"mysql://me:{HIDDEN}@db/name", "must look like postgresql://"),
        (f"psql '{NAMED}'", "must look like postgresql://"),
        (f"jdbc:{NAMED}", "must look like postgresql://"),
        (f"host=db password={HIDDEN}", "must look like postgresql://"),
        (f"postgresql://me:{HIDDEN}@db", "name of a database"),
        (f"{NAMED}/", "after the name of the database"),
        (f"postgresql://me:{HIDDEN}@a,,b/name", "each host"),
        (f"postgresql://me:{HIDDEN}@:5432/name", "each host"),
        (f"postgresql://me:{HIDDEN}@::1/name", "each host"),
        (f"postgresql://me:{HIDDEN}@a b/name", "each host"),
        (f"postgresql://me:pass@db:{HIDDEN}/name", "each port"),
        (f"postgresql://me:{HIDDEN}@db:0/name", "each port"),
        (f"postgresql://me:{HIDDEN}@db:70000/name", "each port"),
        (f"postgresql://me:{HIDDEN}@/name?host=a&port=b", "each port"),
        (f"postgresql://me:{HIDDEN}@/name?host=a,b,c&port=1,2", "one for each host"),
        (f"{NAMED}?host=other", "write the host before the"),
        (f"{NAMED}?port=5433", "write the port before the"),
        (f"{NAMED}?password={HIDDEN}", "write the password before the"),
        (f"{NAMED}?dbname=other", "write the dbname before the"),
        # Parameters.
        (f"{NAMED}?sslmode={HIDDEN}", "sslmode must be one of: disable, "),
        (f"{NAMED}?target_session_attrs=master", "must be one of: any, primary"),
        (f"{NAMED}?ssl_min_protocol_version=1.2", "must be one of: TLSv1, "),
        (f"{NAMED}?gssencmode=require", "must be one of: disable, prefer"),
        (f"{NAMED}?load_balance_hosts=random", "must be one of: disable"),
        (f"{NAMED}?connect_timeout=soon", "connect_timeout must be a whole number"),
        (f"{NAMED}?sslnegotiation=direct", "needs sslmode=require"),
        (f"{NAMED}?ssl_max_protocol_version=TLSv1.1", "must be at least TLSv1.2"),
        (
            f"{NAMED}?ssl_min_protocol_version=TLSv1.3&ssl_max_protocol_version=TLSv1.2",
            "ssl_max_protocol_version must be at least TLSv1.3",
        ),
        (f"{NAMED}?SSLMode=require", "parameter names are lower case: sslmode"),
        (f"{QUERY}&application=x", "the parameter application is not known"),
        (f"{NAMED}?a.=1", MUST_ENCODE),
        (f"{NAMED}?a.1=1", MUST_ENCODE),
        (f"{NAMED}?schema=public", "schema cannot be used: write options=-csearch_path%3DNAME"),
        (f"{NAMED}?ssl=true", "ssl cannot be used: write sslmode=require"),
        (f"{NAMED}?pgbouncer=true", "set DATABASE_PGBOUNCER"),
        (f"{NAMED}?statement_timeout=1", "set DATABASE_STATEMENT_TIMEOUT"),
        (f"{NAMED}?service=mine", "service cannot be used"),
        (f"{NAMED}?hostaddr=127.0.0.1", "hostaddr cannot be used: write the address as the host"),
        (f"{NAMED}?require_auth=none", "require_auth cannot be used"),
        (f"{NAMED}?work_memory=1", "work_memory is not known .* options=-cwork_memory%3DVALUE"),
        # Files.
        (f"{NAMED}?sslmode=verify-full", "needs sslrootcert"),
        (f"{NAMED}?sslrootcert=/{HIDDEN}", "file of sslrootcert cannot be used: FileNotFoundError"),
        (f"{NAMED}?sslrootcert=text", "file of sslrootcert cannot be used: SSLError"),
        (f"{NAMED}?sslcert=text&sslkey=text", "file of sslcert cannot be used: SSLError"),
        (f"{NAMED}?sslcert=text&sslkey=/{HIDDEN}", "file of sslkey .* FileNotFoundError"),
        (f"{NAMED}?sslcert=text", "file of sslcert cannot be used: SSLError"),
        (f"{NAMED}?passfile=.", "file of passfile cannot be used: IsADirectoryError"),
        (f"{NAMED}?sslrootcert=system&sslmode=require", "needs sslmode=verify-full"),
    ],
)
def test_url_is_refused_in_one_line_that_does_not_show_the_password(url: str, message: str) -> None:
    Path("text").write_text("no certificate")
    with pytest.raises(InvalidSettings, match=message) as raised:
        load(url)
    assert str(raised.value).startswith("DATABASE_URL: ")
    assert "\n" not in str(raised.value)
    assert HIDDEN not in str(raised.value)


def test_certificates_of_the_system_can_be_named() -> None:
    file = ssl.get_default_verify_paths().cafile
    if file is None:
        pytest.skip("this system has no file of certificates")
    parameters = load(f"{NAMED}?sslrootcert=system").url.parameters
    assert parameters == {"sslmode": "verify-full", "sslrootcert": file}


def test_url_is_not_shown_by_accident() -> None:
    assert HIDDEN not in repr(load(NAMED).url)


@pytest.mark.parametrize(("value", "timeout"), [("2", 2), ("10", 5), ("0", 5), ("-1", 5)])
def test_connect_timeout_of_the_url_can_only_shorten_the_pools(value: str, timeout: float) -> None:
    assert load(f"{NAMED}?connect_timeout={value}").connect_timeout == timeout


def with_parameters(url: str, parameters: str) -> SecretStr:
    return SecretStr(f"{url}{'&' if '?' in url else '?'}{parameters}")


async def test_server_gets_the_parameters_that_it_knows(
    settings: Settings, postgres_proxy: PostgresProxy
) -> None:
    url = with_parameters(
        postgres_proxy.url,
        "channel_binding=prefer&keepalives=1&connect_timeout=10&client_encoding=LATIN1"
        "&application_name=mine&options=-cwork_mem%3D1MB&search_path=public&a.b=c",
    )
    async with serve(settings, database_url=url) as client:
        assert (await client.get("/health/ready")).status_code == 200
    [startup] = postgres_proxy.startup_messages
    for sent in (b"application_name\0mine\0", b"options\0-cwork_mem=1MB\0", b"a.b\0c\0"):
        assert sent in startup
    for name in (b"channel_binding", b"keepalives", b"connect_timeout", b"LATIN1"):
        assert name not in startup


async def test_silent_server_is_given_up_after_connect_timeout(settings: Settings) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        url = SecretStr(f"postgresql://me@127.0.0.1:{port}/name?connect_timeout=1")
        async with asyncio.timeout(10):
            async with serve(settings, database_url=url, database_pool_timeout=60) as client:
                assert (await client.get("/health/ready")).status_code == 503


UNREACHABLE = {
    "postgresql://me:hunter2@127.0.0.1:{port}/name": ("ConnectionRefusedError", "nothing listens"),
    "postgresql://me:hunter2@hunter2.invalid/name": ("gaierror", "the host .* is not known"),
    "postgresql://me:hunter2@/name?host=/hunter2": ("FileNotFoundError", "a file does not exist"),
}


@pytest.mark.parametrize("url", UNREACHABLE)
async def test_reason_is_logged_once_with_what_to_look_at(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    if "invalid" in url:  # without a request to the DNS
        monkeypatch.setattr(socket, "getaddrinfo", Mock(side_effect=socket.gaierror))
    database_url = SecretStr(url.format(port=free_port()))
    with capture_logs() as logs:
        async with serve(settings, database_url=database_url) as client:
            for _ in range(2):
                assert (await client.get("/health/ready")).status_code == 503
    cause, reason = UNREACHABLE[url]
    [line] = [line for line in logs if line["event"] == "no connection"]
    assert (line["log_level"], line["cause"]) == ("warning", cause)
    assert "look at" in line["explanation"]
    assert HIDDEN not in str(logs)
    assert re.search(reason, line["explanation"])


async def test_reason_is_logged_again_in_the_next_outage(
    settings: Settings, postgres_proxy: PostgresProxy
) -> None:
    url = SecretStr(postgres_proxy.url)
    with capture_logs() as logs:
        async with serve(settings, database_url=url) as client:
            for _ in range(2):
                await postgres_proxy.stop()
                for _ in range(2):
                    assert (await client.get("/health/ready")).status_code == 503
                await postgres_proxy.start()
                assert (await client.get("/health/ready")).status_code == 200
    assert [line["event"] for line in logs].count("no connection") == 2


async def test_missing_database_and_bad_setting_are_told_apart(
    settings: Settings, postgres_proxy: PostgresProxy
) -> None:
    reasons = []
    for url in (
        SecretStr(with_database(postgres_proxy.url, "unknown")),
        with_parameters(postgres_proxy.url, "options=-cunknown%3D1"),
    ):
        with capture_logs() as logs:
            async with serve(settings, database_url=url) as client:
                assert (await client.get("/health/ready")).status_code == 503
        reasons += [line["explanation"] for line in logs if line["event"] == "no connection"]
    assert "the database does not exist" in reasons[0]
    assert "the parameters of DATABASE_URL" in reasons[1]


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (socket.gaierror(), "host"),
        (UnicodeError(), "host"),
        (UnicodeDecodeError("utf-8", HIDDEN.encode(), 0, 1, HIDDEN), "UTF-8"),
        (ssl.SSLCertVerificationError(), "sslrootcert"),
        (ssl.SSLError(), "TLS"),
        (PermissionError(), "HOME"),
        (FileNotFoundError(), "socket"),
        (OSError("Multiple exceptions"), "network"),
        (TimeoutError(), "DATABASE_POOL_TIMEOUT"),
        (asyncpg.ConnectionDoesNotExistError(HIDDEN), "during login"),
        (ConnectionResetError(), "sslmode"),
        (asyncpg.InvalidPasswordError(HIDDEN), "password"),
        (asyncpg.InvalidAuthorizationSpecificationError(HIDDEN), "pg_hba.conf"),
        (asyncpg.TooManyConnectionsError(HIDDEN), "max_connections"),
        (asyncpg.CannotConnectNowError(HIDDEN), "starts or stops"),
        (asyncpg.InsufficientPrivilegeError(HIDDEN), "privileges"),
        (asyncpg.ProtocolViolationError(HIDDEN), "DATABASE_PGBOUNCER"),
        (asyncpg.TargetServerAttributeNotMatched(HIDDEN), "target_session_attrs"),
        (asyncpg.ClientConfigurationError(HIDDEN), "PG"),
        (KeyError(HIDDEN), "PG"),
    ],
)
def test_each_kind_of_failure_says_what_to_look_at(error: Exception, reason: str) -> None:
    assert reason in explain(error)
    assert HIDDEN not in explain(error)
    assert (explain(error) == OTHERS) == isinstance(error, KeyError)
