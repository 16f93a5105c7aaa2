"""SQL as text, for tests of the data layer."""

from typing import Any

from sqlalchemy import text

from service.database import Connection


async def execute(connection: Connection, statement: str) -> None:
    await connection.execute(text(statement))


async def fetch_value(connection: Connection, statement: str) -> Any:
    return await connection.scalar(text(statement))
