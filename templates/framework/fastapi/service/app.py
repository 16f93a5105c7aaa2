"""The application: routers, middleware, error handlers."""

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.middleware import Middleware
from starlette.types import ASGIApp, Receive, Scope, Send

from .docs import file, page
from .domains import DOMAINS
from .errors import (
    InvalidRequest,
    handlers,
    on_http_exception,
    on_service_error,
    validation_problem,
    validation_problems,
)
from .lifespan import lifespan
from .metrics import metrics
from .middleware import middleware
from .openapi import Service, operation_id
from .route_table import route_path, route_table
from .settings import Settings

NOT_JSON = InvalidRequest([validation_problem("body", [], "This is not valid JSON.")])


async def on_invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    if error.errors()[0]["type"] == "json_invalid":
        return await on_service_error(request, NOT_JSON)
    return await on_service_error(request, InvalidRequest(validation_problems(error.errors())))


async def on_unreadable(request: Request, error: Exception) -> Response:
    """Answer 422 where FastAPI answers 400: the body is not UTF-8 or nested too deeply."""
    if getattr(error, "detail", None) != "There was an error parsing the body":
        return await on_http_exception(request, error)
    return await on_service_error(request, NOT_JSON)


class HeadMiddleware:
    """Lets the handler of GET answer HEAD, as in Starlette. The server leaves out the body."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] == "HEAD":
            methods = route_table(scope["app"]).methods(route_path(scope))
            if "GET" in methods and "HEAD" not in methods:
                scope = {**scope, "method": "GET"}
        await self.app(scope, receive, send)


def create_app(settings: Settings) -> FastAPI:
    app = Service(
        title="{{ cookiecutter.__title }}",
        description="{{ cookiecutter.__description }}",
        lifespan=lifespan(settings, [domain.lifespan for domain in DOMAINS if domain.lifespan]),
        middleware=[*middleware(settings), Middleware(HeadMiddleware)],
        exception_handlers={**handlers, RequestValidationError: on_invalid, 400: on_unreadable},
        generate_unique_id_function=operation_id,
        # FastAPI's pages load their scripts from another host; `page` does not.
        docs_url=None,
        redoc_url=None,
        # This service has its own traces, metrics and logs.
        telemetry={"tracing": False, "metrics": False, "logs": False},
        redirect_slashes=False,
    )
    for domain in DOMAINS:
        app.include_router(domain.router)
    app.add_route("/metrics", metrics, include_in_schema=False)
    app.add_route("/docs", page, include_in_schema=False)
    app.add_route("/docs/{name}", file, include_in_schema=False)
    return app
