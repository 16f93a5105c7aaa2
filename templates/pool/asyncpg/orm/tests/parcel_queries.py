"""The queries on the table of parcels, for tests of the data layer."""

from typing import Any
from uuid import UUID

from sqlalchemy import insert, select

from service.database import Connection, Transaction

from tests.parcels import Parcel, Status


async def add(transaction: Transaction, row: dict[str, Any]) -> None:
    transaction.add(Parcel(**row))


async def add_many(transaction: Transaction, rows: list[dict[str, Any]]) -> None:
    await transaction.execute(insert(Parcel), rows)


async def list_by_ids(connection: Connection, ids: list[UUID]) -> list[dict[str, Any]]:
    query = select(Parcel).where(Parcel.id.in_(ids)).order_by(Parcel.sent_at)
    return [_values(parcel) for parcel in await connection.scalars(query)]


async def list_by_status(connection: Connection, status: Status) -> list[dict[str, Any]]:
    query = select(Parcel).where(Parcel.status == status).order_by(Parcel.sent_at)
    return [_values(parcel) for parcel in await connection.scalars(query)]


def _values(parcel: Parcel) -> dict[str, Any]:
    return {column.name: getattr(parcel, column.name) for column in Parcel.__mapper__.columns}
