"""Bare FastAPI on a pool that keeps connections as they come back, as the service's does."""

from benchmarks.floors.fastapi_asyncpg import app
from benchmarks.floors.resources import keep, lifespan

__all__ = ["app"]

app.router.lifespan_context = lifespan(reset=keep)
