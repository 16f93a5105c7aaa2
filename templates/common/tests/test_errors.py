"""Errors: every one is a problem+json that says what is wrong and nothing about the inside."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from httpx2 import AsyncClient
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.testclient import TestClient
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocketDisconnect

from tests.serving import Settings, create_app, problem, serve

HIDDEN = "hunter2"


async def echo(request: Request) -> Response:
    return PlainTextResponse(await request.body())


async def fail(request: Request) -> Response:
    raise RuntimeError(HIDDEN)


async def fail_late(request: Request) -> Response:
    async def parts() -> AsyncIterator[bytes]:
        yield b"so far so good"
        raise RuntimeError(HIDDEN)

    return StreamingResponse(parts())


ROUTES = [
    Route("/echo", echo, methods=["POST"]),
    Route("/fail", fail),
    Route("/fail-late", fail_late),
]


@pytest.fixture
async def client(settings: Settings) -> AsyncIterator[AsyncClient]:
    async with serve(settings, routes=ROUTES, max_body_bytes=1000) as client:
        yield client


async def test_a_path_that_is_none_is_not_found(client: AsyncClient) -> None:
    problem(await client.get(f"/{HIDDEN}"), 404)


async def test_a_method_that_a_path_does_not_take_is_refused_with_those_it_does(
    client: AsyncClient,
) -> None:
    answer = await client.delete("/health/live")
    problem(answer, 405)
    assert answer.headers["allow"] == "GET, HEAD"


async def in_parts(body: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(body), 100):
        yield body[start : start + 100]


async def test_a_body_that_is_too_large_is_refused(client: AsyncClient) -> None:
    """Whether its length is said beforehand or not, and whether the handler reads it or not."""
    most, more = b"x" * 1000, b"x" * 1001
    assert (await client.post("/echo", content=most)).content == most
    assert (await client.post("/echo", content=in_parts(most))).content == most
    problem(await client.post("/echo", content=more), 413)
    problem(await client.post("/echo", content=in_parts(more)), 413)
    problem(await client.request("GET", "/health/live", content=in_parts(more)), 413)


async def test_what_nobody_expected_is_a_500_without_details(
    client: AsyncClient, capsys: pytest.CaptureFixture[str]
) -> None:
    answer = await client.get("/fail", headers={"X-Request-ID": "mine"})
    problem(answer, 500)
    assert answer.headers["x-request-id"] == "mine"
    logged = capsys.readouterr().out
    assert "RuntimeError" in logged
    assert "test_errors.py" in logged
    assert HIDDEN not in answer.text + logged


async def test_an_answer_that_fails_on_its_way_is_cut_off(client: AsyncClient) -> None:
    """So that nobody takes the part for the whole: the server closes the connection."""
    with pytest.raises(RuntimeError):
        await client.get("/fail-late")


async def test_a_caller_who_leaves_is_no_failure_of_the_service(
    settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    async def leave() -> Message:
        return {"type": "http.disconnect"}

    async def nobody(message: Message) -> None: ...

    def left(app: ASGIApp) -> ASGIApp:
        async def left_app(scope: Scope, receive: Receive, send: Send) -> None:
            await app(scope, leave, nobody)
            await Response(status_code=204)(scope, receive, send)  # for the client's sake

        return left_app

    async with serve(settings, routes=ROUTES, around=left) as client:
        assert (await client.post("/echo", content=b"x")).status_code == 204
    assert "unexpected" not in capsys.readouterr().out


@pytest.mark.parametrize("headers", [{}, {"Content-Length": "0"}])
def test_a_websocket_is_refused(settings: Settings, headers: dict[str, str]) -> None:
    client = TestClient(create_app(settings))
    connecting = client.websocket_connect("/health/live", headers=headers)
    with pytest.raises(WebSocketDisconnect) as refused, connecting:
        pass
    assert type(refused.value) is WebSocketDisconnect  # and no answer to its handshake


def test_a_start_that_fails_says_why(
    settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    @asynccontextmanager
    async def failing(app: object) -> AsyncIterator[None]:
        raise RuntimeError("it cannot start")
        yield

    app = create_app(settings)
    app.router.lifespan_context = failing
    with pytest.raises(RuntimeError, match="it cannot start"), TestClient(app):
        pass
    assert "unexpected" not in capsys.readouterr().out  # that is said of requests
