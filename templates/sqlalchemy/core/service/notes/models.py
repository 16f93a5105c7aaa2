"""Notes and every version they ever had."""

from datetime import datetime
from typing import NamedTuple

from sqlalchemy import (
    BigInteger,
    Column,
    DateTime,
    ForeignKey,
    Identity,
    Index,
    Integer,
    String,
    Table,
    Text,
    func,
    text,
)

from ..models import metadata


class Note(NamedTuple):
    id: int
    title: str
    body: str
    version: int
    created_at: datetime
    updated_at: datetime
    synchronized_at: datetime | None


class Revision(NamedTuple):
    note_id: int
    version: int
    title: str
    body: str
    created_at: datetime


notes = Table(
    "notes",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("title", String(200), nullable=False),
    Column("body", Text, nullable=False),
    Column("version", Integer, nullable=False, server_default=text("1")),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("updated_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("synchronized_at", DateTime(timezone=True)),
    # A partial index for ?synchronized=false: it has only the notes that are not synchronized.
    Index("notes_not_synchronized_index", "id", postgresql_where=text("synchronized_at IS NULL")),
)

revisions = Table(
    "note_revisions",
    metadata,
    Column("note_id", BigInteger, ForeignKey("notes.id", ondelete="CASCADE"), primary_key=True),
    Column("version", Integer, primary_key=True),
    Column("title", String(200), nullable=False),
    Column("body", Text, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
)
