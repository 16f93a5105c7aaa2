"""Migrations of the tables of notes."""

import asyncpg
import pytest

from tests.temporary_database import alembic, temporary_database

IS_VALID = (
    "SELECT indisvalid FROM pg_index WHERE indexrelid = 'notes_not_synchronized_index'::regclass"
)


async def test_upgrade_replaces_an_invalid_index_of_a_failed_upgrade(server_url: str) -> None:
    async with temporary_database(server_url) as url:
        await alembic(url, "upgrade", "notes")
        connection = await asyncpg.connect(url)
        await connection.execute(
            "INSERT INTO notes (title, body) VALUES ('same', ''), ('same', '')"
        )
        with pytest.raises(asyncpg.UniqueViolationError):
            await connection.execute(
                "CREATE UNIQUE INDEX CONCURRENTLY notes_not_synchronized_index ON notes (title)"
            )
        assert await connection.fetchval(IS_VALID) is False
        await alembic(url, "upgrade", "head")
        assert await connection.fetchval(IS_VALID) is True
        await alembic(url, "check")
        await connection.close()
