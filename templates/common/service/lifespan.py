"""The resources that all requests share: opened when the process starts, closed at its end."""

from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import TypeAlias, TypedDict

from .database import Database
from .settings import Settings


class State(TypedDict):
    """What `request.state` holds for every handler. A domain with more resources extends this type."""

    database: Database


DomainLifespan: TypeAlias = Callable[[Settings, State], AbstractAsyncContextManager[State]]
Lifespan: TypeAlias = Callable[[object], AbstractAsyncContextManager[Mapping[str, object]]]


def lifespan(settings: Settings, domains: Iterable[DomainLifespan]) -> Lifespan:
    """Open the database's pool, then the resources of each domain; close them in reverse order."""

    @asynccontextmanager
    async def open_resources(app: object) -> AsyncIterator[Mapping[str, object]]:
        async with AsyncExitStack() as stack:
            if settings.otel_exporter_otlp_endpoint:
                from .tracing import export_traces  # here, so that it costs nothing when it is off

                await stack.enter_async_context(export_traces(settings.otel_exporter_otlp_endpoint))
            state = State(database=await stack.enter_async_context(Database(settings)))
            merged: dict[str, object] = {**state}
            for domain in domains:
                merged |= await stack.enter_async_context(domain(settings, state))
            yield merged

    return open_resources
