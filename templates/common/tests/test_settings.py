"""Settings: read from the environment. An error names a setting and never shows its value."""

import runpy
from pathlib import Path

import pytest
from pydantic import create_model

from service.settings import InvalidSettings, Settings, describe

from scripts.variables import read_variables
from tests.serving import find_database_url

HIDDEN = "hunter2"
MAIN = Settings.__module__.replace("settings", "main")


@pytest.fixture(autouse=True)
def environment(environment: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An environment with the required settings, and a folder without an .env file."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DATABASE_URL", "postgresql://me@127.0.0.1/name")


def test_optional_settings_have_defaults() -> None:
    settings = Settings.load()
    assert settings.database_pool_size == 10
    assert settings.allowed_hosts == ("*",)
    assert settings.cors_origins == ()
    assert 1 <= settings.web_concurrency <= 4


def test_lists_are_separated_by_commas_and_log_level_ignores_case(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CORS_ORIGINS", "https://a.example.com, http://localhost:3000,")
    monkeypatch.setenv("ALLOWED_HOSTS", "a.example.com,*.example.org")
    monkeypatch.setenv("LOG_LEVEL", "WARNING")
    monkeypatch.setenv("DATABASE_POOL_SIZE", "")
    settings = Settings.load()
    assert settings.cors_origins == ("https://a.example.com", "http://localhost:3000")
    assert settings.allowed_hosts == ("a.example.com", "*.example.org")
    assert settings.log_level == "warning"
    assert settings.database_pool_size == 10  # an empty variable counts as not set


def test_environment_overrides_env_file(monkeypatch: pytest.MonkeyPatch) -> None:
    Path(".env").write_text("LOG_LEVEL=error\nLOG_FORMAT=console\nOTHERS=ignored\n")
    monkeypatch.setenv("LOG_LEVEL", "debug")
    settings = Settings.load()
    assert (settings.log_level, settings.log_format) == ("debug", "console")


def assert_named_without_its_value(name: str) -> None:
    """The environment has an invalid setting with this name. The error is one line about it."""
    with pytest.raises(InvalidSettings) as raised:
        Settings.load(_env_file=None)
    message = str(raised.value)
    assert message.startswith(f"{name}: ")
    assert "\n" not in message
    assert HIDDEN not in message


URL = "postgresql://me@db.example.com/name"


@pytest.mark.parametrize(
    "text",
    [
        f"DATABASE_URL={URL}",
        f"database_url={URL}",
        f"export Database_Url = '{URL}' # a comment",
        f'DATABASE_URL="{URL} "',
        f"LOG_LEVEL=debug\r\nDATABASE_URL={URL}\r\n",
        f"\ufeffDATABASE_URL={URL}",
        f"HOST=db.example.com\nDATABASE_URL={URL.replace('db.example.com', '${HOST}')}",
    ],
)
def test_service_scripts_and_tests_read_the_same_in_the_env_file(
    monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.setenv("DATABASE_URL", "")
    Path(".env").write_bytes(text.encode())
    assert Settings.load().dsn == URL
    assert find_database_url() == URL
    assert read_variables()["DATABASE_URL"].strip() == URL
    monkeypatch.setenv("database_url", f"{URL}_of_the_environment")
    assert Settings.load().dsn == find_database_url() == read_variables()["DATABASE_URL"]


def test_url_that_is_set_nowhere_is_not_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "")
    Path(".env").write_text("DATABASE_URL=\ndatabase_url\n#DATABASE_URL=a\n")
    assert find_database_url() is None
    assert "DATABASE_URL" not in read_variables()


def test_env_file_that_cannot_be_read_is_named() -> None:
    Path(".env").write_text(f"DATABASE_URL={HIDDEN}", encoding="utf-16")
    for read in (Settings.load, read_variables):
        with pytest.raises(InvalidSettings, match=r"^\.env cannot be read as a text in UTF-8: "):
            read()


def test_env_file_that_may_not_be_read_is_named() -> None:
    assert describe(PermissionError()) == ".env cannot be read: PermissionError"


def test_origin_that_is_no_url_is_not_called_a_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CORS_ORIGINS", "https://app.example.com:port")
    with pytest.raises(InvalidSettings, match=r"^CORS_ORIGINS: is not a valid URL") as raised:
        Settings.load()
    assert "password" not in str(raised.value)


def test_custom_setting_that_is_not_json_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLORS", HIDDEN)
    settings = create_model("OwnSettings", __base__=Settings, colors=(list[str], ...))
    with pytest.raises(InvalidSettings, match="colors") as raised:
        settings.load()
    assert HIDDEN not in str(raised.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DATABASE_URL", f"mysql://me:{HIDDEN}@127.0.0.1/name"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", f"ftp://{HIDDEN}"),
        ("DATABASE_POOL_SIZE", HIDDEN),
        ("DATABASE_POOL_SIZE", "0"),
        ("DATABASE_POOL_TIMEOUT", "nan"),
        ("DATABASE_STATEMENT_TIMEOUT", "0"),
        ("DATABASE_PGBOUNCER", HIDDEN),
        ("CORS_ORIGINS", f"https://a.example.com/{HIDDEN}"),
        ("CORS_ORIGINS", f"https://[{HIDDEN}]"),
        ("ALLOWED_HOSTS", f"{HIDDEN}.*"),
        ("ALLOWED_HOSTS", f"{HIDDEN}:80"),
        ("FORWARDED_ALLOW_IPS", f"127.0.0.1,{HIDDEN}"),
        ("MAX_BODY_BYTES", "1k"),
        ("LOG_LEVEL", HIDDEN),
        ("LOG_FORMAT", HIDDEN),
        ("WEB_CONCURRENCY", "0"),
        ("WEB_CONCURRENCY", "-1"),
        ("WEB_CONCURRENCY", "abc"),
        ("WEB_CONCURRENCY", "99999"),
        ("GRACEFUL_TIMEOUT", "-1"),
    ],
)
def test_invalid_setting_is_named_without_its_value(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    assert_named_without_its_value(name)


def test_service_does_not_start_with_missing_settings(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("DATABASE_URL")
    monkeypatch.setenv("LOG_LEVEL", HIDDEN)
    with pytest.raises(SystemExit) as stopped:
        runpy.run_module(MAIN)
    message = str(stopped.value)  # Python prints it and exits with status 1
    assert "DATABASE_URL is not set" in message
    assert "LOG_LEVEL" in message
    assert "\n" not in message
    assert HIDDEN not in message
