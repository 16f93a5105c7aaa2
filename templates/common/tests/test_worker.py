"""gunicorn's worker and its HTTP protocol."""

import asyncio
import json
import logging
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import uvicorn
from gunicorn.config import Config
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send
from uvicorn.server import ServerState

from service.worker import (
    MAX_HEAD_BYTES,
    PART_BYTES,
    UNIX_SOCKET,
    Protocol,
    Worker,
)

GET = b"GET / HTTP/1.1\r\nHost: example.com\r\nX-Forwarded-For: 192.0.2.1\r\n\r\n"
LAST_GET = GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer with the address of the client, after the whole body was received."""
    request = Request(scope, receive)
    await request.body()
    assert request.client is not None
    await PlainTextResponse(f"client {request.client.host}")(scope, receive, send)


class Server:
    """A listening socket whose connections are served by `Protocol`."""

    def __init__(self, listener: socket.socket) -> None:
        self.listener = listener
        self.accepted: asyncio.Queue[Protocol] = asyncio.Queue()
        self.config = uvicorn.Config(
            app, lifespan="off", log_config=None, forwarded_allow_ips=[UNIX_SOCKET]
        )

    def protocol(self) -> Protocol:
        protocol = Protocol(self.config, ServerState(), {})
        self.accepted.put_nowait(protocol)
        return protocol

    async def exchange(
        self, *parts: bytes, shutdown: bool = False, in_one_read: bool = False
    ) -> bytes:
        """Connect, send the parts one by one, and receive until the server closes the connection.

        shutdown: whether the server begins to stop when it has accepted the connection.
        in_one_read: whether the server gets each part as one read, however long it is.
        """
        loop = asyncio.get_running_loop()
        server = await loop.create_server(self.protocol, sock=self.listener)
        async with server, asyncio.timeout(10):
            with socket.socket(self.listener.family) as client:
                client.setblocking(False)
                await loop.sock_connect(client, self.listener.getsockname())
                protocol = await self.accepted.get()
                await asyncio.sleep(0.05)
                if shutdown:
                    protocol.shutdown()
                for part in parts:
                    if in_one_read:
                        protocol.data_received(part)
                    else:
                        await loop.sock_sendall(client, part)
                    await asyncio.sleep(0.05)
                received = b""
                while part := await loop.sock_recv(client, 65_536):
                    received += part
                return received


@pytest.fixture
def port() -> Server:
    """A server without a trusted proxy."""
    return Server(socket.create_server(("127.0.0.1", 0)))


async def test_forwarded_headers_of_port_are_not_trusted(port: Server) -> None:
    assert (await port.exchange(LAST_GET)).endswith(b"client 127.0.0.1")


async def test_forwarded_headers_of_unix_socket_are_trusted(tmp_path: Path) -> None:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(tmp_path / "socket"))
    assert (await Server(listener).exchange(LAST_GET)).endswith(b"client 192.0.2.1")


@pytest.mark.parametrize(
    "start",
    [
        b"GET /",
        b"GET / HTTP/1.1\r\nX-Long: ",
        b"POST / HTTP/1.1\r\nContent-Length: 1\r\nX-Long: ",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX-Trailer: ",
    ],
)
async def test_endless_head_is_refused(port: Server, start: bytes) -> None:
    answer = await port.exchange(start, b"x" * (MAX_HEAD_BYTES + 1))
    assert answer.startswith(b"HTTP/1.1 400 Bad Request\r\n")


@pytest.mark.parametrize(
    ("length", "status"),
    [(MAX_HEAD_BYTES - 1000, b"200"), (MAX_HEAD_BYTES + PART_BYTES, b"400")],
)
async def test_complete_head_that_is_too_long_is_refused(
    port: Server, length: int, status: bytes
) -> None:
    end = b"X-Long: %s\r\nConnection: close\r\n\r\n" % (b"x" * length)
    answer = await port.exchange(GET.replace(b"\r\n\r\n", b"\r\n" + end), in_one_read=True)
    assert answer.startswith(b"HTTP/1.1 " + status)


async def test_only_the_head_is_limited(port: Server) -> None:
    """Neither a long body nor many requests on one connection are an endless head."""
    many = GET * (MAX_HEAD_BYTES // len(GET) + 1)
    body = b"x" * 2 * MAX_HEAD_BYTES
    post = (
        b"POST / HTTP/1.1\r\nHost: example.com\r\nConnection: close\r\nContent-Length: %d\r\n\r\n"
    )
    answers = await port.exchange(many, post % len(body), body)
    assert answers.count(b"HTTP/1.1 200 OK\r\n") == many.count(GET) + 1


async def test_invalid_http_is_answered_with_problem(port: Server) -> None:
    head, _, body = (await port.exchange(b"not HTTP\r\n\r\n")).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 Bad Request\r\n")
    assert b"Content-Type: application/problem+json" in head
    assert b"X-Request-ID: " in head
    assert json.loads(body)["status"] == 400


async def test_first_request_is_answered_although_the_worker_stops(port: Server) -> None:
    assert (await port.exchange(LAST_GET, shutdown=True)).startswith(b"HTTP/1.1 200 OK\r\n")


async def test_connection_without_request_is_closed_when_the_worker_stops(
    port: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(f"{Protocol.__module__}.FIRST_REQUEST_SECONDS", 0.1)
    assert await port.exchange(shutdown=True) == b""


@pytest.fixture
def worker(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Any]]:
    """Create a worker as gunicorn's master does."""
    error_log, access_log = logging.getLogger("uvicorn.error"), logging.getLogger("uvicorn.access")
    for log in (error_log, access_log):
        monkeypatch.setattr(log, "propagate", log.propagate)  # A worker changes it.
    logs = SimpleNamespace(error_log=error_log, access_log=access_log)
    with ExitStack() as stack:

        def worker(**settings: object) -> Any:
            config: Any = Config()  # type: ignore[no-untyped-call]
            for name, value in settings.items():
                config.set(name, value)
            worker: Any = Worker(1, 1, [], None, 15, config, logs)
            stack.callback(worker.tmp.close)
            return worker

        yield worker


@pytest.mark.parametrize(("graceful", "limit"), [(30, 27), (5, 4), (1, 1)])
def test_worker_cancels_requests_before_it_is_killed(
    worker: Callable[..., Any], graceful: int, limit: int
) -> None:
    assert worker(graceful_timeout=graceful).config.timeout_graceful_shutdown == limit


@pytest.mark.parametrize(
    ("allowed", "trusted"),
    [("", [UNIX_SOCKET]), ("192.0.2.1", ["192.0.2.1", UNIX_SOCKET]), ("*", "*")],
)
def test_worker_trusts_unix_socket_and_listed_addresses(
    worker: Callable[..., Any], allowed: str, trusted: object
) -> None:
    assert worker(forwarded_allow_ips=allowed).config.forwarded_allow_ips == trusted


def test_worker_has_the_root_path_of_gunicorn(worker: Callable[..., Any]) -> None:
    assert worker(root_path="/api").config.root_path == "/api"


async def test_heartbeat_goes_on_without_further_calls(worker: Callable[..., Any]) -> None:
    stopping = worker()
    await stopping.callback_notify()
    heartbeat = stopping.heartbeat
    await asyncio.sleep(0.1)
    first = stopping.tmp.last_update()
    await asyncio.sleep(1.1)
    assert stopping.tmp.last_update() > first
    await stopping.callback_notify()
    assert stopping.heartbeat is heartbeat
    heartbeat.cancel()
