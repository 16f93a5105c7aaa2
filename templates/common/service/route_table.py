"""The route that serves a path: its whole template for logs and metrics, and its methods."""

from collections.abc import Iterable
from functools import lru_cache

from starlette.applications import Starlette
from starlette.routing import BaseRoute, compile_path
from starlette.types import Scope

from .routing import flatten


class RouteTable:
    """The routes of an application in the order they are tried, each with its whole path."""

    def __init__(self, routes: Iterable[tuple[str, BaseRoute]]) -> None:
        self._rows = []
        for path, route in routes:
            pattern, template, _ = compile_path(path)
            methods: set[str] | None = getattr(route, "methods", None)  # None: all of them
            self._rows.append((pattern, template, methods))

    def template(self, method: str, path: str) -> str:
        """Return the template of the route that answers, or "none" if no route has this path.

        If no route takes the method, the answer is a 405 and the template is the first one that
        matches.
        """
        if method == "HEAD":
            method = "GET"  # the same route answers both
        first = "none"
        for pattern, template, methods in self._rows:
            if pattern.match(path):
                if methods is None or method in methods:
                    return template
                if first == "none":
                    first = template
        return first

    def methods(self, path: str) -> set[str]:
        """Return the methods that the routes with this path declare."""
        declared: set[str] = set()
        for pattern, _, methods in self._rows:
            if methods and pattern.match(path):
                declared |= methods
        return declared


@lru_cache(maxsize=1)  # a process serves one application
def route_table(app: Starlette) -> RouteTable:
    """Return the table of the application's routes, which is made at the first request."""
    return RouteTable(flatten(app.routes))


def route_path(scope: Scope) -> str:
    """Return the path of a request without the prefix that the server adds (`root_path`).

    A mount makes `root_path` longer and keeps the server's prefix as `app_root_path`.
    """
    prefix: str = scope.get("app_root_path", scope.get("root_path", ""))
    path: str = scope["path"]
    return path.removeprefix(prefix)
