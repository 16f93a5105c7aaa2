"""The queries on the notes' tables."""

from sqlalchemy import (
    ARRAY,
    Integer,
    Text,
    any_,
    bindparam,
    cast,
    delete,
    func,
    insert,
    or_,
    select,
    update,
)

from ..database import Connection, Transaction
from ..statement import Statement
from .errors import NoteChanged, NoteNotFound, PreconditionFailed
from .models import Note, Revision, notes, revisions
from .schemas import Content

# In the order of the fields of the named tuples.
NOTE = [notes.c[field] for field in Note._fields]
REVISION = [revisions.c[field] for field in Revision._fields]

PAGE = (
    select(*NOTE)
    .where(notes.c.id > bindparam("after"))
    .order_by(notes.c.id)
    .limit(bindparam("limit"))
)
PAGES = {
    None: Statement(PAGE),
    True: Statement(PAGE.where(notes.c.synchronized_at.is_not(None))),
    False: Statement(PAGE.where(notes.c.synchronized_at.is_(None))),
}
GET = Statement(select(*NOTE).where(notes.c.id == bindparam("note_id")))
EXISTS = Statement(select(notes.c.id).where(notes.c.id == bindparam("note_id")))
REVISIONS = Statement(
    select(*REVISION)
    .where(revisions.c.note_id == bindparam("note_id"))
    .where(revisions.c.version < bindparam("before"))
    .order_by(revisions.c.version.desc())
    .limit(bindparam("limit"))
)
CREATE = Statement(
    insert(notes).values(title=bindparam("title"), body=bindparam("body")).returning(*NOTE)
)
ADD_REVISION = Statement(
    insert(revisions).values(
        note_id=bindparam("note_id"),
        version=bindparam("version"),
        title=bindparam("title"),
        body=bindparam("body"),
    )
)
VERSIONS = cast(bindparam("versions"), ARRAY(Integer))
HAS_EXPECTED_VERSION = or_(VERSIONS.is_(None), notes.c.version == any_(VERSIONS))
# None leaves a field as it is. (A field that may be NULL would need a statement of its own.)
CHANGE = Statement(
    update(notes)
    .where(notes.c.id == bindparam("note_id"), HAS_EXPECTED_VERSION)
    .values(
        title=func.coalesce(cast(bindparam("title"), Text), notes.c.title),
        body=func.coalesce(cast(bindparam("body"), Text), notes.c.body),
        version=notes.c.version + 1,
        updated_at=func.now(),
    )
    .returning(*NOTE)
)
DELETE = Statement(
    delete(notes)
    .where(notes.c.id == bindparam("note_id"), HAS_EXPECTED_VERSION)
    .returning(notes.c.id)
)
SYNCHRONIZE = Statement(
    update(notes)
    .where(notes.c.id == bindparam("note_id"), notes.c.version == bindparam("version"))
    .values(
        title=bindparam("new_title"),
        body=bindparam("new_body"),
        version=notes.c.version + 1,
        updated_at=func.now(),
        synchronized_at=func.now(),
    )
    .returning(*NOTE)
)


async def page(
    connection: Connection, after: int, limit: int, synchronized: bool | None
) -> list[Note]:
    """Return up to `limit` notes whose ids come after `after`."""
    rows = await connection.fetch(*PAGES[synchronized](after=after, limit=limit))
    return [Note._make(row) for row in rows]


async def get(connection: Connection, note_id: int) -> Note:
    """Raises NoteNotFound."""
    row = await connection.fetchrow(*GET(note_id=note_id))
    if row is None:
        raise NoteNotFound
    return Note._make(row)


async def history(connection: Connection, note_id: int, before: int, limit: int) -> list[Revision]:
    """Return up to `limit` versions that came before `before`, newest first.

    Raises NoteNotFound.
    """
    rows = await connection.fetch(*REVISIONS(note_id=note_id, before=before, limit=limit))
    if not rows:
        await _must_exist(connection, note_id)
    return [Revision._make(row) for row in rows]


async def create(transaction: Transaction, title: str, body: str) -> Note:
    row = await transaction.fetchrow(*CREATE(title=title, body=body))
    assert row is not None
    return await _add_revision(transaction, Note._make(row))


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
    row = await transaction.fetchrow(
        *CHANGE(note_id=note_id, title=title, body=body, versions=versions)
    )
    if row is None:
        await _must_exist(transaction, note_id)
        raise PreconditionFailed
    return await _add_revision(transaction, Note._make(row))


async def remove(transaction: Transaction, note_id: int, versions: list[int] | None) -> None:
    """Delete a note, if its version is one of `versions` (None: any).

    Raises NoteNotFound, PreconditionFailed.
    """
    if await transaction.fetchrow(*DELETE(note_id=note_id, versions=versions)) is None:
        await _must_exist(transaction, note_id)
        raise PreconditionFailed


async def set_content(
    transaction: Transaction, note_id: int, version: int, content: Content
) -> Note:
    """Store what the upstream made of `version`. Raises NoteChanged if there is a newer one."""
    row = await transaction.fetchrow(
        *SYNCHRONIZE(
            note_id=note_id, version=version, new_title=content.title, new_body=content.body
        )
    )
    if row is None:
        raise NoteChanged
    return await _add_revision(transaction, Note._make(row))


async def _add_revision(transaction: Transaction, note: Note) -> Note:
    await transaction.execute(
        *ADD_REVISION(note_id=note.id, version=note.version, title=note.title, body=note.body)
    )
    return note


async def _must_exist(connection: Connection, note_id: int) -> None:
    if await connection.fetchrow(*EXISTS(note_id=note_id)) is None:
        raise NoteNotFound
