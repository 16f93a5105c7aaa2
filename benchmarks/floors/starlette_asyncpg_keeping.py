"""Bare Starlette on a pool that keeps connections as they come back, as the service's does."""

from benchmarks.floors.resources import keep, lifespan
from benchmarks.floors.starlette_asyncpg import app

__all__ = ["app"]

app.router.lifespan_context = lifespan(reset=keep)
