"""What the floors hold open: a pool, and the client of the upstream that the service uses."""

import os
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import asyncpg
from aiohttp import ClientSession, ClientTimeout, DummyCookieJar, TCPConnector
from databases import Database

Lifespan = Callable[[Any], AbstractAsyncContextManager[dict[str, Any]]]


def lifespan(**options: Any) -> Lifespan:
    """Open a pool with these options of asyncpg's, and what asks the upstream."""

    @asynccontextmanager
    async def resources(app: Any) -> AsyncIterator[dict[str, Any]]:
        size = int(os.environ["DATABASE_POOL_SIZE"])
        url = os.environ["DATABASE_URL"]
        async with (
            asyncpg.create_pool(url, min_size=size, max_size=size, **options) as pool,
            session() as upstream,
        ):
            yield {"pool": pool, "upstream": upstream}

    return resources


@asynccontextmanager
async def databases_lifespan(app: Any) -> AsyncIterator[dict[str, Any]]:
    """Open a pool of databases, and what asks the upstream."""
    size = int(os.environ["DATABASE_POOL_SIZE"])
    async with (
        Database(os.environ["DATABASE_URL"], min_size=size, max_size=size) as database,
        session() as upstream,
    ):
        yield {"database": database, "upstream": upstream}


async def keep(connection: Any) -> None:
    """Leave a released connection as it is, as the service does: no round trip to clean it."""


def session() -> ClientSession:
    return ClientSession(
        os.environ["UPSTREAM_URL"],
        connector=TCPConnector(limit=1000),
        cookie_jar=DummyCookieJar(),
        headers={"Content-Type": "application/json"},
        timeout=ClientTimeout(10),
    )


async def ask(upstream: ClientSession, note_id: int, note: bytes | str) -> bytes:
    async with upstream.post(f"/notes/{note_id}", data=note) as response:
        return await response.read()
