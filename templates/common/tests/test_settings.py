"""Settings: read from the environment. An error names a setting and never shows its value."""

import runpy
from pathlib import Path

import pytest

from service.settings import InvalidSettings, Settings

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


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DATABASE_URL", f"mysql://me:{HIDDEN}@127.0.0.1/name"),
        ("DATABASE_URL", f"postgresql://me:{HIDDEN}@127.0.0.1"),
        ("DATABASE_URL", f"postgresql://me:{HIDDEN}@127.0.0.1:{HIDDEN}/name"),
        ("DATABASE_URL", f"postgresql://me:pass@[{HIDDEN}/name"),
        ("DATABASE_URL", f"postgresql://me:pass@[{HIDDEN}]/name"),
        ("DATABASE_URL", f"postgresql://me@127.0.0.1/name?sslmode={HIDDEN}"),
        ("DATABASE_URL", f"postgresql://me@127.0.0.1/name#{HIDDEN}"),
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
        ("MAX_BODY_BYTES", "1k"),
        ("LOG_LEVEL", HIDDEN),
        ("LOG_FORMAT", HIDDEN),
        ("WEB_CONCURRENCY", "0"),
        ("GRACEFUL_TIMEOUT", "-1"),
    ],
)
def test_invalid_setting_is_named_without_its_value(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(InvalidSettings) as raised:
        Settings.load()
    message = str(raised.value)
    assert message.startswith(f"{name}: ")
    assert "\n" not in message
    assert HIDDEN not in message


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
