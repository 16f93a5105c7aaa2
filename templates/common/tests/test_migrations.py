"""Migrations: up, down, and from several replicas at once."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest

from tests.temporary_database import MIGRATIONS, alembic, temporary_database

REPLICAS = 2
CONNECTIONS = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"


@pytest.fixture
async def empty_database_url(server_url: str) -> AsyncIterator[str]:
    async with temporary_database(server_url) as url:
        yield url


async def test_upgrade_matches_models_and_downgrade_removes_all_tables(
    empty_database_url: str,
) -> None:
    for _ in range(2):
        await alembic(empty_database_url, "upgrade", "head")
        await alembic(empty_database_url, "check")
        await alembic(empty_database_url, "downgrade", "base")
    connection = await asyncpg.connect(empty_database_url)
    tables = await connection.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
    await connection.close()
    assert {row["tablename"] for row in tables} <= {"alembic_version"}


async def test_replicas_can_migrate_at_once(empty_database_url: str, tmp_path: Path) -> None:
    ini = tmp_path / "alembic.ini"
    ini.write_text(f"[alembic]\nscript_location = {str(MIGRATIONS).replace('%', '%%')}\n")
    command = [sys.executable, "-m", "alembic", "-c", str(ini), "upgrade", "head"]
    environment = {**os.environ, "DATABASE_URL": empty_database_url}
    connection = await asyncpg.connect(empty_database_url)
    transaction = connection.transaction()
    await transaction.start()
    # The first replica waits for this table, and so for the rollback below, until all replicas
    # are connected.
    await connection.execute("CREATE TABLE alembic_version ()")
    replicas = [
        await asyncio.create_subprocess_exec(*command, env=environment) for _ in range(REPLICAS)
    ]
    try:
        async with asyncio.timeout(60):
            while all(replica.returncode is None for replica in replicas):
                await connection.execute("SELECT pg_stat_clear_snapshot()")
                if await connection.fetchval(CONNECTIONS) > REPLICAS:
                    break
                await asyncio.sleep(0.05)
            await transaction.rollback()
            assert [await replica.wait() for replica in replicas] == [0] * REPLICAS
    finally:
        for replica in replicas:
            if replica.returncode is None:
                replica.kill()
                await replica.wait()
        await connection.close()
    await alembic(empty_database_url, "check")
