"""The application: routes, middleware, error handlers."""

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from . import health
from .docs import file, page
from .domains import domains
from .errors import handlers
from .lifespan import lifespan
from .metrics import metrics
from .middleware import middleware
from .openapi import openapi
from .settings import Settings


def create_app(settings: Settings) -> Starlette:
    routes = [
        *(route for domain in domains("routes") for route in domain.routes),
        *health.routes,
        Route("/metrics", metrics),
    ]
    schema = openapi(
        routes,
        title="{{ cookiecutter.__title }}",
        description="{{ cookiecutter.__description }}",
    )

    async def openapi_json(request: Request) -> Response:
        return JSONResponse(schema)

    app = Starlette(
        routes=[
            *routes,
            Route("/openapi.json", openapi_json),
            Route("/docs", page),
            Route("/docs/{name}", file),
        ],
        lifespan=lifespan(settings),
        middleware=middleware(settings),
        exception_handlers=handlers,
    )
    app.router.redirect_slashes = False
    return app
