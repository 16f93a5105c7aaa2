"""The use case with a slow call in its middle."""

from ..database import Database
from ..retry import retry_on_conflict
from . import queries, schemas
from .models import Note
from .upstream import Upstream


async def synchronize(note_id: int, database: Database, upstream: Upstream) -> Note:
    """Store what the upstream makes of a note.

    Raises NoteNotFound, UpstreamFailed, UpstreamTimedOut, and NoteChanged when the note is not
    the one that was sent any more: then nothing is written.
    """
    async with database.connection() as connection:
        note = schemas.Note.model_validate(await queries.get(connection, note_id))

    content = await upstream.synchronize(note)  # slow, and nothing is held

    return await store(note, content, database)


@retry_on_conflict
async def store(note: schemas.Note, content: schemas.Content, database: Database) -> Note:
    async with database.transaction() as connection:
        return await queries.set_content(connection, note.id, note.version, content)
