"""The application: routes, middleware, error handlers."""

from copy import copy

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute

from . import health
from .docs import file, page
from .domains import domains
from .errors import (
    InvalidRequest,
    fault,
    faults,
    handlers,
    on_http_exception,
    on_service_error,
)
from .lifespan import lifespan
from .metrics import metrics
from .middleware import middleware
from .openapi import describe
from .settings import Settings

NOT_JSON = InvalidRequest([fault("body", [], "This is not valid JSON.")])


async def on_invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    if error.errors()[0]["type"] == "json_invalid":
        return await on_service_error(request, NOT_JSON)
    return await on_service_error(request, InvalidRequest(faults(error.errors())))


async def on_unreadable(request: Request, error: Exception) -> Response:
    """Answer 422, as to other faults, to FastAPI's own 400: a body not in UTF-8, or too deep."""
    if getattr(error, "detail", None) != "There was an error parsing the body":
        return await on_http_exception(request, error)
    return await on_service_error(request, NOT_JSON)


def create_app(settings: Settings) -> FastAPI:
    app = FastAPI(
        title="{{ cookiecutter.__title }}",
        description="{{ cookiecutter.__description }}",
        lifespan=lifespan(settings),
        middleware=middleware(settings),
        exception_handlers={**handlers, RequestValidationError: on_invalid, 400: on_unreadable},
        openapi_url=None,
        # The service has metrics and logs of its own; FastAPI would look for others at each request.
        telemetry={"metrics": False, "logs": False},
        redirect_slashes=False,
    )
    for router in [*(domain.router for domain in domains("routes")), health.router]:
        # Not `include_router`: FastAPI would match through a nested router at every request.
        app.router.routes.extend(copy(route) for route in router.routes)
    app.get("/metrics", include_in_schema=False)(metrics)
    app.get("/docs", include_in_schema=False)(page)
    app.get("/docs/{name}", include_in_schema=False)(file)
    describe(app)
    for route in app.routes:
        if isinstance(route, APIRoute) and route.methods and "GET" in route.methods:
            # After the schema is made, which is not to list it.
            route.methods = {*route.methods, "HEAD"}
    return app
