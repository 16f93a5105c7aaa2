"""The routes of an application as one flat list."""

from collections.abc import Iterator, Sequence

from fastapi.routing import iter_route_contexts
from starlette.routing import BaseRoute, Mount, Route


def flatten(routes: Sequence[BaseRoute], prefix: str = "") -> Iterator[tuple[str, BaseRoute]]:
    """Yield each route with its whole path, which begins with the prefixes of its routers."""
    for context in iter_route_contexts(routes):
        route, path = context.original_route, prefix + (context.path or "")
        if isinstance(route, Mount) and route.routes:
            yield from flatten(route.routes, path)
        elif isinstance(route, Mount):  # another kind of application, such as StaticFiles
            yield path + "/{path:path}", route
        elif isinstance(route, Route):
            yield path, route
