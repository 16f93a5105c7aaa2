"""What the environment decides."""

import os
from typing import Annotated, Any, Literal, Self
from urllib.parse import SplitResult, parse_qs, urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

SSL_MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
FORM = "postgresql://user:password@host:port/name"


def split_url(url: str) -> SplitResult:
    """Split a URL that is one; what urlsplit says of others would repeat their parts."""
    try:
        parts = urlsplit(url)
        for address in parts.netloc.rpartition("@")[2].split(","):  # PostgreSQL takes several
            _ = urlsplit(f"//{address}").port
    except ValueError:
        message = "is no URL: what is special in a password is written like %23"
        raise ValueError(message) from None
    return parts


def postgresql_url(secret: SecretStr) -> SecretStr:
    """Refuse what asyncpg could not connect to, in words that do not repeat the password."""
    url = split_url(secret.get_secret_value())
    if url.scheme not in ("postgresql", "postgres"):
        raise ValueError(f"must read {FORM}")
    if url.fragment:
        raise ValueError("holds a #: what is special in a password is written like %23")
    if not url.path.strip("/"):
        raise ValueError(f"names no database: {FORM}")
    modes = parse_qs(url.query).get("sslmode", ["prefer"])
    if modes[-1] not in SSL_MODES:
        raise ValueError(f"sslmode must be one of {', '.join(SSL_MODES)}")
    return secret


def http_url(url: str) -> str:
    parts = split_url(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("must start with http:// or https:// and name a host")
    if parts.query or parts.fragment or not url.isprintable() or " " in url:
        raise ValueError("must end with its path, and hold no space or control character")
    return url.rstrip("/")


def origin(value: str) -> str:
    parts = split_url(value)
    if value != "*" and value != f"{parts.scheme}://{parts.netloc}":
        raise ValueError("every origin must read like https://app.example.com, or be *")
    return value


def host(value: str) -> str:
    if "*" in value.removeprefix("*.") and value != "*":
        raise ValueError("a * may only stand alone or in front, as in *.example.com")
    if ":" in value or "/" in value:
        raise ValueError("a host is a name alone, without scheme and port")
    return value


def split(value: object) -> object:
    """Take `a, b` for ("a", "b")."""
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return value


Origins = Annotated[
    tuple[Annotated[str, AfterValidator(origin)], ...], NoDecode, BeforeValidator(split)
]
Hosts = Annotated[
    tuple[Annotated[str, AfterValidator(host)], ...], NoDecode, BeforeValidator(split)
]


def usable_cpus() -> int:
    """Count the CPUs this process may run on, which `taskset` and cpusets make fewer.

    A container's quota of CPU time does not: there, set WEB_CONCURRENCY.
    """
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


Seconds = Annotated[float, Field(ge=0.001, le=86_400, allow_inf_nan=False)]
Lower = BeforeValidator(lambda value: value.lower() if isinstance(value, str) else value)


class InvalidSettings(Exception):
    """Says which settings are missing or wrong, never what they are set to."""

    def __init__(self, error: ValidationError) -> None:
        faults = []
        for fault in error.errors(include_url=False, include_input=False):
            name = str(fault["loc"][0]).upper()
            if fault["type"] == "missing":
                faults.append(f"{name} is not set: see .env.example")
            else:
                faults.append(f"{name}: {fault['msg'].removeprefix('Value error, ')}")
        super().__init__("; ".join(faults))


class DatabaseSettings(BaseSettings):
    """How the database is reached: all that migrations need."""

    model_config = SettingsConfigDict(
        env_file=".env", env_ignore_empty=True, extra="ignore", frozen=True
    )

    database_url: Annotated[SecretStr, AfterValidator(postgresql_url)]
    database_pool_size: Annotated[int, Field(ge=1, le=10_000)] = 10
    database_pool_timeout: Seconds = 5
    database_pool_recycle: Seconds = 1800
    database_statement_timeout: Seconds = 5
    database_pgbouncer: bool = False
    database_connection_limit: Annotated[int, Field(ge=1)] | None = None

    @classmethod
    def load(cls, **values: Any) -> Self:
        """Read the environment; `values` win over it. Raises InvalidSettings."""
        try:
            return cls(**values)
        except ValidationError as error:
            # `from None`: the original would print what the settings are set to.
            raise InvalidSettings(error) from None

    @property
    def dsn(self) -> str:
        """The database's URL, password and all: never log it."""
        return self.database_url.get_secret_value()


class Settings(DatabaseSettings):
    """All that the service needs."""

    upstream_url: Annotated[str, AfterValidator(http_url)]
    upstream_timeout: Seconds = 10
    upstream_max_connections: Annotated[int, Field(ge=1)] = 1000
    cors_origins: Origins = ()
    allowed_hosts: Hosts = ("*",)
    max_body_bytes: Annotated[int, Field(ge=1)] = 1_048_576
    log_level: Annotated[Literal["debug", "info", "warning", "error", "critical"], Lower] = "info"
    log_format: Annotated[Literal["json", "console"], Lower] = "json"
    web_concurrency: Annotated[int, Field(ge=1)] = Field(
        default_factory=lambda: min(usable_cpus(), 4)
    )
    graceful_timeout: Annotated[int, Field(ge=1)] = 30
