"""Logs: one line a request, for machines or for a console."""

import json
import logging
import runpy
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import pytest
import structlog
from starlette.testclient import TestClient

from tests.serving import Settings, problem

Load: TypeAlias = Callable[..., TestClient]


@pytest.fixture
def load(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Load]:
    """Load the application as a server does, and undo at the end what it does to the logs."""
    root, before = logging.getLogger(), structlog.get_config()
    handlers, level = root.handlers, root.level

    def load(**environment: str) -> TestClient:
        required = {"DATABASE_URL": settings.dsn, "UPSTREAM_URL": settings.upstream_url}
        for name, value in {**required, **environment}.items():
            monkeypatch.setenv(name, value)
        app = runpy.run_module(Settings.__module__.replace("settings", "main"))["app"]
        structlog.configure(cache_logger_on_first_use=False)  # or there would be no undoing
        logging.getLogger("httpx2").setLevel(logging.WARNING)  # this client's, not the service's
        return TestClient(app)

    yield load
    structlog.configure(**before)
    root.handlers, root.level = handlers, level


def test_a_request_is_one_line(load: Load, capsys: pytest.CaptureFixture[str]) -> None:
    client = load()
    assert client.get("/health/live?a=b", headers={"X-Request-ID": "mine"}).status_code == 200
    problem(client.get("/made/up", headers={"X-Request-ID": "yours"}), 404)
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    for line in lines:
        assert line.pop("milliseconds") >= 0
        assert line.pop("timestamp").endswith("Z")
    same: dict[str, Any] = {"message": "request", "level": "info", "method": "GET"}
    assert lines == [
        {**same, "request_id": "mine", "route": "/health/live", "status": 200},
        {**same, "request_id": "yours", "route": "none", "status": 404},
    ]


def test_libraries_log_alike_and_the_servers_own_access_log_is_off(
    load: Load, capsys: pytest.CaptureFixture[str]
) -> None:
    load()
    for name in ("uvicorn.error", "uvicorn.access", "alembic"):
        logging.getLogger(name).info("said by %s", name)
    [line] = capsys.readouterr().out.splitlines()
    assert json.loads(line)["message"] == "said by uvicorn.error"


def test_a_console_gets_text(load: Load, capsys: pytest.CaptureFixture[str]) -> None:
    load(LOG_FORMAT="console").get("/health/live")
    [line] = capsys.readouterr().out.splitlines()
    assert not line.startswith("{")
    assert "/health/live" in line


def test_a_level_leaves_out_what_is_below_it(
    load: Load, capsys: pytest.CaptureFixture[str]
) -> None:
    load(LOG_LEVEL="warning").get("/health/live")
    assert capsys.readouterr().out == ""
