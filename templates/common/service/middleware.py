"""What happens to every request before and after its handler."""

import re
from random import getrandbits
from time import perf_counter

import structlog
from starlette.datastructures import MutableHeaders
from starlette.middleware import Middleware
from starlette.middleware.body_limit import RequestBodyLimitMiddleware
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from . import metrics
from .errors import DETAILS, problem, unexpected
from .logs import request_id
from .settings import Settings

log = structlog.get_logger()

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
# One of these tells that there is a body (RFC 9112, section 6).
BODY = frozenset({b"content-length", b"transfer-encoding"})
# Probes and scrapers come by address, whatever ALLOWED_HOSTS says.
PROBES = frozenset({"/health/live", "/health/ready", "/metrics"})

SANE_ID = re.compile(rb"[A-Za-z0-9._-]{1,128}")


class Requests:
    """An id, a log line and a set of metrics for each request.

    By hand and in one, because it is done at every request.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self.log = log.bind()  # what `log` would else do anew for each line

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        for name, value in scope["headers"]:
            if name == b"x-request-id" and SANE_ID.fullmatch(value):
                own = value.decode()
                break
        else:
            own = f"{getrandbits(128):032x}"  # `secrets` would ask the kernel
        request_id.set(own)
        scope["status"] = 0  # of a request that was never answered
        started = perf_counter()

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                scope["status"] = message["status"]
                message["headers"] = [*message.get("headers", ()), (b"x-request-id", own.encode())]
            await send(message)

        try:
            await self.app(scope, receive, answer)
        finally:
            seconds = perf_counter() - started
            # Labels come from what the service knows, not from what callers make up.
            method = scope["method"] if scope["method"] in METHODS else "other"
            route = getattr(scope.get("route"), "path", "none")
            status = scope["status"]
            requests, durations = metrics.answered(method, route, status)
            requests.inc()
            durations.observe(seconds)
            self.log.info(
                "request",
                method=method,
                route=route,
                status=status,
                milliseconds=round(seconds * 1000, 3),
            )


class Problems:
    """Errors that a middleware answers as text become problem+json."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        body: bytes | None = None

        async def rewrite(message: Message) -> None:
            nonlocal body
            if message["type"] == "http.response.start" and message["status"] >= 400:
                headers = MutableHeaders(scope=message)
                if not headers.get("content-type", "").startswith("application/problem+json"):
                    status = message["status"]
                    answer = problem(status, DETAILS.get(status, "The request is refused."))
                    body = bytes(answer.body)
                    headers.update(answer.headers)
            elif body is not None and message["type"] == "http.response.body":
                message = {**message, "body": b"" if message.get("more_body") else body}
            await send(message)

        await self.app(scope, receive, rewrite)


class Unexpected:
    """Answers 500 to what no handler of errors is for.

    Starlette's own handler for these runs outside of all middleware, so its answer would lack the
    request id and the CORS headers.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self.app(scope, receive, send)
        except ClientDisconnect:
            pass  # in the middle of its body: nobody is left to be answered
        except Exception as error:
            if scope["type"] != "http" or scope["status"]:  # set by `Requests` at its beginning
                raise  # the server logs it and hangs up: the only way to tell the caller now
            await unexpected(error)(scope, receive, send)


class WholeBody:
    """Reads the body, up to the limit, before the handler runs, which may have no use for it.

    So one over the limit, whose reading fails, is refused before anything is done.
    """

    def __init__(self, app: ASGIApp, limit: int) -> None:
        self.app = app
        self.limited = Problems(RequestBodyLimitMiddleware(self.read, limit))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        app = self.app
        if scope["type"] == "http":
            for name, _ in scope["headers"]:
                if name in BODY:
                    app = self.limited
        await app(scope, receive, send)

    async def read(self, scope: Scope, receive: Receive, send: Send) -> None:
        body: bytes | None = await Request(scope, receive).body()

        async def replay() -> Message:
            nonlocal body
            if body is None:
                return await receive()
            message = {"type": "http.request", "body": body, "more_body": False}
            body = None
            return message

        await self.app(scope, replay, send)


class TrustedHost(TrustedHostMiddleware):
    """Refuses other hosts' names, save from probes."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] in PROBES:
            await self.app(scope, receive, send)
        else:
            await super().__call__(scope, receive, send)


def middleware(settings: Settings) -> list[Middleware]:
    """List what wraps the routes, outermost first."""
    cors = Middleware(
        CORSMiddleware,
        allow_origins=settings.cors_origins,
        allow_methods=["GET", "POST", "PATCH", "DELETE"],
        allow_headers=["Content-Type", "If-Match", "If-None-Match", "X-Request-ID"],
        expose_headers=["ETag", "Location", "Retry-After", "X-Request-ID"],
    )
    hosts = Middleware(TrustedHost, allowed_hosts=settings.allowed_hosts, www_redirect=False)
    guards = [
        *([cors] if settings.cors_origins else []),
        *([hosts] if "*" not in settings.allowed_hosts else []),
    ]
    return [
        Middleware(Requests),
        *([Middleware(Problems)] if guards else []),
        *guards,
        Middleware(Unexpected),
        Middleware(WholeBody, limit=settings.max_body_bytes),
    ]
