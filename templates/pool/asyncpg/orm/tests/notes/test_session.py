"""The objects that queries return."""

from collections.abc import AsyncIterator

import pytest
from sqlalchemy.exc import InvalidRequestError

from service.database import Database
from service.notes import queries

from tests.serving import Settings
from tests.temporary_database import Sql


@pytest.fixture
async def database(settings: Settings, sql: Sql) -> AsyncIterator[Database]:
    async with Database(settings) as database:
        yield database


async def test_objects_can_be_used_after_their_block(database: Database) -> None:
    async with database.transaction() as transaction:
        note = await queries.create(transaction, "one", "")
    assert (note.id, note.title, note.version) == (1, "one", 1)


async def test_relationship_is_not_loaded_implicitly(database: Database) -> None:
    async with database.transaction() as transaction:
        note = await queries.create(transaction, "one", "")
    async with database.connection() as connection:
        note = await queries.get(connection, note.id)
        with pytest.raises(InvalidRequestError, match="lazy='raise'"):
            _ = note.revisions
