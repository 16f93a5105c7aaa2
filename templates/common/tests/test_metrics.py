"""Metrics: requests and their durations, by route template; the pool's are in test_health."""

import asyncio
import sys
from pathlib import Path

import pytest
from httpx2 import AsyncClient
from prometheus_client.parser import text_string_to_metric_families

from tests.serving import Settings

METRICS = Settings.__module__.replace("settings", "metrics")


async def count(client: AsyncClient, name: str, **labels: str) -> float:
    answer = await client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=")
    for family in text_string_to_metric_families(answer.text):
        for sample in family.samples:
            if sample.name == name and sample.labels == labels:
                return sample.value
    return 0


@pytest.mark.parametrize(
    ("method", "path", "labels"),
    [
        ("GET", "/health/live", {"method": "GET", "route": "/health/live", "status": "200"}),
        ("PUT", "/health/live", {"method": "PUT", "route": "/health/live", "status": "405"}),
        ("GET", "/made/up", {"method": "GET", "route": "none", "status": "404"}),
        ("MADE-UP", "/made/up", {"method": "other", "route": "none", "status": "404"}),
    ],
)
async def test_requests_are_counted_and_timed_by_what_the_service_knows(
    client: AsyncClient, method: str, path: str, labels: dict[str, str]
) -> None:
    """Not by what callers make up: that would be without end."""
    timed = {name: labels[name] for name in ("method", "route")}
    before = await count(client, "http_requests_total", **labels)
    timed_before = await count(client, "http_request_duration_seconds_count", **timed)
    for _ in range(3):
        await client.request(method, path)
    assert await count(client, "http_requests_total", **labels) == before + 3
    timed_after = await count(client, "http_request_duration_seconds_count", **timed)
    assert timed_after == timed_before + 3


async def test_with_several_workers_their_sums_are_shown(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, client: AsyncClient
) -> None:
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
    work = f"from {METRICS} import pool_size; pool_size.inc(10)"
    for _ in range(2):
        worker = await asyncio.create_subprocess_exec(sys.executable, "-c", work)
        assert await worker.wait() == 0
    assert await count(client, "database_pool_size") == 20
