"""Everything asked of the notes' tables."""

from sqlalchemy import delete, func, select, true, update

from ..database import Connection
from .errors import NoteChanged, NoteNotFound, PreconditionFailed
from .models import Note, Revision
from .schemas import Content


async def page(
    connection: Connection, after: int, limit: int, synchronized: bool | None
) -> list[Note]:
    """Return up to `limit` notes whose ids come after `after`."""
    query = select(Note).where(Note.id > after).order_by(Note.id).limit(limit)
    if synchronized is not None:
        done = Note.synchronized_at
        query = query.where(done.is_not(None) if synchronized else done.is_(None))
    return list(await connection.scalars(query))


async def get(connection: Connection, note_id: int) -> Note:
    """Raises NoteNotFound."""
    note = await connection.get(Note, note_id)
    if note is None:
        raise NoteNotFound
    return note


async def history(connection: Connection, note_id: int, before: int, limit: int) -> list[Revision]:
    """Return up to `limit` versions that came before `before`, newest first.

    Raises NoteNotFound.
    """
    query = (
        select(Revision)
        .where(Revision.note_id == note_id, Revision.version < before)
        .order_by(Revision.version.desc())
        .limit(limit)
    )
    revisions = list(await connection.scalars(query))
    if not revisions:
        await get(connection, note_id)
    return revisions


async def create(connection: Connection, title: str, body: str) -> Note:
    note = Note(title=title, body=body)
    connection.add(note)
    await connection.flush()
    return await _with_revision(connection, note)


async def change(
    connection: Connection,
    note_id: int,
    title: str | None,
    body: str | None,
    versions: list[int] | None,
) -> Note:
    """Change what is not None, if the version is one of `versions` (None: any).

    Raises NoteNotFound, PreconditionFailed.
    """
    query = (
        # One statement, so that no other change comes between a look and the update.
        update(Note)
        .where(Note.id == note_id)
        .where(true() if versions is None else Note.version.in_(versions))
        .values(version=Note.version + 1, updated_at=func.now())
        .returning(Note)
    )
    if title is not None:
        query = query.values(title=title)
    if body is not None:
        query = query.values(body=body)
    note = await connection.scalar(query)
    if note is None:
        await get(connection, note_id)
        raise PreconditionFailed
    return await _with_revision(connection, note)


async def remove(connection: Connection, note_id: int, versions: list[int] | None) -> None:
    """Delete a note, if its version is one of `versions` (None: any).

    Raises NoteNotFound, PreconditionFailed.
    """
    query = (
        delete(Note)
        .where(Note.id == note_id)
        .where(true() if versions is None else Note.version.in_(versions))
        .returning(Note.id)
    )
    if await connection.scalar(query) is None:
        await get(connection, note_id)
        raise PreconditionFailed


async def set_content(connection: Connection, note_id: int, version: int, content: Content) -> Note:
    """Store what the upstream made of `version`. Raises NoteChanged if there is a newer one."""
    query = (
        update(Note)
        .where(Note.id == note_id, Note.version == version)
        .values(
            title=content.title,
            body=content.body,
            version=Note.version + 1,
            updated_at=func.now(),
            synchronized_at=func.now(),
        )
        .returning(Note)
    )
    note = await connection.scalar(query)
    if note is None:
        raise NoteChanged
    return await _with_revision(connection, note)


async def _with_revision(connection: Connection, note: Note) -> Note:
    connection.add(
        Revision(note_id=note.id, version=note.version, title=note.title, body=note.body)
    )
    await connection.flush()
    return note
