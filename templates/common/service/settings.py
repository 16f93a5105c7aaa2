"""The settings, read from the environment and, where it does not have them, from `.env`."""

import os
from ipaddress import ip_network
from math import inf
from typing import Annotated, Any, Literal, Self
from urllib.parse import SplitResult, urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict, SettingsError

from .database_url import DatabaseUrl, check_files, check_tls, parse_database_url

ENV_FILE = ".env"
ENV_FILE_ENCODING = "utf-8-sig"  # some editors write a byte order mark before UTF-8


def split_url(url: str) -> SplitResult:
    """Split a URL. The error for an invalid one does not repeat any part of it."""
    try:
        parts = urlsplit(url)
        _ = parts.port  # raises for a port that is no number from 0 to 65535
    except ValueError:
        message = "is not a valid URL: special characters must be percent-encoded, # as %23"
        raise ValueError(message) from None
    return parts


def check_database_url(secret: SecretStr) -> SecretStr:
    """Refuse a URL that asyncpg could not use. The errors do not repeat the password."""
    parameters = parse_database_url(secret.get_secret_value()).parameters
    check_tls(parameters)
    check_files(parameters)
    return secret


def check_http_url(url: str) -> str:
    """Return the URL without a slash at its end."""
    parts = split_url(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("must start with http:// or https:// and a host")
    if parts.query or parts.fragment:
        raise ValueError("must not contain a query or a fragment")
    if not url.isprintable() or " " in url:
        raise ValueError("must not contain spaces or control characters")
    return url.rstrip("/")


def check_origin(origin: str) -> str:
    parts = split_url(origin)
    if origin != "*" and origin != f"{parts.scheme}://{parts.netloc}":
        raise ValueError("each origin must look like https://app.example.com, or be *")
    return origin


def check_host(host: str) -> str:
    if "*" in host.removeprefix("*.") and host != "*":
        raise ValueError("a * may only stand alone or at the start, as in *.example.com")
    if ":" in host or "/" in host:
        raise ValueError("each host must be a name without scheme and port")
    return host


def check_address(address: str) -> str:
    if address != "*":
        try:
            ip_network(address)
        except ValueError:
            message = "each must be an address, a network such as 10.0.0.0/8, or *"
            raise ValueError(message) from None
    return address


def split_commas(value: object) -> object:
    """Split "a, b" into ("a", "b"); leave anything except a string as it is."""
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return value


def lower_case(value: object) -> object:
    return value.lower() if isinstance(value, str) else value


Origin = Annotated[str, AfterValidator(check_origin)]
Host = Annotated[str, AfterValidator(check_host)]
Address = Annotated[str, AfterValidator(check_address)]
# pydantic-settings would expect JSON for a tuple; NoDecode leaves the string to `split_commas`.
Origins = Annotated[tuple[Origin, ...], NoDecode, BeforeValidator(split_commas)]
Hosts = Annotated[tuple[Host, ...], NoDecode, BeforeValidator(split_commas)]
Addresses = Annotated[tuple[Address, ...], NoDecode, BeforeValidator(split_commas)]
# In seconds: at least a millisecond, at most a day.
Duration = Annotated[float, Field(ge=0.001, le=86_400, allow_inf_nan=False)]


def default_web_concurrency() -> int:
    """Return the number of CPUs that this process may use, at most 4.

    `taskset` and cpusets are respected. A container's quota of CPU time is not, so set
    WEB_CONCURRENCY there.
    """
    cpus = os.cpu_count() or 1
    if hasattr(os, "sched_getaffinity"):  # Linux has it, macOS does not.
        cpus = len(os.sched_getaffinity(0))
    return min(cpus, 4)


class InvalidSettings(Exception):
    """Names the settings that are missing or wrong, but never shows their values."""


def describe(error: Exception) -> str:
    """Say in one line what is wrong with the settings."""
    if isinstance(error, SettingsError):
        return str(error)  # it names the setting
    if isinstance(error, OSError):
        return f"{ENV_FILE} cannot be read: {type(error).__name__}"
    if not isinstance(error, ValidationError):
        return f"{ENV_FILE} cannot be read as a text in UTF-8: {type(error).__name__}"
    problems = []
    for detail in error.errors(include_url=False, include_input=False):
        name = str(next(iter(detail["loc"]), "settings")).upper()
        if detail["type"] == "missing":
            problems.append(f"{name} is not set: see .env.example")
        else:
            problems.append(f"{name}: {detail['msg'].removeprefix('Value error, ')}")
    return "; ".join(problems)


class DatabaseSettings(BaseSettings):
    """How to connect to the database. Migrations need no other settings."""

    model_config = SettingsConfigDict(
        env_file=ENV_FILE,
        env_file_encoding=ENV_FILE_ENCODING,
        env_ignore_empty=True,
        extra="ignore",
        frozen=True,
    )

    database_url: Annotated[SecretStr, AfterValidator(check_database_url)]
    database_pool_size: Annotated[int, Field(ge=1, le=10_000)] = 10
    database_pool_timeout: Duration = 5
    database_pool_recycle: Duration = 1800
    database_statement_timeout: Duration = 5
    database_pgbouncer: bool = False
    database_connection_limit: Annotated[int, Field(ge=1)] | None = None

    @classmethod
    def load(cls, **values: Any) -> Self:
        """Read the environment, except for `values`, which override it. Raises InvalidSettings."""
        try:
            return cls(**values)
        except (OSError, ValueError) as error:
            # `from None`, because a traceback of the original error would show the values.
            raise InvalidSettings(describe(error)) from None

    @property
    def url(self) -> DatabaseUrl:
        return parse_database_url(self.database_url.get_secret_value())

    @property
    def dsn(self) -> str:
        """The URL of the database for asyncpg. It contains the password, so never log it."""
        return self.url.dsn

    @property
    def connect_timeout(self) -> float:
        """Seconds that a connection may take to open.

        They are the URL's connect_timeout, but at most DATABASE_POOL_TIMEOUT.
        """
        return min(self.url.connect_timeout or inf, self.database_pool_timeout)


class Settings(DatabaseSettings):
    """The settings of the service. `.env.example` describes them all."""

    upstream_url: Annotated[str, AfterValidator(check_http_url)]  # The example
    upstream_timeout: Duration = 10  # The example
    upstream_max_connections: Annotated[int, Field(ge=1)] = 1000  # The example
    cors_origins: Origins = ()
    allowed_hosts: Hosts = ("*",)
    forwarded_allow_ips: Addresses = ()
    max_body_bytes: Annotated[int, Field(ge=1)] = 1_048_576
    log_level: Annotated[
        Literal["debug", "info", "warning", "error", "critical"], BeforeValidator(lower_case)
    ] = "info"
    log_format: Annotated[Literal["json", "console"], BeforeValidator(lower_case)] = "json"
    web_concurrency: Annotated[int, Field(ge=1, le=1000)] = Field(
        default_factory=default_web_concurrency
    )
    graceful_timeout: Annotated[int, Field(ge=1)] = 30
    otel_exporter_otlp_endpoint: Annotated[str, AfterValidator(check_http_url)] | None = None
