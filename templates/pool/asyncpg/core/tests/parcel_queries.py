"""The queries on the table of parcels, for tests of the data layer."""

from typing import Any
from uuid import UUID

import asyncpg
from sqlalchemy import ARRAY, Text, Uuid, any_, bindparam, cast, insert, select, type_coerce

from service.database import Connection, Transaction
from service.statement import Statement

from tests.parcels import Status, decrypt, parcels

ADD = Statement(insert(parcels))
# asyncpg returns what is stored, so `_parcel` converts these.
CONVERTED = [
    type_coerce(column, Text).label(column.name)
    if column.name in ("status", "receiver")
    else column
    for column in parcels.c
]
PARCELS = select(*CONVERTED).order_by(parcels.c.sent_at)
LIST = Statement(PARCELS.where(parcels.c.id == any_(cast(bindparam("ids"), ARRAY(Uuid)))))
LIST_BY_STATUS = Statement(PARCELS.where(parcels.c.status == bindparam("status")))


async def add(transaction: Transaction, row: dict[str, Any]) -> None:
    await transaction.execute(*ADD(**row))


async def add_many(transaction: Transaction, rows: list[dict[str, Any]]) -> None:
    await transaction.executemany(*ADD.many(rows))


async def list_by_ids(connection: Connection, ids: list[UUID]) -> list[dict[str, Any]]:
    return [_parcel(row) for row in await connection.fetch(*LIST(ids=ids))]


async def list_by_status(connection: Connection, status: Status) -> list[dict[str, Any]]:
    return [_parcel(row) for row in await connection.fetch(*LIST_BY_STATUS(status=status))]


def _parcel(row: asyncpg.Record) -> dict[str, Any]:
    receiver = row["receiver"]
    return {
        **dict(row),
        "status": Status[row["status"]],
        "receiver": None if receiver is None else decrypt(receiver),
    }
