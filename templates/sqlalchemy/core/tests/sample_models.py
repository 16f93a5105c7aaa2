"""Tables with the types of columns that a domain may need; they are no part of the service."""

from sqlalchemy import Column, Enum, ForeignKey, Integer, MetaData, Table, Uuid, func
from sqlalchemy.dialects.postgresql import JSONB

metadata = MetaData()

samples = Table(
    "test_samples",
    metadata,
    Column("id", Uuid, primary_key=True, server_default=func.gen_random_uuid()),
    Column("status", Enum("new", "used", name="test_sample_status"), nullable=False),
    Column("data", JSONB, nullable=False),
)

# Two tables that refer to each other.
Table(
    "test_teams",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("captain_id", ForeignKey("test_players.id", use_alter=True)),
)
Table(
    "test_players",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("team_id", ForeignKey("test_teams.id"), nullable=False),
)
