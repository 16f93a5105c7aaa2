"""Classes with the types of columns that a domain may need; they are no part of the service."""

from typing import Any
from uuid import UUID

from sqlalchemy import Enum, ForeignKey, func
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


class Base(DeclarativeBase):
    pass


class Sample(Base):
    __tablename__ = "test_samples"

    id: Mapped[UUID] = mapped_column(primary_key=True, server_default=func.gen_random_uuid())
    status: Mapped[str] = mapped_column(Enum("new", "used", name="test_sample_status"))
    data: Mapped[Any] = mapped_column(JSONB, nullable=False)


class Team(Base):
    """It and a player refer to each other."""

    __tablename__ = "test_teams"

    id: Mapped[int] = mapped_column(primary_key=True)
    captain_id: Mapped[int | None] = mapped_column(ForeignKey("test_players.id", use_alter=True))


class Player(Base):
    __tablename__ = "test_players"

    id: Mapped[int] = mapped_column(primary_key=True)
    team_id: Mapped[int] = mapped_column(ForeignKey("test_teams.id"))


metadata = Base.metadata
