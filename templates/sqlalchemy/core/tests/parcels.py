"""A table with columns of many types, for tests of the data layer."""

import enum
from typing import Any

from sqlalchemy import (
    ARRAY,
    UUID,
    Column,
    DateTime,
    Enum,
    Integer,
    MetaData,
    Numeric,
    Table,
    Text,
    TypeDecorator,
)
from sqlalchemy.dialects.postgresql import JSONB


class Status(enum.Enum):
    SENT = 1
    DELIVERED = 2


def encrypt(text: str) -> str:
    return text.encode().hex()  # it stands for an encryption


def decrypt(text: str) -> str:
    return bytes.fromhex(text).decode()


class Encrypted(TypeDecorator[str]):
    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Any) -> str | None:
        return None if value is None else encrypt(value)

    def process_result_value(self, value: str | None, dialect: Any) -> str | None:
        return None if value is None else decrypt(value)


parcels = Table(
    "test_parcels",
    MetaData(),
    Column("id", UUID, primary_key=True),
    Column("status", Enum(Status, name="test_parcel_status"), nullable=False),
    Column("receiver", Encrypted),
    Column("details", JSONB),
    Column("sizes", ARRAY(Integer)),
    Column("price", Numeric(12, 2)),
    Column("sent_at", DateTime(timezone=True)),
)
