"""Columns of many types: their values are stored and read as their types say, one or many rows."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import pytest

from service.database import Database
from service.errors import UniqueViolation

from tests import parcel_queries as queries
from tests.parcels import Status
from tests.serving import Settings
from tests.temporary_database import Sql

NOW = datetime(2026, 11, 29, 12, tzinfo=UTC)
PARCEL: dict[str, Any] = {
    "id": UUID(int=1),
    "status": Status.SENT,
    "receiver": "Zoë",
    "details": {"fragile": True, "lines": [1, None, "é"]},
    "sizes": [30, 20, 10],
    "price": Decimal("9.90"),
    "sent_at": NOW,
}
EMPTY: dict[str, Any] = {**dict.fromkeys(PARCEL), "id": UUID(int=2), "status": Status.DELIVERED}


@pytest.fixture
async def database(settings: Settings, sql: Sql) -> AsyncIterator[Database]:
    await sql.execute(
        "CREATE TYPE test_parcel_status AS ENUM ('SENT', 'DELIVERED');"
        "CREATE TABLE test_parcels (id uuid PRIMARY KEY, status test_parcel_status NOT NULL,"
        " receiver text, details jsonb, sizes int[], price numeric(12, 2), sent_at timestamptz)"
    )
    async with Database(settings) as database:
        yield database
    await sql.execute("DROP TABLE test_parcels; DROP TYPE test_parcel_status")


async def test_values_are_read_as_they_were_stored(database: Database) -> None:
    async with database.transaction() as transaction:
        await queries.add(transaction, PARCEL)
        await queries.add(transaction, EMPTY)
    async with database.connection() as connection:
        assert await queries.list_by_ids(connection, [PARCEL["id"]]) == [PARCEL]
        assert await queries.list_by_ids(connection, [EMPTY["id"]]) == [EMPTY]
        assert await queries.list_by_status(connection, Status.SENT) == [PARCEL]


@pytest.mark.parametrize("many", [False, True])
async def test_types_convert_what_is_stored(database: Database, sql: Sql, *, many: bool) -> None:
    async with database.transaction() as transaction:
        if many:
            await queries.add_many(transaction, [PARCEL])
        else:
            await queries.add(transaction, PARCEL)
    stored = await sql.fetchrow("SELECT status, receiver, jsonb_typeof(details) FROM test_parcels")
    assert stored is not None
    assert tuple(stored) == ("SENT", "Zoë".encode().hex(), "object")


async def test_many_rows_are_stored_at_once(database: Database) -> None:
    rows = [{**PARCEL, "id": uuid4(), "sent_at": NOW + timedelta(n)} for n in range(3_000)]
    async with database.transaction() as transaction:
        await queries.add_many(transaction, rows)
    async with database.connection() as connection:
        ids = [row["id"] for row in rows[:50]] + [uuid4()]
        assert await queries.list_by_ids(connection, ids) == rows[:50]


async def test_one_refused_row_of_many_stores_nothing(database: Database, sql: Sql) -> None:
    with pytest.raises(UniqueViolation):
        async with database.transaction() as transaction:
            await queries.add_many(transaction, [PARCEL, EMPTY, PARCEL])
    assert await sql.fetchval("SELECT count(*) FROM test_parcels") == 0
