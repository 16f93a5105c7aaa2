"""The routes of an application as one flat list."""

from collections.abc import Iterator, Sequence

from starlette.routing import BaseRoute, Mount, Route


def flatten(routes: Sequence[BaseRoute], prefix: str = "") -> Iterator[tuple[str, BaseRoute]]:
    """Yield each route with its whole path, which begins with the paths of the mounts around it."""
    for route in routes:
        if isinstance(route, Mount) and route.routes:
            yield from flatten(route.routes, prefix + route.path)
        elif isinstance(route, Mount):  # another kind of application, such as StaticFiles
            yield prefix + route.path + "/{path:path}", route
        elif isinstance(route, Route):
            yield prefix + route.path, route
