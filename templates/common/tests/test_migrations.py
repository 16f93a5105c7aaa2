"""Migrations: up, down, and from several replicas at once."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest

from tests.databases import MIGRATIONS, alembic, new_database

CONNECTIONS = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"


@pytest.fixture
async def empty(server: str) -> AsyncIterator[str]:
    async with new_database(server) as url:
        yield url


async def test_what_goes_up_comes_down_and_the_models_say_the_same(empty: str) -> None:
    for _ in range(2):
        await alembic(empty, "upgrade", "head")
        await alembic(empty, "check")
        await alembic(empty, "downgrade", "base")
    connection = await asyncpg.connect(empty)
    left = await connection.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
    await connection.close()
    assert {row["tablename"] for row in left} <= {"alembic_version"}


async def test_replicas_may_migrate_at_once(empty: str, tmp_path: Path) -> None:
    ini = tmp_path / "alembic.ini"
    ini.write_text(f"[alembic]\nscript_location = {str(MIGRATIONS).replace('%', '%%')}\n")
    command = [sys.executable, "-m", "alembic", "-c", str(ini), "upgrade", "head"]
    connection = await asyncpg.connect(empty)
    transaction = connection.transaction()
    await transaction.start()
    # Stops the first one in its tracks until all are there.
    await connection.execute("CREATE TABLE alembic_version ()")
    replicas = [
        await asyncio.create_subprocess_exec(*command, env={**os.environ, "DATABASE_URL": empty})
        for _ in range(4)
    ]
    while all(replica.returncode is None for replica in replicas):
        await connection.execute("SELECT pg_stat_clear_snapshot()")
        if await connection.fetchval(CONNECTIONS) > len(replicas):
            break
        await asyncio.sleep(0.05)
    await transaction.rollback()
    await connection.close()
    assert [await replica.wait() for replica in replicas] == [0, 0, 0, 0]
    await alembic(empty, "check")
