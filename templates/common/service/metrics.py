"""The metrics that Prometheus reads at /metrics."""

import os
from functools import cache

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    REGISTRY,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
)
from prometheus_client.multiprocess import MultiProcessCollector
from starlette.requests import Request
from starlette.responses import Response

requests = Counter("http_requests", "Requests answered.", ["method", "route", "status"])
seconds = Histogram(
    "http_request_duration_seconds", "Time to answer a request.", ["method", "route"]
)


@cache
def request_metrics(method: str, route: str, status: int) -> tuple[Counter, Histogram]:
    """Return the metrics with these labels, cached because `labels` costs more than counting."""
    return requests.labels(method, route, status), seconds.labels(method, route)


# With several workers these are the sums over the workers that are alive.
pool_size = Gauge(
    "database_pool_size",
    "Connections that the pools may open.",
    multiprocess_mode="livesum",
)
pool_in_use = Gauge(
    "database_pool_in_use",
    "Connections that requests hold or open now.",
    multiprocess_mode="livesum",
)
pool_waiting = Gauge(
    "database_pool_waiting",
    "Requests that wait for a connection now.",
    multiprocess_mode="livesum",
)


def exposition() -> bytes:
    """Return the metrics of this process, or of all workers if they share a folder."""
    if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
        return generate_latest(REGISTRY)
    registry = CollectorRegistry()
    MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    return generate_latest(registry)


async def metrics(request: Request) -> Response:
    return Response(exposition(), media_type=CONTENT_TYPE_LATEST)
