"""A temporary database, and the alembic commands that migrate it."""

import asyncio
import io
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeAlias
from uuid import uuid4

import asyncpg
import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import MetaData

Sql: TypeAlias = "asyncpg.Connection[asyncpg.Record]"

PROJECT = Path(__file__).parent.parent
MIGRATIONS = PROJECT / "migrations"


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
    # Not with SQLAlchemy, which cannot read a URL with several hosts, nor with urllib, which leaves
    # the // out where there is no host.
    address, mark, parameters = url.partition("?")
    return f"{address.rpartition('/')[0]}/{name}{mark}{parameters}"


async def alembic(
    url: str, name: str, *arguments: str, project: Path = PROJECT, **options: Any
) -> str:
    """Run an alembic command, such as "upgrade", on a database and return its output.

    project: the folder with the pyproject.toml, which has alembic's settings, and the migrations.
    """
    output = io.StringIO()
    config = Config(toml_file=project / "pyproject.toml", stdout=output)
    config.set_main_option("script_location", str(project / "migrations").replace("%", "%%"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DATABASE_URL", url)
        # In a thread, because env.py runs an event loop.
        await asyncio.to_thread(getattr(command, name), config, *arguments, **options)
    return output.getvalue()


class MigratedRows:
    """The rows that the migrations inserted, so that a test can begin with them and no others."""

    def __init__(self, metadata: MetaData) -> None:
        self._tables = metadata.sorted_tables  # tables that others refer to come first
        self._rows: dict[str, bytes] = {}
        self._sequences = "SELECT"

    async def remember(self, connection: Sql) -> None:
        for table in self._tables:
            rows = io.BytesIO()
            await connection.copy_from_table(table.name, schema_name=table.schema, output=rows)
            if rows.getvalue():
                self._rows[table.fullname] = rows.getvalue()
        self._sequences = await connection.fetchval(
            "SELECT 'SELECT ' || coalesce(string_agg(format('setval(%L, %s, %L)',"
            " format('%I.%I', schemaname, sequencename), coalesce(last_value, start_value),"
            " last_value IS NOT NULL), ', '), '') FROM pg_sequences"
        )

    async def restore(self, connection: Sql) -> None:
        # TRUNCATE would take several times as long.
        for table in reversed(self._tables):
            await connection.execute(str(table.delete()))
        for table in self._tables:
            if rows := self._rows.get(table.fullname):
                source = io.BytesIO(rows)
                await connection.copy_to_table(table.name, schema_name=table.schema, source=source)
        await connection.execute(self._sequences)
