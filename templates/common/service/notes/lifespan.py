"""The resources of the notes in addition to the database."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from ..lifespan import State
from ..settings import Settings
from .upstream import Upstream


class NotesState(State):
    """What `request.state` holds for the handlers of this domain."""

    upstream: Upstream


@asynccontextmanager
async def lifespan(settings: Settings, state: State) -> AsyncIterator[NotesState]:
    async with Upstream(settings) as upstream:
        yield NotesState(**state, upstream=upstream)
