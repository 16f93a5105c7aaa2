"""SQL as text, for tests of the data layer."""

from typing import Any

import asyncpg

from service.database import Connection

# What the library raises when a connection is used after its block.
USED_TOO_LATE = asyncpg.InterfaceError


async def execute(connection: Connection, statement: str) -> None:
    await connection.execute(statement)


async def fetch_value(connection: Connection, statement: str) -> Any:
    return await connection.fetchval(statement)
