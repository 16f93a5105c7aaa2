"""What the package `databases` leaves to us."""

from collections.abc import AsyncIterator

import pytest

from service.database import Database
from service.errors import UniqueViolation

from tests.raw_sql import execute
from tests.serving import Settings
from tests.temporary_database import Sql


@pytest.fixture
async def database(settings: Settings, sql: Sql) -> AsyncIterator[Database]:
    await sql.execute("CREATE TABLE test_late (x int UNIQUE DEFERRABLE INITIALLY DEFERRED)")
    async with Database(settings) as database:
        yield database
    await sql.execute("DROP TABLE test_late")


async def test_failed_commit_of_the_library_does_not_lose_the_connection(
    database: Database,
) -> None:
    """`connection.transaction()` of the library does not release it: `Database` does."""
    for _ in range(3):  # the pool has one connection
        with pytest.raises(UniqueViolation):
            async with database.connection() as connection, connection.transaction():
                await execute(connection, "INSERT INTO test_late VALUES (1), (1)")
