"""Everything asked of the notes' tables."""

from sqlalchemy import delete, func, insert, select, true, update

from ..database import Connection
from ..models import Base
from .errors import NoteChanged, NoteNotFound, PreconditionFailed
from .models import Note, Revision
from .schemas import Content

# databases compiles a statement whenever it is run, and one on classes takes twice as long.
notes, revisions = Base.metadata.tables["notes"], Base.metadata.tables["note_revisions"]


async def page(
    connection: Connection, after: int, limit: int, synchronized: bool | None
) -> list[Note]:
    """Return up to `limit` notes whose ids come after `after`."""
    query = select(notes).where(notes.c.id > after).order_by(notes.c.id).limit(limit)
    if synchronized is not None:
        done = notes.c.synchronized_at
        query = query.where(done.is_not(None) if synchronized else done.is_(None))
    return [Note(**row._mapping) for row in await connection.fetch_all(query)]


async def get(connection: Connection, note_id: int) -> Note:
    """Raises NoteNotFound."""
    row = await connection.fetch_one(select(notes).where(notes.c.id == note_id))
    if row is None:
        raise NoteNotFound
    return Note(**row._mapping)


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
    return [Revision(**row._mapping) for row in rows]


async def create(connection: Connection, title: str, body: str) -> Note:
    query = insert(notes).values(title=title, body=body).returning(notes)
    row = await connection.fetch_one(query)
    assert row is not None
    return await _with_revision(connection, Note(**row._mapping))


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
        update(notes)
        .where(notes.c.id == note_id)
        .where(true() if versions is None else notes.c.version.in_(versions))
        .values(version=notes.c.version + 1, updated_at=func.now())
        .returning(notes)
    )
    if title is not None:
        query = query.values(title=title)
    if body is not None:
        query = query.values(body=body)
    row = await connection.fetch_one(query)
    if row is None:
        await get(connection, note_id)
        raise PreconditionFailed
    return await _with_revision(connection, Note(**row._mapping))


async def remove(connection: Connection, note_id: int, versions: list[int] | None) -> None:
    """Delete a note, if its version is one of `versions` (None: any).

    Raises NoteNotFound, PreconditionFailed.
    """
    query = (
        delete(notes)
        .where(notes.c.id == note_id)
        .where(true() if versions is None else notes.c.version.in_(versions))
        .returning(notes.c.id)
    )
    if await connection.fetch_one(query) is None:
        await get(connection, note_id)
        raise PreconditionFailed


async def set_content(connection: Connection, note_id: int, version: int, content: Content) -> Note:
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
    row = await connection.fetch_one(query)
    if row is None:
        raise NoteChanged
    return await _with_revision(connection, Note(**row._mapping))


async def _with_revision(connection: Connection, note: Note) -> Note:
    query = insert(revisions).values(
        note_id=note.id, version=note.version, title=note.title, body=note.body
    )
    await connection.execute(query)
    return note
