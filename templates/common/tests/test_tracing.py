"""Traces: what the collector receives, and what happens when it hangs."""

import asyncio
import json
import os
import sys
import time
from asyncio.subprocess import PIPE, create_subprocess_exec
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from httpx2 import AsyncClient
from opentelemetry import trace
from pydantic import SecretStr
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from service.database import Database

from tests.collector import Collector, collect
from tests.postgres_proxy import PostgresProxy
from tests.process import APP, ServiceProcess, run_service
from tests.raw_sql import execute
from tests.serving import Settings, serve

PROJECT = str(Path(__file__).parent.parent)
CALLER = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
TRACEPARENT = f"00-{'-'.join(CALLER)}-01"


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    with collect() as collector:
        yield collector


@pytest.fixture(scope="module")
async def proxy(database_url: str) -> AsyncIterator[PostgresProxy]:
    proxy = PostgresProxy(database_url)
    await proxy.start()
    yield proxy
    await proxy.stop()


@pytest.fixture(scope="module")
async def traced(
    settings: Settings,
    proxy: PostgresProxy,
    collector: Collector,
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[ServiceProcess]:
    settings = settings.model_copy(update={"database_url": SecretStr(proxy.url)})
    folder = tmp_path_factory.mktemp("traced")
    path = os.pathsep.join([PROJECT, os.environ.get("PYTHONPATH", "")])
    environment = {**collector.settings, "PYTHONPATH": path}
    async with run_service(settings, folder, "tests.traced:app", **environment) as process:
        yield process


@pytest.fixture
async def caller(traced: ServiceProcess) -> AsyncIterator[AsyncClient]:
    async with AsyncClient(base_url=traced.url) as client:
        yield client


async def test_trace_has_the_request_and_each_of_its_statements(
    caller: AsyncClient, collector: Collector, proxy: PostgresProxy, traced: ServiceProcess
) -> None:
    await caller.get("/health/ready")  # After this the connection is open.
    proxy.statements.clear()
    headers = {"traceparent": TRACEPARENT, "X-Request-ID": "traced"}
    assert (await caller.post("/test-statements/1", headers=headers)).status_code == 405
    assert (await caller.get("/test-statements/1", headers=headers)).status_code == 200
    refused, request = await collector.wait_for(
        "POST /test-statements/{number}", "GET /test-statements/{number}"
    )
    assert refused.attributes["http.response.status_code"] == 405
    assert (request.trace_id, request.parent_id) == CALLER
    assert request.attributes["url.path"] == "/test-statements/1"
    assert request.attributes["http.response.status_code"] == 200
    below = collector.tree(request)
    assert {span.parent_id for span in below} == {request.span_id}
    assert {span.trace_id for span in below} == {request.trace_id}
    assert [span.statement for span in below] == proxy.statements
    assert [text for text in proxy.statements if text and text.startswith("SELECT")] == [
        "SELECT 1",
        "SELECT 2",
        "SELECT 3",
    ]
    lines: list[dict[str, str]] = []
    async with asyncio.timeout(5):
        while len(lines) < 2:  # A line may be read a little later than the answer.
            await asyncio.sleep(0.01)
            logged = [line for line in traced.output if '"request_id":"traced"' in line]
            lines = [json.loads(line) for line in logged]
    assert [(line["trace_id"], line["span_id"]) for line in lines] == [
        (span.trace_id, span.span_id) for span in (refused, request)
    ]


async def test_unknown_path_and_method_make_no_name(
    caller: AsyncClient, collector: Collector
) -> None:
    """A span's name is a label, like those of metrics."""
    await caller.request("TRACE", "/made/up")
    await caller.request("HEAD", "/test-statements/1")
    await collector.wait_for("other none", "HEAD /test-statements/{number}")


async def test_error_of_a_statement_is_exported_without_its_message(
    caller: AsyncClient, collector: Collector
) -> None:
    assert (await caller.get("/test-failure?hunter2")).status_code == 500
    [request] = await collector.wait_for("GET /test-failure")
    [failed, *_] = collector.tree(request)
    assert "InvalidTextRepresentationError" in failed.text
    assert "STATUS_CODE_ERROR" in request.text
    assert not [span for span in collector.received if "hunter2" in span.text]


async def test_probes_have_no_spans(caller: AsyncClient, collector: Collector) -> None:
    for path in ("/health/live", "/health/ready", "/metrics"):
        assert (await caller.get(path)).status_code == 200
    await caller.get("/openapi.json")
    await collector.wait_for("GET /openapi.json")
    roots = {span.name for span in collector.received if span.parent_id in ("", CALLER[1])}
    assert not [name for name in roots if "/" not in name and name != "other none"]
    assert not [name for name in roots if "health" in name or "metrics" in name]


@pytest.mark.parametrize(
    ("export_timeout", "warnings"),
    [
        pytest.param("0.1", 1, id="each export fails"),
        pytest.param("60", 0, id="the first export does not end"),
    ],
)
async def test_hanging_collector_delays_nothing_and_is_logged_once(
    settings: Settings, tmp_path: Path, export_timeout: str, warnings: int
) -> None:
    with collect() as collector:
        collector.answers.clear()
        environment = {**collector.settings, "OTEL_EXPORTER_OTLP_TIMEOUT": export_timeout}
        async with run_service(settings, tmp_path, **environment) as process:
            async with AsyncClient(base_url=process.url) as client:
                started = time.monotonic()
                for _ in range(50):
                    assert (await client.get("/openapi.json")).status_code == 200
                # If each of them waited for an export, they would take five seconds at least.
                assert time.monotonic() - started < 4
                # Where exports fail, two have failed when the third one arrives.
                expected = 1 + 2 * warnings
                async with asyncio.timeout(10):
                    while collector.requests < expected:
                        await client.get("/openapi.json")
                        await asyncio.sleep(0.05)
            stopped = time.monotonic()
        assert time.monotonic() - stopped < 15  # OpenTelemetry itself would wait for 30 seconds.
    log = "".join(process.output)
    assert log.count("traces are lost") == warnings
    assert "Traceback" not in log
    assert "opentelemetry" not in log


async def test_last_spans_are_sent_when_the_service_stops(
    settings: Settings, tmp_path: Path
) -> None:
    with collect() as collector:
        environment = {**collector.settings, "OTEL_BSP_SCHEDULE_DELAY": "60000"}
        async with (
            run_service(settings, tmp_path, OTEL_SERVICE_NAME="named", **environment) as process,
            AsyncClient(base_url=process.url) as client,
        ):
            await client.get("/openapi.json")
            assert collector.received == []
        [span] = collector.received
    assert span.name == "GET /openapi.json"
    assert "named" in span.text


async def show_number(request: Request) -> Response:
    database: Database = request.scope["state"]["database"]
    with trace.get_tracer(__name__).start_as_current_span("the name"):
        async with database.connection() as connection:
            await execute(connection, f"SELECT {request.path_params['text']}::integer")
    return Response()


async def test_span_of_ones_own_is_between_the_request_and_its_statement(
    settings: Settings, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in collector.settings.items():
        monkeypatch.setenv(name, value)
    routes = [Route("/test-own/{text}", show_number)]
    settings = settings.model_copy(update={"otel_exporter_otlp_endpoint": collector.url})
    async with serve(settings, routes=routes) as client:
        assert (await client.get("/health/ready")).status_code == 200  # opens the connection
        assert (await client.get("/test-own/1")).status_code == 200
        [request] = await collector.wait_for("GET /test-own/{text}")
        own, statement, *_ = collector.tree(request)
        assert (own.name, statement.statement) == ("the name", "SELECT 1::integer")
        assert (own.parent_id, statement.parent_id) == (request.span_id, own.span_id)

        collector.received.clear()
        assert (await client.get("/test-own/'hunter2'")).status_code == 500
        [request] = await collector.wait_for("GET /test-own/{text}")
        spans = collector.tree(request)
        assert "STATUS_CODE_ERROR" in spans[0].text
        assert not [span for span in spans if "invalid input" in span.text]


async def test_nothing_is_imported_without_a_collector(settings: Settings, tmp_path: Path) -> None:
    """Other libraries may import OpenTelemetry themselves, but not what sends spans."""
    package = Settings.__module__.partition(".")[0]
    program = f"""
import sys
from {APP.partition(":")[0]} import app
from starlette.testclient import TestClient
with TestClient(app) as client:
    assert client.get("/health/ready").status_code == 200
parts = {[f"opentelemetry.{part}" for part in ("exporter", "instrumentation")]}
print([name for name in sys.modules if name.startswith((*parts, "{package}.tracing"))])
"""
    environment = {**os.environ, "DATABASE_URL": settings.dsn}
    process = await create_subprocess_exec(
        sys.executable, "-c", program, env=environment, cwd=tmp_path, stdout=PIPE
    )
    output, _ = await process.communicate()
    assert output.splitlines()[-1] == b"[]"
