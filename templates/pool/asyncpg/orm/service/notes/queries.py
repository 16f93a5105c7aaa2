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
from .errors import NoteChanged, NoteNotFound, PreconditionFailed
from .models import Note, Revision
from .schemas import Content

# Statements are built here, once: building one takes SQLAlchemy about as long as running it.
PAGE = select(Note).where(Note.id > bindparam("after")).order_by(Note.id).limit(bindparam("limit"))
PAGES = {
    None: PAGE,
    True: PAGE.where(Note.synchronized_at.is_not(None)),
    False: PAGE.where(Note.synchronized_at.is_(None)),
}
GET = select(Note).where(Note.id == bindparam("note_id"))
REVISIONS = (
    select(Revision)
    .where(Revision.note_id == bindparam("note_id"), Revision.version < bindparam("before"))
    .order_by(Revision.version.desc())
    .limit(bindparam("limit"))
)
ADD_REVISION = insert(Revision)
VERSIONS = cast(bindparam("versions"), ARRAY(Integer))
HAS_EXPECTED_VERSION = or_(VERSIONS.is_(None), Note.version == any_(VERSIONS))
# None leaves a field as it is. (A field that may be NULL would need a statement of its own.)
CHANGE = (
    update(Note)
    .where(Note.id == bindparam("note_id"), HAS_EXPECTED_VERSION)
    .values(
        title=func.coalesce(cast(bindparam("new_title"), Text), Note.title),
        body=func.coalesce(cast(bindparam("new_body"), Text), Note.body),
        version=Note.version + 1,
        updated_at=func.now(),
    )
    .returning(Note)
)
DELETE = (
    delete(Note).where(Note.id == bindparam("note_id"), HAS_EXPECTED_VERSION).returning(Note.id)
)
SYNCHRONIZE = (
    update(Note)
    .where(Note.id == bindparam("note_id"), Note.version == bindparam("expected_version"))
    .values(
        title=bindparam("new_title"),
        body=bindparam("new_body"),
        version=Note.version + 1,
        updated_at=func.now(),
        synchronized_at=func.now(),
    )
    .returning(Note)
)


async def page(
    connection: Connection, after: int, limit: int, synchronized: bool | None
) -> list[Note]:
    """Return up to `limit` notes whose ids come after `after`."""
    return list(await connection.scalars(PAGES[synchronized], {"after": after, "limit": limit}))


async def get(connection: Connection, note_id: int) -> Note:
    """Raises NoteNotFound."""
    note = await connection.scalar(GET, {"note_id": note_id})
    if note is None:
        raise NoteNotFound
    return note


async def history(connection: Connection, note_id: int, before: int, limit: int) -> list[Revision]:
    """Return up to `limit` versions that came before `before`, newest first.

    Raises NoteNotFound.
    """
    values = {"note_id": note_id, "before": before, "limit": limit}
    revisions = list(await connection.scalars(REVISIONS, values))
    if not revisions:
        await get(connection, note_id)
    return revisions


async def create(transaction: Transaction, title: str, body: str) -> Note:
    note = Note(title=title, body=body)
    transaction.add(note)
    await transaction.flush()  # RETURNING fills in what the server sets, such as the id
    return await _add_revision(transaction, note)


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
    values = {"note_id": note_id, "new_title": title, "new_body": body, "versions": versions}
    note = await transaction.scalar(CHANGE, values)
    if note is None:
        await get(transaction, note_id)
        raise PreconditionFailed
    return await _add_revision(transaction, note)


async def remove(transaction: Transaction, note_id: int, versions: list[int] | None) -> None:
    """Delete a note, if its version is one of `versions` (None: any).

    Raises NoteNotFound, PreconditionFailed.
    """
    if await transaction.scalar(DELETE, {"note_id": note_id, "versions": versions}) is None:
        await get(transaction, note_id)
        raise PreconditionFailed


async def set_content(
    transaction: Transaction, note_id: int, version: int, content: Content
) -> Note:
    """Store what the upstream made of `version`. Raises NoteChanged if there is a newer one."""
    values = {
        "note_id": note_id,
        "expected_version": version,
        "new_title": content.title,
        "new_body": content.body,
    }
    note = await transaction.scalar(SYNCHRONIZE, values)
    if note is None:
        raise NoteChanged
    return await _add_revision(transaction, note)


async def _add_revision(transaction: Transaction, note: Note) -> Note:
    values = {"note_id": note.id, "version": note.version, "title": note.title, "body": note.body}
    await transaction.execute(ADD_REVISION, values)
    return note
