"""Everything asked of the notes' tables."""

from typing import TypeVar

from databases.interfaces import Record
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
from sqlalchemy.orm import make_transient_to_detached

from ..database import Connection, Statement
from ..models import Base
from .errors import NoteChanged, NoteNotFound, PreconditionFailed
from .models import Note, Revision
from .schemas import Content

T = TypeVar("T", bound=Base)

PAGE = select(Note).where(Note.id > bindparam("after")).order_by(Note.id).limit(bindparam("limit"))
PAGES = {
    None: Statement(PAGE),
    True: Statement(PAGE.where(Note.synchronized_at.is_not(None))),
    False: Statement(PAGE.where(Note.synchronized_at.is_(None))),
}
GET = Statement(select(Note).where(Note.id == bindparam("note_id")))
EXISTS = Statement(select(Note.id).where(Note.id == bindparam("note_id")))
REVISIONS = Statement(
    select(Revision)
    .where(Revision.note_id == bindparam("note_id"))
    .where(Revision.version < bindparam("before"))
    .order_by(Revision.version.desc())
    .limit(bindparam("limit"))
)
CREATE = Statement(
    insert(Note).values(title=bindparam("title"), body=bindparam("body")).returning(Note)
)
ADD_REVISION = Statement(
    insert(Revision).values(
        note_id=bindparam("note_id"),
        version=bindparam("version"),
        title=bindparam("title"),
        body=bindparam("body"),
    )
)
VERSIONS = cast(bindparam("versions"), ARRAY(Integer))
EXPECTED = or_(VERSIONS.is_(None), Note.version == any_(VERSIONS))
CHANGE = Statement(
    update(Note)
    .where(Note.id == bindparam("note_id"), EXPECTED)
    .values(
        title=func.coalesce(cast(bindparam("title"), Text), Note.title),
        body=func.coalesce(cast(bindparam("body"), Text), Note.body),
        version=Note.version + 1,
        updated_at=func.now(),
    )
    .returning(Note)
)
DELETE = Statement(delete(Note).where(Note.id == bindparam("note_id"), EXPECTED).returning(Note.id))
SYNCHRONIZE = Statement(
    update(Note)
    .where(Note.id == bindparam("note_id"), Note.version == bindparam("version"))
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
    rows = await connection.fetch_all(PAGES[synchronized](after=after, limit=limit))
    return [_loaded(Note, row) for row in rows]


async def get(connection: Connection, note_id: int) -> Note:
    """Raises NoteNotFound."""
    row = await connection.fetch_one(GET(note_id=note_id))
    if row is None:
        raise NoteNotFound
    return _loaded(Note, row)


async def history(connection: Connection, note_id: int, before: int, limit: int) -> list[Revision]:
    """Return up to `limit` versions that came before `before`, newest first.

    Raises NoteNotFound.
    """
    rows = await connection.fetch_all(REVISIONS(note_id=note_id, before=before, limit=limit))
    if not rows:
        await _must_exist(connection, note_id)
    return [_loaded(Revision, row) for row in rows]


async def create(connection: Connection, title: str, body: str) -> Note:
    row = await connection.fetch_one(CREATE(title=title, body=body))
    assert row is not None
    return await _with_revision(connection, _loaded(Note, row))


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
    row = await connection.fetch_one(
        CHANGE(note_id=note_id, title=title, body=body, versions=versions)
    )
    if row is None:
        await _must_exist(connection, note_id)
        raise PreconditionFailed
    return await _with_revision(connection, _loaded(Note, row))


async def remove(connection: Connection, note_id: int, versions: list[int] | None) -> None:
    """Delete a note, if its version is one of `versions` (None: any).

    Raises NoteNotFound, PreconditionFailed.
    """
    if await connection.fetch_one(DELETE(note_id=note_id, versions=versions)) is None:
        await _must_exist(connection, note_id)
        raise PreconditionFailed


async def set_content(connection: Connection, note_id: int, version: int, content: Content) -> Note:
    """Store what the upstream made of `version`. Raises NoteChanged if there is a newer one."""
    row = await connection.fetch_one(
        SYNCHRONIZE(
            note_id=note_id, version=version, new_title=content.title, new_body=content.body
        )
    )
    if row is None:
        raise NoteChanged
    return await _with_revision(connection, _loaded(Note, row))


async def _with_revision(connection: Connection, note: Note) -> Note:
    await connection.execute(
        ADD_REVISION(note_id=note.id, version=note.version, title=note.title, body=note.body)
    )
    return note


async def _must_exist(connection: Connection, note_id: int) -> None:
    if await connection.fetch_one(EXISTS(note_id=note_id)) is None:
        raise NoteNotFound


def _loaded(kind: type[T], row: Record) -> T:
    """Make the object that a session would have made of `row` and let go.

    Like a session, not by its constructor, which has every value tracked as a change. Detached, or
    SQLAlchemy takes the object for a new one, whose relationships are empty instead of refused. Of
    columns called as their attributes are; JSON and Enum would need `row["name"]`: see `Statement`.
    """
    made: T = kind.__mapper__.class_manager.new_instance()
    made.__dict__.update(row._mapping)
    make_transient_to_detached(made)
    return made
