"""What the notes need beside the database."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from ..settings import Settings
from .upstream import Upstream


@asynccontextmanager
async def lifespan(settings: Settings) -> AsyncIterator[dict[str, Upstream]]:
    async with Upstream(settings) as upstream:
        yield {"upstream": upstream}
