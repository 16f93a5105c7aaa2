"""Errors: each is a problem+json response that names the fault and hides the implementation."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from httpx2 import AsyncClient
from starlette.authentication import (
    AuthCredentials,
    AuthenticationBackend,
    AuthenticationError,
    SimpleUser,
    requires,
)
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.authentication import AuthenticationMiddleware
from starlette.requests import HTTPConnection, Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.testclient import TestClient
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocketDisconnect

from service.errors import (
    Forbidden,
    NotAuthenticated,
    on_authentication_error,
)

from tests.serving import Settings, assert_problem, create_app, serve

HIDDEN = "hunter2"


async def echo(request: Request) -> Response:
    return PlainTextResponse(await request.body())


async def fail(request: Request) -> Response:
    raise RuntimeError(HIDDEN)


async def need_user(request: Request) -> Response:
    raise NotAuthenticated


@requires("administrator")
async def need_administrator(request: Request) -> Response:
    raise Forbidden


class TokenBackend(AuthenticationBackend):
    """Refuses every token except that of an administrator."""

    async def authenticate(
        self, connection: HTTPConnection
    ) -> tuple[AuthCredentials, SimpleUser] | None:
        match connection.headers.get("Authorization"):
            case None:
                return None
            case "Bearer administrator":
                return AuthCredentials(["administrator"]), SimpleUser("Ann")
        raise AuthenticationError(HIDDEN)


async def fail_while_streaming(request: Request) -> Response:
    async def chunks() -> AsyncIterator[bytes]:
        yield b"the first part"
        raise RuntimeError(HIDDEN)

    return StreamingResponse(chunks())


ROUTES = [
    Route("/test-echo", echo, methods=["POST"]),
    Route("/test-fail", fail),
    Route("/test-user", need_user),
    Route(
        "/test-administrator",
        need_administrator,
        middleware=[
            Middleware(AuthenticationMiddleware, TokenBackend(), on_error=on_authentication_error)
        ],
    ),
    Route("/test-fail-while-streaming", fail_while_streaming),
]


@pytest.fixture(scope="module")
async def client(settings: Settings) -> AsyncIterator[AsyncClient]:
    async with serve(settings, routes=ROUTES, max_body_bytes=1000) as client:
        yield client


async def test_unknown_path_returns_404(client: AsyncClient) -> None:
    assert_problem(await client.get(f"/{HIDDEN}"), 404)


async def test_unsupported_method_returns_405_and_the_allowed_methods(client: AsyncClient) -> None:
    response = await client.delete("/health/live")
    assert_problem(response, 405)
    assert response.headers["allow"] == "GET, HEAD"


async def in_chunks(body: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(body), 100):
        yield body[start : start + 100]


async def test_too_large_body_returns_413(client: AsyncClient) -> None:
    """With and without a Content-Length, and also where the handler does not read the body."""
    largest, too_large = b"x" * 1000, b"x" * 1001
    assert (await client.post("/test-echo", content=largest)).content == largest
    assert (await client.post("/test-echo", content=in_chunks(largest))).content == largest
    assert_problem(await client.post("/test-echo", content=too_large), 413)
    assert_problem(await client.post("/test-echo", content=in_chunks(too_large)), 413)
    assert_problem(await client.request("GET", "/health/live", content=in_chunks(too_large)), 413)


async def test_unauthenticated_request_returns_401(client: AsyncClient) -> None:
    response = await client.get("/test-user")
    assert_problem(response, 401)
    assert response.headers["www-authenticate"] == "Bearer"


async def test_authentication_middleware_of_starlette_answers_problems(client: AsyncClient) -> None:
    """Whether it refuses the token, or `requires` refuses the user, or the handler does."""
    response = await client.get("/test-administrator", headers={"Authorization": "Bearer other"})
    assert_problem(response, 401)
    assert response.headers["www-authenticate"] == "Bearer"
    assert HIDDEN not in response.text
    assert_problem(await client.get("/test-administrator"), 403)
    administrator = {"Authorization": "Bearer administrator"}
    assert_problem(await client.get("/test-administrator", headers=administrator), 403)


async def test_unexpected_error_returns_500_without_details(
    client: AsyncClient, capsys: pytest.CaptureFixture[str]
) -> None:
    response = await client.get("/test-fail", headers={"X-Request-ID": "mine"})
    assert_problem(response, 500)
    assert response.headers["x-request-id"] == "mine"
    assert HIDDEN not in response.text
    assert "raise RuntimeError(HIDDEN)" in capsys.readouterr().out  # the traceback


@pytest.mark.parametrize(
    ("errors", "status"),
    [
        ([NotAuthenticated()], 401),
        ([HTTPException(404), Forbidden()], 404),
        ([ExceptionGroup("", [Forbidden(), NotAuthenticated()]), HTTPException(404)], 403),
        ([Forbidden(), RuntimeError(HIDDEN), HTTPException(404)], 500),
    ],
)
async def test_group_is_answered_like_its_unexpected_or_its_first_error(
    settings: Settings, errors: list[Exception], status: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """`asyncio.TaskGroup` raises groups, even of one error."""

    async def fail(request: Request) -> Response:
        raise ExceptionGroup("", errors)

    async with serve(settings, routes=[Route("/test-group", fail)]) as client:
        response = await client.get("/test-group")
    assert_problem(response, status)
    assert ("www-authenticate" in response.headers) == (status == 401)
    assert (HIDDEN in capsys.readouterr().out) == (status == 500)


async def test_error_while_streaming_reaches_the_server(client: AsyncClient) -> None:
    """The server closes the connection, so the caller knows that the response is incomplete."""
    with pytest.raises(RuntimeError):
        await client.get("/test-fail-while-streaming")


async def test_disconnect_of_the_caller_is_not_logged_as_an_error(
    settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    async def receive_disconnect() -> Message:
        return {"type": "http.disconnect"}

    async def send_to_nobody(message: Message) -> None: ...

    def disconnect(app: ASGIApp) -> ASGIApp:
        async def disconnected_app(scope: Scope, receive: Receive, send: Send) -> None:
            await app(scope, receive_disconnect, send_to_nobody)
            await Response(status_code=204)(scope, receive, send)  # the client needs a response

        return disconnected_app

    async with serve(settings, routes=ROUTES, wrap=disconnect) as client:
        assert (await client.post("/test-echo", content=b"x")).status_code == 204
    assert "unexpected" not in capsys.readouterr().out


@pytest.mark.parametrize("headers", [{}, {"Content-Length": "0"}])
def test_websocket_is_refused(settings: Settings, headers: dict[str, str]) -> None:
    client = TestClient(create_app(settings))
    connecting = client.websocket_connect("/health/live", headers=headers)
    with pytest.raises(WebSocketDisconnect) as refused, connecting:
        pass
    # A subclass would mean that the handshake was answered with an HTTP response.
    assert type(refused.value) is WebSocketDisconnect


def test_failed_startup_raises_its_cause(
    settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    @asynccontextmanager
    async def failing_lifespan(app: object) -> AsyncIterator[None]:
        raise RuntimeError("the service cannot start")
        yield

    app = create_app(settings)
    app.router.lifespan_context = failing_lifespan
    with pytest.raises(RuntimeError, match="the service cannot start"), TestClient(app):
        pass
    assert "unexpected" not in capsys.readouterr().out  # only a request logs that
