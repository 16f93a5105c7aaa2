"""SQL as text, for tests of the data layer."""

from typing import Any

from sqlalchemy import text
from sqlalchemy.exc import InvalidRequestError

from service.database import Connection

# What the library raises when a connection is used after its block.
USED_TOO_LATE = InvalidRequestError


async def execute(connection: Connection, statement: str) -> None:
    await connection.execute(text(statement))


async def fetch_value(connection: Connection, statement: str) -> Any:
    return await connection.scalar(text(statement))
