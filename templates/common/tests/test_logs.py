"""Logs: one line for each request, as JSON or for a console."""

import gc
import json
import logging
import runpy
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import pytest
import structlog
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.testclient import TestClient

from service.database import Database

from tests.raw_sql import execute
from tests.serving import Settings, assert_problem

Load: TypeAlias = Callable[..., TestClient]


async def divide(request: Request) -> Response:
    database: Database = request.scope["state"]["database"]
    async with database.connection() as connection:
        await execute(connection, "SELECT 1 / 0")
    return Response(status_code=204)


@pytest.fixture
def load(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Load]:
    """Load the application as a server does. The logging configuration is restored at the end."""
    gc.collect()  # asyncio logs errors of abandoned futures here, not between the lines of a test
    root, configuration = logging.getLogger(), structlog.get_config()
    handlers, level = root.handlers, root.level

    def load(**environment: str) -> TestClient:
        for name, value in {"DATABASE_URL": settings.dsn, **environment}.items():
            monkeypatch.setenv(name, value)
        app = runpy.run_module(Settings.__module__.replace("settings", "main"))["app"]
        structlog.configure(cache_logger_on_first_use=False)  # a cached logger cannot be restored
        logging.getLogger("httpx2").setLevel(logging.WARNING)  # the test's client logs, too
        app.router.routes.append(Route("/test-divide", divide))
        return TestClient(app)

    yield load
    structlog.configure(**configuration)
    root.handlers = handlers
    root.setLevel(level)


def test_request_is_logged_as_one_line(load: Load, capsys: pytest.CaptureFixture[str]) -> None:
    client = load()
    assert client.get("/health/live?a=b", headers={"X-Request-ID": "mine"}).status_code == 200
    assert_problem(client.get("/unknown/path", headers={"X-Request-ID": "yours"}), 404)
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    for line in lines:
        assert line.pop("milliseconds") >= 0
        assert line.pop("database_milliseconds") == 0
        assert line.pop("timestamp").endswith("Z")
    common: dict[str, Any] = {"message": "request", "level": "info", "method": "GET"}
    assert lines == [
        {**common, "request_id": "mine", "route": "/health/live", "status": 200},
        {**common, "request_id": "yours", "route": "none", "status": 404},
    ]


def test_libraries_log_in_the_same_format_and_access_logs_are_off(
    load: Load, capsys: pytest.CaptureFixture[str]
) -> None:
    load()
    for name in ("uvicorn.error", "uvicorn.access", "alembic"):
        logging.getLogger(name).info("logged by %s", name)
    [line] = capsys.readouterr().out.splitlines()
    assert json.loads(line)["message"] == "logged by uvicorn.error"


def test_console_format_is_text(load: Load, capsys: pytest.CaptureFixture[str]) -> None:
    load(LOG_FORMAT="console").get("/health/live")
    [line] = capsys.readouterr().out.splitlines()
    assert not line.startswith("{")
    assert "/health/live" in line


def test_log_level_hides_lower_levels(load: Load, capsys: pytest.CaptureFixture[str]) -> None:
    load(LOG_LEVEL="warning").get("/health/live")
    assert capsys.readouterr().out == ""


def test_unexpected_error_is_logged_without_its_message(
    load: Load, capsys: pytest.CaptureFixture[str]
) -> None:
    with load() as client:
        assert_problem(client.get("/test-divide"), 500)
    [line, _] = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert (line["level"], line["sqlstate"]) == ("error", "22012")
    assert any("middleware.py" in frame for frame in line["at"])
    assert "division by zero" not in str(line)


@pytest.mark.parametrize("environment", [{"LOG_FORMAT": "console"}, {"LOG_LEVEL": "debug"}])
def test_traceback_is_shown_to_developers(
    load: Load, capsys: pytest.CaptureFixture[str], environment: dict[str, str]
) -> None:
    with load(**environment) as client:
        assert_problem(client.get("/test-divide"), 500)
    log = capsys.readouterr().out
    assert "Traceback" in log
    assert "division by zero" in log
