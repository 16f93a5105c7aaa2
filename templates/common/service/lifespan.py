"""What every request may use, opened once per process."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Any

from .database import Database
from .domains import domains
from .settings import Settings

State = dict[str, Any]


def lifespan(settings: Settings) -> Callable[[Any], AbstractAsyncContextManager[State]]:
    """Open the database's pool and what each domain needs; close them at the end."""

    @asynccontextmanager
    async def opened(app: Any) -> AsyncIterator[State]:
        async with AsyncExitStack() as stack:
            state: State = {"database": await stack.enter_async_context(Database(settings))}
            for domain in domains("lifespan"):
                state |= await stack.enter_async_context(domain.lifespan(settings))
            yield state

    return opened
