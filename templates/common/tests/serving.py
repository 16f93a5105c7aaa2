"""The service in the process of the tests, called over HTTP with or without a server."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
import uvicorn
from httpx2 import ASGITransport, AsyncClient, Response
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Receive, Scope, Send

from service.app import create_app
from service.metrics import pool_in_use
from service.models import metadata
from service.settings import (
    DatabaseSettings,
    InvalidSettings,
    Settings,
)

from scripts.variables import read_variables

# Nearly all tests need Settings, create_app and metadata, so they import them from here, too.
__all__ = [
    "Settings",
    "assert_problem",
    "behind_prefix",
    "connections_in_use",
    "create_app",
    "find_database_url",
    "metadata",
    "serve",
    "serve_on_port",
]


def find_database_url() -> str | None:
    """Return the developer's DATABASE_URL, if it is set. A wrong one ends the tests."""
    try:
        return DatabaseSettings.load().dsn if "DATABASE_URL" in read_variables() else None
    except InvalidSettings as error:
        pytest.exit(str(error), returncode=1)


@asynccontextmanager
async def serve(
    settings: Settings,
    *,
    routes: Sequence[BaseRoute] = (),
    wrap: Callable[[ASGIApp], ASGIApp] = lambda app: app,
    **changes: object,
) -> AsyncIterator[AsyncClient]:
    """Start the service and yield a client that calls it without a server.

    routes: added in front of the service's own, which may have the same paths.
    wrap: returns the application to call in place of the service.
    changes: settings to replace.
    """
    app = create_app(settings.model_copy(update=changes))
    app.router.routes[:0] = routes
    async with app.router.lifespan_context(app) as state:

        async def with_state(scope: Scope, receive: Receive, send: Send) -> None:
            await app({**scope, "state": dict(state or {})}, receive, send)

        transport = ASGITransport(wrap(with_state))
        async with AsyncClient(transport=transport, base_url="http://testserver") as client:
            yield client


@asynccontextmanager
async def serve_on_port(settings: Settings, routes: Sequence[BaseRoute] = ()) -> AsyncIterator[int]:
    """Run the service behind uvicorn and yield its port on 127.0.0.1.

    routes: added in front of the service's own.
    At the end the server stops as in production: it finishes the requests that it has begun.
    """
    app = create_app(settings)
    app.router.routes[:0] = routes
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, lifespan="on"))
    listener = socket.create_server(("127.0.0.1", 0))
    serving = asyncio.create_task(server.serve([listener]))
    yield listener.getsockname()[1]
    server.should_exit = True
    await serving


def connections_in_use() -> float:
    """Return the number of connections that are checked out of the pools of this process."""
    [metric] = pool_in_use.collect()  # all metrics of the registry would take much longer
    return metric.samples[0].value


def behind_prefix(prefix: str) -> Callable[[ASGIApp], ASGIApp]:
    """Put each path behind a prefix, as a server does that has a `root_path`."""

    def wrap(app: ASGIApp) -> ASGIApp:
        async def with_prefix(scope: Scope, receive: Receive, send: Send) -> None:
            path = prefix + scope["path"]
            await app({**scope, "root_path": prefix, "path": path}, receive, send)

        return with_prefix

    return wrap


def assert_problem(response: Response, status: int) -> dict[str, Any]:
    """Check that `response` is a problem as RFC 9457 describes it, and return its body."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    assert response.headers["x-request-id"]
    assert ("retry-after" in response.headers) == (status == 503)
    body: dict[str, Any] = response.json()
    assert body.keys() - {"errors"} == {"type", "title", "status", "detail"}
    assert body["status"] == status
    assert ("errors" in body) == (status == 422)
    return body
