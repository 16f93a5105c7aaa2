"""The queries on the class of samples, as a domain writes them."""

from typing import Any
from uuid import UUID

from service.database import Connection, Transaction

from tests.sample_models import Sample


async def create(transaction: Transaction, status: str, data: Any) -> UUID:
    sample = Sample(status=status, data=data)
    transaction.add(sample)
    await transaction.flush()
    return sample.id


async def get(connection: Connection, sample_id: UUID) -> dict[str, Any]:
    sample = await connection.get_one(Sample, sample_id)
    return {"id": sample.id, "status": sample.status, "data": sample.data}
