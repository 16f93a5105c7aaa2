"""The migrations of the notes' tables."""

import asyncpg
import pytest

from tests.databases import alembic, new_database

VALID = (
    "SELECT indisvalid FROM pg_index WHERE indexrelid = 'notes_not_synchronized_index'::regclass"
)


async def test_the_index_is_made_again_where_an_earlier_try_left_it_invalid(server: str) -> None:
    async with new_database(server) as url:
        await alembic(url, "upgrade", "notes")
        sql = await asyncpg.connect(url)
        await sql.execute("INSERT INTO notes (title, body) VALUES ('same', ''), ('same', '')")
        with pytest.raises(asyncpg.UniqueViolationError):
            await sql.execute(
                "CREATE UNIQUE INDEX CONCURRENTLY notes_not_synchronized_index ON notes (title)"
            )
        assert await sql.fetchval(VALID) is False
        await alembic(url, "upgrade", "head")
        assert await sql.fetchval(VALID) is True
        await alembic(url, "check")
        await sql.close()
