"""The queries on the table of samples, as a domain writes them."""

from typing import Any
from uuid import UUID

from sqlalchemy import insert, select

from service.database import Connection, Transaction

from tests.sample_models import samples


async def create(transaction: Transaction, status: str, data: Any) -> UUID:
    values = {"status": status, "data": data}
    sample_id: UUID = await transaction.fetch_val(insert(samples).returning(samples.c.id), values)
    return sample_id


async def get(connection: Connection, sample_id: UUID) -> dict[str, Any]:
    row = await connection.fetch_one(select(samples).where(samples.c.id == sample_id))
    assert row is not None
    return {"id": row["id"], "status": row["status"], "data": row["data"]}
