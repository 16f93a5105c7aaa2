"""The queries on the table of samples, as a domain writes them."""

from typing import Any
from uuid import UUID

from sqlalchemy import bindparam, insert, select

from service.database import Connection, Transaction
from service.statement import Statement

from tests.sample_models import samples

CREATE = Statement(
    insert(samples)
    .values(status=bindparam("status"), data=bindparam("data"))
    .returning(samples.c.id)
)
GET = Statement(select(samples).where(samples.c.id == bindparam("sample_id")))


async def create(transaction: Transaction, status: str, data: Any) -> UUID:
    sample_id: UUID = await transaction.fetchval(*CREATE(status=status, data=data))
    return sample_id


async def get(connection: Connection, sample_id: UUID) -> dict[str, Any]:
    row = await connection.fetchrow(*GET(sample_id=sample_id))
    assert row is not None
    return dict(row)
