"""The queries on the table of parcels, for tests of the data layer."""

from typing import Any
from uuid import UUID

from databases.interfaces import Record
from sqlalchemy import insert, select

from service.database import Connection, Transaction

from tests.parcels import Parcel, Status

COLUMNS = list(Parcel.__mapper__.columns)


async def add(transaction: Transaction, row: dict[str, Any]) -> None:
    await transaction.execute(insert(Parcel), row)


async def add_many(transaction: Transaction, rows: list[dict[str, Any]]) -> None:
    # An SQL statement has at most 32,767 values.
    for start in range(0, len(rows), 500):
        await transaction.execute(insert(Parcel).values(rows[start : start + 500]))


async def list_by_ids(connection: Connection, ids: list[UUID]) -> list[dict[str, Any]]:
    query = select(Parcel).where(Parcel.id.in_(ids)).order_by(Parcel.sent_at)
    return [_values(row) for row in await connection.fetch_all(query)]


async def list_by_status(connection: Connection, status: Status) -> list[dict[str, Any]]:
    query = select(Parcel).where(Parcel.status == status).order_by(Parcel.sent_at)
    return [_values(row) for row in await connection.fetch_all(query)]


def _values(row: Record) -> dict[str, Any]:
    return {column.name: row[column.name] for column in COLUMNS}
