"""A table with the types of columns that a domain may need; it is no part of the service."""

from sqlalchemy import Column, Enum, MetaData, Table, Uuid, func
from sqlalchemy.dialects.postgresql import JSONB

metadata = MetaData()

samples = Table(
    "test_samples",
    metadata,
    Column("id", Uuid, primary_key=True, server_default=func.gen_random_uuid()),
    Column("status", Enum("new", "used", name="test_sample_status"), nullable=False),
    Column("data", JSONB, nullable=False),
)
