"""The settings of the upstream."""

import pytest

from service.settings import InvalidSettings, Settings

from tests.test_settings import HIDDEN, assert_named_without_its_value


@pytest.fixture(autouse=True)
def environment(environment: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://me@127.0.0.1/name")


def test_slash_at_the_end_of_the_url_is_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UPSTREAM_URL", "https://upstream.example.com/v1/")
    settings = Settings.load(_env_file=None)
    assert settings.upstream_url == "https://upstream.example.com/v1"


def test_url_is_required(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("UPSTREAM_URL")
    with pytest.raises(InvalidSettings, match="UPSTREAM_URL is not set"):
        Settings.load(_env_file=None)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("UPSTREAM_URL", f"ftp://{HIDDEN}"),
        ("UPSTREAM_URL", f"https://me:pass@[{HIDDEN}]/"),
        ("UPSTREAM_URL", f"https://upstream.example.com:{HIDDEN}/"),
        ("UPSTREAM_URL", f"https://upstream.example.com/?{HIDDEN}"),
        ("UPSTREAM_URL", f"https://upstream.example.com/{HIDDEN} and more"),
        ("UPSTREAM_TIMEOUT", "inf"),
        ("UPSTREAM_MAX_CONNECTIONS", "0"),
    ],
)
def test_invalid_setting_is_named_without_its_value(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    assert_named_without_its_value(name)
