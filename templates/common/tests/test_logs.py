"""Logs: one line for each request, as JSON or for a console."""

import asyncio
import gc
import io
import json
import logging
import runpy
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from enum import Enum
from math import inf, nan
from typing import Any, TypeAlias
from uuid import UUID

import pytest
import structlog
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from service.database import Database

from tests.raw_sql import execute
from tests.serving import Settings, assert_problem, serve_on_port

Load: TypeAlias = Callable[..., TestClient]


class Color(Enum):
    RED = "red"


@dataclass
class Size:
    width: int


class Unbound:
    """A proxy of something that does not exist now."""

    def __getattribute__(self, name: str) -> object:
        raise RuntimeError("nothing is bound")

    def __repr__(self) -> str:
        return "<unbound>"


class NoRepr:
    def __repr__(self) -> str:
        raise RuntimeError("not now")


ID = UUID("11111111-1111-1111-1111-111111111111")
NEW_YEAR = datetime(2026, 1, 1, tzinfo=UTC)
CIRCLE: dict[str, object] = {"a": 1}
CIRCLE["circle"] = CIRCLE
DEEP: Any = "bottom"
for _ in range(1000):
    DEEP = [DEEP]
NO_REPR = "<NoRepr: its repr raises RuntimeError>"

# A value in a log line, and the JSON that it is written as.
VALUES: list[tuple[object, object]] = [
    ({1: 2}, {"1": 2}),
    ({1: "a", "1": "b"}, {"1_": "a", "1": "b"}),
    ({Color.RED: 1, ID: 2, NEW_YEAR: 3}, {"red": 1, str(ID): 2, "2026-01-01T00:00:00Z": 3}),
    ({b"a": 1, (1, 2): 3, None: 4, nan: 5}, {"b'a'": 1, "[1, 2]": 3, "None": 4, "nan": 5}),
    ([Color.RED, ID, Size(1), 2**70], ["red", str(ID), {"width": 1}, str(2**70)]),
    (2**63 - 1, 2**63 - 1),
    (2**70, str(2**70)),
    (-(2**70), str(-(2**70))),
    (10**5000, "<int: its repr raises ValueError>"),
    ([nan, {"most": inf}, 1.5, None, True], ["nan", {"most": "inf"}, 1.5, None, True]),
    (Decimal("1.50"), "Decimal('1.50')"),
    ({7}, "{7}"),
    (b"\xff", "b'\\xff'"),
    ("\ud800 é", "\\ud800 é"),
    ([Unbound(), None, {1: Unbound()}], ["<unbound>", None, {"1": "<unbound>"}]),
    ({"\ud800": NoRepr()}, {"\\ud800": NO_REPR}),
    ([NoRepr(), ValueError(NoRepr())], [NO_REPR, "<ValueError: its repr raises RuntimeError>"]),
    (CIRCLE, {"a": 1, "circle": "{'a': 1, 'circle': {...}}"}),
]


def read_lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    """Return the lines that were logged. Each is strict JSON, which has no NaN."""

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    lines = capsys.readouterr().out.splitlines()
    return [json.loads(line, parse_constant=refuse) for line in lines]


async def divide(request: Request) -> Response:
    database: Database = request.scope["state"]["database"]
    async with database.connection() as connection:
        await execute(connection, "SELECT 1 / 0")
    return Response(status_code=204)


async def divide_in_task(request: Request) -> Response:
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(divide(request))
    return task.result()


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
        app.router.routes.append(Route("/test-divide-in-task", divide_in_task))
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
    for name in ("uvicorn.error", "uvicorn.access"):
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


def test_unexpected_error_of_a_task_is_located(
    load: Load, capsys: pytest.CaptureFixture[str]
) -> None:
    """The log does not name the task group, which raised it again in a group of errors."""
    with load() as client:
        assert_problem(client.get("/test-divide-in-task"), 500)
    [line, _] = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert line["sqlstate"] == "22012"
    assert "Group" not in line["error"]
    assert not any("taskgroups.py" in frame for frame in line["at"])


@pytest.mark.parametrize("environment", [{"LOG_FORMAT": "console"}, {"LOG_LEVEL": "debug"}])
def test_traceback_is_shown_to_developers(
    load: Load, capsys: pytest.CaptureFixture[str], environment: dict[str, str]
) -> None:
    with load(**environment) as client:
        assert_problem(client.get("/test-divide"), 500)
    log = capsys.readouterr().out
    assert "Traceback" in log
    assert "division by zero" in log


@pytest.mark.parametrize(("value", "expected"), VALUES, ids=lambda value: type(value).__name__)
def test_any_value_can_be_logged(
    load: Load, capsys: pytest.CaptureFixture[str], value: object, expected: object
) -> None:
    load()
    structlog.get_logger().info("done", value=value)
    logging.getLogger("library").warning("done", extra={"value": value})
    assert [line["value"] for line in read_lines(capsys)] == [expected, expected]


@pytest.mark.parametrize("value", [DEEP, *(value for value, _ in VALUES)], ids=lambda _: "")
@pytest.mark.parametrize("log_format", ["json", "console"])
def test_handler_may_log_anything(
    load: Load, capsys: pytest.CaptureFixture[str], value: object, log_format: str
) -> None:
    async def handler(request: Request) -> Response:
        structlog.get_logger().info("done", value=value, stack=1, exception=2)
        logging.getLogger("library").warning("done", extra={"value": value, "stack": 1})
        return Response(status_code=204)

    client = load(LOG_FORMAT=log_format)
    client.app.router.routes.append(Route("/test-log", handler))  # type: ignore[attr-defined]
    assert client.get("/test-log").status_code == 204
    captured = capsys.readouterr()
    assert captured.out.count("done") == 2
    assert captured.err == ""


def test_field_with_a_name_of_ours_gets_an_underscore(
    load: Load, capsys: pytest.CaptureFixture[str]
) -> None:
    fields = {"level": "gold", "timestamp": 1, "request_id": "none", "error": "own", "table": "t"}

    async def handler(request: Request) -> Response:
        log = structlog.get_logger().bind(bound=1)
        log.info("ours", message="theirs", message_="more", **fields)
        log.info("ours", event=1, self=2, method_name=3)
        try:
            _ = 1 / 0
        except ZeroDivisionError:
            log.exception("ours", at="here", **fields)
        logging.getLogger("library").warning("ours", extra={"event": "theirs", **fields})
        return Response(status_code=204)

    client = load()
    client.app.router.routes.append(Route("/test-log", handler))  # type: ignore[attr-defined]
    client.get("/test-log", headers={"X-Request-ID": "mine"})
    first, second, error, library, _ = read_lines(capsys)
    for line in (first, second, error, library):
        assert (line["message"], line["request_id"]) == ("ours", "mine")
        assert line["timestamp"].endswith("Z")
    for line in (first, error, library):
        assert line["table"] == "t"
        assert (line["level_"], line["timestamp_"], line["request_id_"]) == ("gold", 1, "none")
    assert (first["message_"], first["message__"], first["error"]) == ("theirs", "more", "own")
    assert (second["event_"], second["self"], second["method_name"]) == (1, 2, 3)
    assert second["bound"] == 1
    assert (error["error"], error["error_"], error["at_"]) == ("ZeroDivisionError", "own", "here")
    assert (error["level"], library["level"]) == ("error", "warning")
    assert library["event_"] == "theirs"


@pytest.mark.parametrize(
    ("message", "arguments", "expected"),
    [
        ("%s of %d", ("one", 2), {"message": "one of 2"}),
        ("%(a)s", ({"a": 1},), {"message": "1"}),
        ("100 %", (), {"message": "100 %"}),
        ("%d", ("x",), {"message": "%d", "arguments": ["x"]}),
        ("%s", (NoRepr(),), {"message": "%s", "arguments": [NO_REPR]}),
        ("none", (1, 2), {"message": "none", "arguments": [1, 2]}),
        ({"a": 1}, (2,), {"message": {"a": 1}, "arguments": [2]}),
        (None, (), {"message": None}),
    ],
)
async def test_message_is_logged_even_if_its_arguments_do_not_fit(
    load: Load,
    capsys: pytest.CaptureFixture[str],
    message: object,
    arguments: tuple[object, ...],
    expected: dict[str, object],
) -> None:
    load()
    log = structlog.get_logger()
    log.info(message, *arguments)
    log.log(25, message, *arguments)
    await log.alog(25, message, *arguments)
    await log.ainfo(message, *arguments)
    for line in read_lines(capsys):
        assert (line.pop("level"), line.pop("timestamp")[-1]) == ("info", "Z")
        assert line == expected
    logging.getLogger("library").info(message, *arguments)
    [line] = read_lines(capsys)
    assert line["message"] == (expected["message"] if arguments else str(message))
    assert line.get("arguments") == expected.get("arguments")


async def test_exception_is_found_by_asynchronous_methods(
    load: Load, capsys: pytest.CaptureFixture[str]
) -> None:
    load()
    try:
        _ = 1 / 0
    except ZeroDivisionError:
        await structlog.get_logger().aexception("failed")
    [line] = read_lines(capsys)
    assert (line["level"], line["error"]) == ("error", "ZeroDivisionError")


def test_bound_event_is_not_the_message(load: Load, capsys: pytest.CaptureFixture[str]) -> None:
    load()
    log = structlog.get_logger()
    log.bind(event="paid").info("done", event_=1)
    asyncio.run(log.alog(20, "done", event="paid"))
    with structlog.contextvars.bound_contextvars(event="paid", message="theirs"):
        log.info("done")
        logging.getLogger("library").info("done")
    lines = read_lines(capsys)
    assert [line["message"] for line in lines] == ["done"] * 4
    assert [line["event_"] for line in lines] == ["paid"] * 4
    assert lines[0]["event__"] == 1
    assert [line["message_"] for line in lines[2:]] == ["theirs"] * 2


def test_what_libraries_and_contexts_add_is_logged(
    load: Load, capsys: pytest.CaptureFixture[str]
) -> None:
    load()
    with structlog.contextvars.bound_contextvars(tenant="red"):
        structlog.get_logger().info("ours", stack_info=True)
        logging.getLogger("library").warning("theirs", extra={"user": 7}, stack_info=True)
        logging.getLogger("uvicorn.error").info("started", extra={"color_message": "\033[1m"})
    ours, theirs, server = read_lines(capsys)
    assert (ours["tenant"], theirs["tenant"], theirs["user"]) == ("red", "red", 7)
    assert "read_lines" not in ours["stack"] and __name__.rpartition(".")[2] in ours["stack"]
    assert __name__.rpartition(".")[2] in theirs["stack"]
    assert server.keys() == {"message", "level", "timestamp", "tenant"}


@pytest.mark.parametrize(
    "exc_info", [True, "text", ValueError("one"), (None, None, None), (), (1,)]
)
@pytest.mark.parametrize("level", ["info", "debug"])
def test_any_exc_info_can_be_logged(
    load: Load, capsys: pytest.CaptureFixture[str], exc_info: object, level: str
) -> None:
    load(LOG_LEVEL=level)
    circle = ValueError(NoRepr(), "\ud800")
    circle.__cause__ = circle
    structlog.get_logger().info("done", exc_info=exc_info)
    structlog.get_logger().info("done", exc_info=circle)
    _, line = read_lines(capsys)
    assert "ValueError" in line["error" if level == "info" else "exception"]


class Unwritable(io.StringIO):
    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error

    def write(self, text: str) -> int:
        raise self.error


@pytest.mark.parametrize(
    "error",
    [OSError("No space left on device"), BrokenPipeError("Broken pipe"), ValueError("closed file")],
    ids=repr,
)
async def test_output_that_cannot_be_written_fails_nothing(
    load: Load, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """As in `logging` itself, the error is shown on standard error."""
    errors = io.StringIO()
    monkeypatch.setattr(sys, "stderr", errors)
    monkeypatch.setattr(sys, "stdout", Unwritable(error))
    assert load().get("/health/live").status_code == 200
    await structlog.get_logger().ainfo("done")
    logging.getLogger("library").warning("done")
    assert errors.getvalue().count(f"\n{type(error).__name__}: {error}\n") == 3


def test_output_is_utf_8(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    output = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(output, encoding="ascii"))
    load()
    structlog.get_logger().info("größe")
    assert json.loads(output.getvalue())["message"] == "größe"


async def stream() -> AsyncIterator[bytes]:
    yield b"one"
    await asyncio.sleep(0.3)
    yield b"two"


async def answer_in_parts(request: Request) -> Response:
    return StreamingResponse(stream())


async def answer_and_go_on(request: Request) -> Response:
    async def work() -> None:
        await asyncio.sleep(0.3)
        structlog.get_logger().info("worked")
        raise LookupError(request.query_params)

    return Response("one", background=BackgroundTask(work))


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_request_lasts_until_the_last_byte_of_its_answer(
    load: Load, capsys: pytest.CaptureFixture[str], settings: Settings, method: str
) -> None:
    """Background tasks run afterwards, and their errors are logged with the request's id."""
    load()
    routes = [Route("/test-parts", answer_in_parts), Route("/test-work", answer_and_go_on)]
    seconds = {}
    async with serve_on_port(settings, routes) as port:
        for path in ("/test-parts", "/test-work"):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            head = f"{method} {path} HTTP/1.1\r\nHost: test\r\nX-Request-ID: mine\r\n"
            writer.write(f"{head}Connection: close\r\n\r\n".encode())
            assert b" 200 OK" in await reader.read()
            writer.close()
    lines = [line for line in read_lines(capsys) if "request_id" in line]
    assert [line["message"] for line in lines][:3] == ["request", "request", "worked"]
    seconds = {line["route"]: line["milliseconds"] / 1000 for line in lines[:2]}
    assert seconds["/test-parts"] >= 0.3 > seconds["/test-work"]
    [error] = lines[3:]
    assert (error["level"], error["error"]) == ("error", "LookupError")
    assert {line["request_id"] for line in lines} == {"mine"}


async def test_answer_that_breaks_off_is_logged_once(
    load: Load, capsys: pytest.CaptureFixture[str], settings: Settings
) -> None:
    load()
    async with serve_on_port(settings, [Route("/test-parts", answer_in_parts)]) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /test-parts HTTP/1.1\r\nHost: test\r\n\r\n")
        await reader.readuntil(b"one")
        writer.close()
    [line] = [line for line in read_lines(capsys) if line["message"] == "request"]
    assert line["status"] == 200
