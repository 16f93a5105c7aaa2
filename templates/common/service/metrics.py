"""The metrics that Prometheus reads at /metrics."""

import os
from contextvars import ContextVar
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
# In seconds. A block usually takes a few milliseconds, and no statement may take longer than
# DATABASE_STATEMENT_TIMEOUT.
BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
pool_wait = Histogram(
    "database_pool_wait_seconds",
    "Time until a connection was checked out, or opened.",
    buckets=BUCKETS,
)
connection_held = Histogram(
    "database_connection_seconds",
    "Time that a connection was held: that of a block.",
    buckets=BUCKETS,
)


unavailable = Counter(
    "database_unavailable",
    "Requests answered 503 because of the database: see docs/deployment.md.",
    ["reason"],
)


class DatabaseTime:
    """The seconds that a request has held connections, all its blocks together."""

    seconds = 0.0


database_time: ContextVar[DatabaseTime | None] = ContextVar("database_time", default=None)


def observe_held(seconds: float) -> None:
    connection_held.observe(seconds)
    if current := database_time.get():
        current.seconds += seconds


def exposition() -> bytes:
    """Return the metrics of this process, or of all workers if they share a folder."""
    if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
        return generate_latest(REGISTRY)
    registry = CollectorRegistry()
    MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    return generate_latest(registry)


async def metrics(request: Request) -> Response:
    return Response(exposition(), media_type=CONTENT_TYPE_LATEST)
