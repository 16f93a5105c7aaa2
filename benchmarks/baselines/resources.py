"""What the baselines open at their start: a pool, and the service's own client for the upstream."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
from aiohttp import ClientSession, ClientTimeout, DummyCookieJar, TCPConnector
from databases import Database
from databases.interfaces import Record


@asynccontextmanager
async def asyncpg_lifespan(app: Any) -> AsyncIterator[dict[str, Any]]:
    """Open asyncpg's pool with its defaults, or without its reset where POOL_RESET is off."""
    size = int(os.environ["DATABASE_POOL_SIZE"])
    options = {"reset": no_reset} if os.environ.get("POOL_RESET") == "off" else {}
    pool = asyncpg.create_pool(os.environ["DATABASE_URL"], min_size=size, max_size=size, **options)
    async with pool, upstream_client() as upstream:
        yield {"pool": pool, "upstream": upstream}


async def no_reset(connection: Any) -> None:
    """Leave a released connection as it is: no round trip to reset it."""


@asynccontextmanager
async def databases_lifespan(app: Any) -> AsyncIterator[dict[str, Any]]:
    size = int(os.environ["DATABASE_POOL_SIZE"])
    database = Database(os.environ["DATABASE_URL"], min_size=size, max_size=size)
    async with database, upstream_client() as upstream:
        yield {"database": database, "upstream": upstream}


def as_dict(record: Record) -> dict[str, Any]:
    # The documented name, and faster than reading the record column by column.
    return dict(record._mapping)  # noqa: SLF001


def upstream_client() -> ClientSession:
    return ClientSession(
        os.environ["UPSTREAM_URL"],
        connector=TCPConnector(limit=1000),
        cookie_jar=DummyCookieJar(),
        headers={"Content-Type": "application/json"},
        timeout=ClientTimeout(10),
    )


async def ask_upstream(client: ClientSession, note_id: int, note: bytes | str) -> bytes:
    async with client.post(f"/notes/{note_id}", data=note) as response:
        return await response.read()
