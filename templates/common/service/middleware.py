"""What happens to every request before and after its handler."""

import re
from secrets import token_hex
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
from .metrics import DatabaseTime
from .paths import set_root_path
from .route_table import route_path, route_table
from .settings import Settings

log = structlog.get_logger()

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
# Probes and Prometheus ask by address, whatever ALLOWED_HOSTS is.
PROBES = frozenset({"/health/live", "/health/ready", "/metrics"})

SANE_ID = re.compile(rb"[A-Za-z0-9._-]{1,128}")


class RequestLogMiddleware:
    """Gives each request an id, a log line and its metrics."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        current_id = dict(scope["headers"]).get(b"x-request-id", b"")
        if not SANE_ID.fullmatch(current_id):
            current_id = token_hex(16).encode()
        request_id.set(current_id.decode())
        set_root_path(scope.get("root_path", ""))
        # The labels are what the service knows, not what callers invent.
        method = scope["method"] if scope["method"] in METHODS else "other"
        route = route_table(scope["app"]).template(method, route_path(scope))
        status = 0  # of a request that is never answered
        finished = False
        database_time = DatabaseTime()
        metrics.database_time.set(database_time)
        started = perf_counter()

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", ()), (b"x-request-id", current_id)]
            await send(message)
            if message["type"] == "http.response.body" and not message.get("more_body"):
                finish()

        def finish() -> None:
            """Log and measure the request once, when the last byte of its answer is sent.

            Background tasks run afterwards, and an answer that breaks off has no last byte.
            """
            nonlocal finished
            if finished:
                return
            finished = True
            seconds = perf_counter() - started
            requests, durations = metrics.request_metrics(method, route, status)
            requests.inc()
            durations.observe(seconds)
            log.info(
                "request",
                method=method,
                route=route,
                status=status,
                milliseconds=round(seconds * 1000, 3),
                database_milliseconds=round(database_time.seconds * 1000, 3),
            )

        try:
            await self.app(scope, receive, send_with_id)
        finally:
            finish()


class ProblemDetailsMiddleware:
    """Converts the errors that another middleware answers as text to problem+json."""

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


class UnexpectedErrorMiddleware:
    """Answers 500 to errors that have no handler.

    Starlette's own handler for these runs outside of all middleware, so its answer would lack the
    request id and the CORS headers.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        answered = False

        async def watch(message: Message) -> None:
            nonlocal answered
            answered = True
            await send(message)

        try:
            await self.app(scope, receive, watch)
        except ClientDisconnect:
            pass  # The caller left before the end of the body, so nobody waits for an answer.
        except Exception as error:
            if answered:
                raise  # The server logs the error and closes the connection.
            await unexpected(error)(scope, receive, send)


class RequestBodyMiddleware:
    """Reads the whole body before the handler runs, even if the handler does not need it.

    So a body over the limit is refused before anything is done.
    """

    def __init__(self, app: ASGIApp, limit: int) -> None:
        self.app = app
        self.limited = ProblemDetailsMiddleware(RequestBodyLimitMiddleware(self.read, limit))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        app = self.app
        if scope["type"] == "http":
            headers = dict(scope["headers"])
            # One of these means that there is a body (RFC 9112, section 6).
            if b"content-length" in headers or b"transfer-encoding" in headers:
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


class AllowedHostsMiddleware(TrustedHostMiddleware):
    """Refuses requests for other hosts, except probes."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and route_path(scope) in PROBES:
            await self.app(scope, receive, send)
        else:
            await super().__call__(scope, receive, send)


def middleware(settings: Settings) -> list[Middleware]:
    """Return the middleware around the routes, the outermost first."""
    cors = Middleware(
        CORSMiddleware,
        allow_origins=settings.cors_origins,
        allow_methods=["GET", "POST", "PUT", "PATCH", "DELETE"],
        allow_headers=[
            "Authorization",
            "Content-Type",
            "If-Match",
            "If-None-Match",
            "X-Request-ID",
        ],
        expose_headers=["ETag", "Location", "Retry-After", "X-Request-ID"],
    )
    hosts = Middleware(
        AllowedHostsMiddleware, allowed_hosts=settings.allowed_hosts, www_redirect=False
    )
    guards = [
        *([cors] if settings.cors_origins else []),
        *([hosts] if "*" not in settings.allowed_hosts else []),
    ]
    tracing = []
    if settings.otel_exporter_otlp_endpoint:
        from .tracing import TracingMiddleware

        tracing.append(Middleware(TracingMiddleware))
    return [
        *tracing,
        Middleware(RequestLogMiddleware),
        *([Middleware(ProblemDetailsMiddleware)] if guards else []),
        *guards,
        Middleware(UnexpectedErrorMiddleware),
        Middleware(RequestBodyMiddleware, limit=settings.max_body_bytes),
    ]
