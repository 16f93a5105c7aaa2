"""A table with columns of many types, for tests of the data layer."""

import enum
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from sqlalchemy import ARRAY, DateTime, Enum, Integer, Numeric, Text, TypeDecorator
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


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


class ParcelBase(DeclarativeBase):
    """A base of its own, so that the service's metadata does not know the table."""


class Parcel(ParcelBase):
    __tablename__ = "test_parcels"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    status: Mapped[Status] = mapped_column(Enum(Status, name="test_parcel_status"))
    receiver: Mapped[str | None] = mapped_column(Encrypted)
    details: Mapped[Any] = mapped_column(JSONB)
    sizes: Mapped[list[int] | None] = mapped_column(ARRAY(Integer))
    price: Mapped[Decimal | None] = mapped_column(Numeric(12, 2))
    sent_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
