"""Metrics of requests and of the pool, whose gauges are tested in test_health.py."""

import asyncio
import sys
from pathlib import Path

import pytest
from httpx2 import AsyncClient
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from structlog.testing import capture_logs

from service import errors

from tests.serving import Settings, serve

METRICS = Settings.__module__.replace("settings", "metrics")


async def read_samples(client: AsyncClient) -> list[Sample]:
    response = await client.get("/metrics")
    assert response.headers["content-type"].startswith("text/plain; version=")
    families = text_string_to_metric_families(response.text)
    return [sample for family in families for sample in family.samples]


def value(samples: list[Sample], name: str, **labels: str) -> float:
    return sum(s.value for s in samples if s.name == name and s.labels == labels)


@pytest.mark.parametrize(
    ("method", "path", "labels"),
    [
        ("GET", "/health/live", {"method": "GET", "route": "/health/live", "status": "200"}),
        ("PUT", "/health/live", {"method": "PUT", "route": "/health/live", "status": "405"}),
        ("GET", "/made/up", {"method": "GET", "route": "none", "status": "404"}),
        ("MADE-UP", "/made/up", {"method": "other", "route": "none", "status": "404"}),
    ],
)
async def test_requests_are_counted_by_known_methods_and_routes(
    client: AsyncClient, method: str, path: str, labels: dict[str, str]
) -> None:
    """A label for each path or method that callers make up would need unlimited memory."""
    duration_labels = {name: labels[name] for name in ("method", "route")}
    before = await read_samples(client)
    for _ in range(3):
        await client.request(method, path)
    after = await read_samples(client)
    for name, name_labels in [
        ("http_requests_total", labels),
        ("http_request_duration_seconds_count", duration_labels),
    ]:
        assert value(after, name, **name_labels) == value(before, name, **name_labels) + 3


async def test_metrics_are_summed_over_workers(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, client: AsyncClient
) -> None:
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
    program = f"from {METRICS} import *; pool_size.inc(10); pool_wait.observe(2); observe_held(3)"
    workers = [
        await asyncio.create_subprocess_exec(sys.executable, "-c", program) for _ in range(2)
    ]
    assert [await worker.wait() for worker in workers] == [0, 0]
    samples = await read_samples(client)
    assert value(samples, "database_pool_size") == 20
    assert value(samples, "database_pool_wait_seconds_sum") == 4
    assert value(samples, "database_connection_seconds_sum") == 6


async def test_waiting_for_and_holding_connections_is_measured(settings: Settings) -> None:
    """The pool has one connection, so of two requests the second one waits."""

    async def hold(request: Request) -> Response:
        for _ in range(2):
            async with request.state.database.connection():
                await asyncio.sleep(0.1)
        return Response()

    async with serve(settings, routes=[Route("/test-hold", hold)]) as client:
        before = await read_samples(client)
        with capture_logs() as logs:
            async with asyncio.TaskGroup() as tasks:
                for _ in range(2):
                    tasks.create_task(client.get("/test-hold"))
            await client.get("/health/live")
        after = await read_samples(client)

    def growth(name: str) -> float:
        return value(after, name) - value(before, name)

    assert growth("database_connection_seconds_count") == 4
    assert growth("database_pool_wait_seconds_count") == 4
    assert 0.4 <= growth("database_connection_seconds_sum") < 3
    # The first request waits once and the second one twice, for as long as the other one holds it.
    assert 0.25 <= growth("database_pool_wait_seconds_sum") < 3
    *holding, live = [line["database_milliseconds"] for line in logs]
    assert live == 0
    for milliseconds in holding:
        assert 200 <= milliseconds < 2000


async def test_503_is_counted_by_its_reason(settings: Settings) -> None:
    reasons = {
        error.__name__: error
        for error in vars(errors).values()
        if isinstance(error, type) and issubclass(error, errors.DatabaseUnavailable)
    }

    async def refuse(request: Request) -> Response:
        raise reasons[request.path_params["reason"]]

    name = "database_unavailable_total"
    async with serve(settings, routes=[Route("/test-refuse/{reason}", refuse)]) as client:
        before = await read_samples(client)
        shown = {sample.labels["reason"] for sample in before if sample.name == name}
        assert reasons.keys() <= shown
        for reason in reasons:
            assert (await client.get(f"/test-refuse/{reason}")).status_code == 503
        after = await read_samples(client)
    for reason in reasons:
        assert value(after, name, reason=reason) == value(before, name, reason=reason) + 1
