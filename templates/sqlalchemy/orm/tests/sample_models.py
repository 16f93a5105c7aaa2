"""A class with the types of columns that a domain may need; it is no part of the service."""

from typing import Any
from uuid import UUID

from sqlalchemy import Enum, func
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


class Base(DeclarativeBase):
    pass


class Sample(Base):
    __tablename__ = "test_samples"

    id: Mapped[UUID] = mapped_column(primary_key=True, server_default=func.gen_random_uuid())
    status: Mapped[str] = mapped_column(Enum("new", "used", name="test_sample_status"))
    data: Mapped[Any] = mapped_column(JSONB, nullable=False)


metadata = Base.metadata
