"""The objects that queries return: as a session would leave them, but there is no session."""

from typing import Any

import pytest
from sqlalchemy import inspect
from sqlalchemy.exc import InvalidRequestError

from service.database import Database
from service.notes import queries

from tests.serving import Settings
from tests.temporary_database import Sql


async def test_objects_are_detached(settings: Settings, sql: Sql) -> None:
    async with Database(settings) as database:
        async with database.transaction() as transaction:
            note = await queries.create(transaction, "one", "two")
        async with database.connection() as connection:
            [revision] = await queries.history(connection, note.id, 2, 1)
    for instance, relationship, identity in (
        (note, "revisions", (1,)),
        (revision, "note", (1, 1)),
    ):
        state: Any = inspect(instance)
        assert state.detached
        assert not state.modified
        assert state.identity == identity
        assert state.unloaded == {relationship}
        with pytest.raises(InvalidRequestError, match="lazy='raise'"):
            getattr(instance, relationship)
