"""The use case with a slow call between two database blocks."""

from ..database import Database
from ..retry import retry_on_conflict
from . import queries, schemas
from .models import Note
from .upstream import Upstream


async def synchronize(note_id: int, database: Database, upstream: Upstream) -> Note:
    """Send a note to the upstream and store the content that it answers.

    Raises NoteNotFound, UpstreamFailed, UpstreamTimeout, and NoteChanged when the note has another
    version by then: in that case nothing is written.
    """
    note = await read(note_id, database)

    content = await upstream.synchronize(note)  # slow, so no connection is held

    return await store(note, content, database)


@retry_on_conflict
async def read(note_id: int, database: Database) -> schemas.Note:
    async with database.connection() as connection:
        return schemas.Note.model_validate(await queries.get(connection, note_id))


@retry_on_conflict
async def store(note: schemas.Note, content: schemas.Content, database: Database) -> Note:
    async with database.transaction() as transaction:
        return await queries.set_content(transaction, note.id, note.version, content)
