"""Databases that the tests make, migrate and drop."""

import asyncio
import io
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeAlias
from uuid import uuid4

import asyncpg
import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import make_url

Sql: TypeAlias = "asyncpg.Connection[asyncpg.Record]"

MIGRATIONS = Path(__file__).parent.parent / "migrations"


@asynccontextmanager
async def new_database(server: str) -> AsyncIterator[str]:
    """Make an empty database beside the one that `server` names, and drop it at the end."""
    name = f"test_{uuid4().hex}"
    connection = await asyncpg.connect(server)
    await connection.execute(f"CREATE DATABASE {name}")
    try:
        yield make_url(server).set(database=name).render_as_string(hide_password=False)
    finally:
        await connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
        await connection.close()


async def alembic(url: str, name: str, *arguments: str) -> str:
    """Run a command of alembic, such as "upgrade", on a database and return what it prints."""
    printed = io.StringIO()
    config = Config(stdout=printed)
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DATABASE_URL", url)
        # In a thread, because it runs an event loop of its own.
        await asyncio.to_thread(getattr(command, name), config, *arguments)
    return printed.getvalue()
