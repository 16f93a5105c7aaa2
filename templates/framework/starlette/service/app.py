"""The application: routes, middleware, error handlers."""

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from .docs import file, page
from .domains import DOMAINS
from .errors import handlers
from .lifespan import lifespan
from .metrics import metrics
from .middleware import middleware
from .openapi import openapi
from .paths import path_to
from .settings import Settings


def create_app(settings: Settings) -> Starlette:
    routes = [route for domain in DOMAINS for route in domain.routes]
    schema = openapi(
        routes,
        title="{{ cookiecutter.__title }}",
        description="{{ cookiecutter.__description }}",
    )

    async def openapi_json(request: Request) -> Response:
        return JSONResponse({**schema, "servers": [{"url": path_to() or "/"}]})

    app = Starlette(
        routes=[
            *routes,
            Route("/metrics", metrics),
            Route("/openapi.json", openapi_json),
            Route("/docs", page),
            Route("/docs/{name}", file),
        ],
        lifespan=lifespan(settings, [domain.lifespan for domain in DOMAINS if domain.lifespan]),
        middleware=middleware(settings),
        exception_handlers=handlers,
    )
    app.router.redirect_slashes = False
    return app
