"""The service in this process, asked over HTTP without a server between, or with one."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import uvicorn
from httpx2 import ASGITransport, AsyncClient, Response
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Receive, Scope, Send

from service.app import create_app
from service.settings import Settings

__all__ = ["Settings", "create_app", "listen", "problem", "serve"]


@asynccontextmanager
async def serve(
    settings: Settings,
    *,
    routes: Sequence[BaseRoute] = (),
    around: Callable[[ASGIApp], ASGIApp] = lambda app: app,
    **changes: object,
) -> AsyncIterator[AsyncClient]:
    """Run the service on `settings`, with `changes` to them and `routes` of the test's own.

    around: what the test puts between a server and the service.
    """
    app = create_app(settings.model_copy(update=changes))
    app.router.routes.extend(routes)
    async with app.router.lifespan_context(app) as state:

        async def with_state(scope: Scope, receive: Receive, send: Send) -> None:
            await app({**scope, "state": dict(state or {})}, receive, send)

        transport = ASGITransport(around(with_state))
        async with AsyncClient(transport=transport, base_url="http://testserver") as client:
            yield client


@asynccontextmanager
async def listen(settings: Settings) -> AsyncIterator[int]:
    """Run the service on `settings` behind a server, and give its port on loopback."""
    app = create_app(settings)
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, lifespan="on"))
    listener = socket.create_server(("127.0.0.1", 0))
    serving = asyncio.create_task(server.serve([listener]))
    yield listener.getsockname()[1]
    server.should_exit = True
    await serving  # until what has begun is done


def problem(answer: Response, status: int) -> dict[str, Any]:
    """Check that `answer` is a problem as RFC 9457 and the contract have it, and return it."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["x-request-id"]
    assert ("retry-after" in answer.headers) == (status == 503)
    body: dict[str, Any] = answer.json()
    assert body.keys() - {"errors"} == {"type", "title", "status", "detail"}
    assert body["status"] == status
    assert ("errors" in body) == (status == 422)
    return body
