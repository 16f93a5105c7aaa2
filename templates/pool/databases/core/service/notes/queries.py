"""The queries on the notes' tables."""

from collections.abc import Sequence

from databases.interfaces import Record
from sqlalchemy import ColumnElement, delete, func, insert, select, true, update

from ..database import Connection, Transaction
from .errors import NoteChanged, NoteNotFound, PreconditionFailed
from .models import Note, Revision, notes, revisions
from .schemas import Content


async def page(
    connection: Connection, after: int, limit: int, synchronized: bool | None
) -> list[Note]:
    """Return up to `limit` notes whose ids come after `after`."""
    query = select(notes).where(notes.c.id > after).order_by(notes.c.id).limit(limit)
    if synchronized is True:
        query = query.where(notes.c.synchronized_at.is_not(None))
    elif synchronized is False:
        query = query.where(notes.c.synchronized_at.is_(None))
    return [_note(row) for row in await connection.fetch_all(query)]


async def get(connection: Connection, note_id: int) -> Note:
    """Raises NoteNotFound."""
    row = await connection.fetch_one(select(notes).where(notes.c.id == note_id))
    if row is None:
        raise NoteNotFound
    return _note(row)


async def history(connection: Connection, note_id: int, before: int, limit: int) -> list[Revision]:
    """Return up to `limit` versions that came before `before`, newest first.

    Raises NoteNotFound.
    """
    query = (
        select(revisions)
        .where(revisions.c.note_id == note_id, revisions.c.version < before)
        .order_by(revisions.c.version.desc())
        .limit(limit)
    )
    rows = await connection.fetch_all(query)
    if not rows:
        await get(connection, note_id)
    return [_revision(row) for row in rows]


async def create(transaction: Transaction, title: str, body: str) -> Note:
    row = await transaction.fetch_one(
        insert(notes).returning(notes), {"title": title, "body": body}
    )
    assert row is not None
    return await _add_revision(transaction, _note(row))


async def change(
    transaction: Transaction,
    note_id: int,
    title: str | None,
    body: str | None,
    versions: list[int] | None,
) -> Note:
    """Change what is not None, if the version is one of `versions` (None: any).

    Raises NoteNotFound, PreconditionFailed.
    """
    values = {"title": title, "body": body}
    query = (
        # A single statement, so that no other change comes between the check and the update.
        update(notes)
        .where(notes.c.id == note_id, _is_one_of(versions))
        .values(version=notes.c.version + 1, updated_at=func.now())
        .returning(notes)
    )
    changes = {name: value for name, value in values.items() if value is not None}
    row = await transaction.fetch_one(query, changes)
    if row is None:
        await get(transaction, note_id)
        raise PreconditionFailed
    return await _add_revision(transaction, _note(row))


async def remove(transaction: Transaction, note_id: int, versions: list[int] | None) -> None:
    """Delete a note, if its version is one of `versions` (None: any).

    Raises NoteNotFound, PreconditionFailed.
    """
    query = delete(notes).where(notes.c.id == note_id, _is_one_of(versions)).returning(notes.c.id)
    if await transaction.fetch_one(query) is None:
        await get(transaction, note_id)
        raise PreconditionFailed


async def set_content(
    transaction: Transaction, note_id: int, version: int, content: Content
) -> Note:
    """Store what the upstream made of `version`. Raises NoteChanged if there is a newer one."""
    query = (
        update(notes)
        .where(notes.c.id == note_id, notes.c.version == version)
        .values(
            title=content.title,
            body=content.body,
            version=notes.c.version + 1,
            updated_at=func.now(),
            synchronized_at=func.now(),
        )
        .returning(notes)
    )
    row = await transaction.fetch_one(query)
    if row is None:
        raise NoteChanged
    return await _add_revision(transaction, _note(row))


def _is_one_of(versions: Sequence[int] | None) -> ColumnElement[bool]:
    return true() if versions is None else notes.c.version.in_(versions)


async def _add_revision(transaction: Transaction, note: Note) -> Note:
    values = {"note_id": note.id, "version": note.version, "title": note.title, "body": note.body}
    await transaction.execute(insert(revisions), values)
    return note


def _note(row: Record) -> Note:
    return Note(*(row[field] for field in Note._fields))


def _revision(row: Record) -> Revision:
    return Revision(*(row[field] for field in Revision._fields))
