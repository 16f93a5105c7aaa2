"""A temporary database, and the alembic commands that migrate it."""

import asyncio
import io
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeAlias
from urllib.parse import urlsplit
from uuid import uuid4

import asyncpg
import pytest
from alembic import command
from alembic.config import Config

Sql: TypeAlias = "asyncpg.Connection[asyncpg.Record]"

MIGRATIONS = Path(__file__).parent.parent / "migrations"


@asynccontextmanager
async def temporary_database(server_url: str) -> AsyncIterator[str]:
    """Create an empty database on the server, yield its URL, and drop it at the end."""
    name = f"test_{uuid4().hex}"
    connection = await asyncpg.connect(server_url)
    await connection.execute(f"CREATE DATABASE {name}")
    try:
        yield with_database(server_url, name)
    finally:
        await connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
        await connection.close()


def with_database(url: str, name: str) -> str:
    """Return the URL with the name of another database."""
    # Not with SQLAlchemy, which cannot read a URL with several hosts.
    return urlsplit(url)._replace(path=f"/{name}").geturl()


async def alembic(url: str, name: str, *arguments: str) -> str:
    """Run an alembic command, such as "upgrade", on a database and return its output."""
    output = io.StringIO()
    config = Config(stdout=output)
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DATABASE_URL", url)
        # In a thread, because env.py runs an event loop.
        await asyncio.to_thread(getattr(command, name), config, *arguments)
    return output.getvalue()
