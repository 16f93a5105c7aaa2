"""Notes and every version they ever had."""

from datetime import datetime

from sqlalchemy import BigInteger, DateTime, ForeignKey, Identity, Index, String, Text, func, text
from sqlalchemy.orm import Mapped, mapped_column, relationship

from ..models import Base


class Note(Base):
    __tablename__ = "notes"
    __table_args__ = (
        # A partial index for ?synchronized=false: it has only the notes that are not synchronized.
        Index(
            "notes_not_synchronized_index",
            "id",
            postgresql_where=text("synchronized_at IS NULL"),
        ),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    title: Mapped[str] = mapped_column(String(200))
    body: Mapped[str] = mapped_column(Text)
    version: Mapped[int] = mapped_column(server_default=text("1"))
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
    updated_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
    synchronized_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))

    # A query must ask for them: loading them unasked would be a statement nobody sees.
    revisions: Mapped[list["Revision"]] = relationship(
        back_populates="note", lazy="raise", passive_deletes=True
    )


class Revision(Base):
    __tablename__ = "note_revisions"

    note_id: Mapped[int] = mapped_column(
        BigInteger, ForeignKey("notes.id", ondelete="CASCADE"), primary_key=True
    )
    version: Mapped[int] = mapped_column(primary_key=True)
    title: Mapped[str] = mapped_column(String(200))
    body: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())

    note: Mapped[Note] = relationship(back_populates="revisions", lazy="raise")
