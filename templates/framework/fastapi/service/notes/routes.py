"""Notes: HTTP in, HTTP out."""

from typing import Annotated, cast

from fastapi import APIRouter, Depends, Path, Query, Request, Response

from ..etags import etag, is_known
from ..fields import Id
from ..openapi import header, links, problems
from ..paths import path_to
from ..requests import DatabaseDependency, IfMatch
from ..retry import retry_on_conflict
from . import queries, schemas
from .lifespan import NotesState
from .synchronize import synchronize
from .upstream import Upstream

router = APIRouter(prefix="/notes", tags=["notes"])

NoteId = Annotated[Id, Path()]


async def get_upstream(request: Request) -> Upstream:
    return cast(NotesState, request.state)["upstream"]


UpstreamDependency = Annotated[Upstream, Depends(get_upstream)]


# Routes are tried in this order, so the one with the most requests comes first. A fixed path, such
# as /notes/search, must come before /notes/{note_id}.
@router.get(
    "/{note_id}",
    response_model=schemas.Note,
    responses={304: {"description": "Not Modified"}, **problems(404, 422, 503)},
    openapi_extra=header("If-None-Match"),
)
@retry_on_conflict
async def get_note(
    note_id: NoteId, database: DatabaseDependency, request: Request, response: Response
) -> object:
    """Return a note, unless the caller has this version of it already."""
    async with database.connection() as connection:
        note = await queries.get(connection, note_id)
    response.headers["ETag"] = etag(note.version)
    # As a parameter of the handler, this header would cost each request about 20 microseconds.
    if is_known(note.version, request.headers.getlist("If-None-Match")):
        return Response(status_code=304, headers=response.headers)
    return note


@router.get("", responses=problems(422, 503))
@retry_on_conflict
async def list_notes(
    query: Annotated[schemas.NoteQuery, Query()], database: DatabaseDependency
) -> schemas.NotePage:
    """List notes by id, a page at a time."""
    async with database.connection() as connection:
        notes = await queries.page(connection, query.after, query.limit + 1, query.synchronized)
    return schemas.NotePage.of(notes, query)


@router.post(
    "",
    status_code=201,
    responses={**links(201, schemas.LINKS), **problems(413, 422, 503)},
)
@retry_on_conflict
async def create_note(
    content: schemas.NewNote, database: DatabaseDependency, response: Response
) -> schemas.Note:
    """Store a note and its first revision."""
    async with database.transaction() as transaction:
        note = await queries.create(transaction, content.title, content.body)
    response.headers["Location"] = path_to("notes", note.id)
    response.headers["ETag"] = etag(note.version)
    return schemas.Note.model_validate(note)


@router.patch("/{note_id}", responses=problems(404, 412, 413, 422, 503))
@retry_on_conflict
async def change_note(
    note_id: NoteId,
    change: schemas.NoteChange,
    database: DatabaseDependency,
    response: Response,
    expected: IfMatch,
) -> schemas.Note:
    """Change a note's title, body or both, and keep the new version as a revision."""
    async with database.transaction() as transaction:
        note = await queries.change(transaction, note_id, change.title, change.body, expected)
    response.headers["ETag"] = etag(note.version)
    return schemas.Note.model_validate(note)


@router.delete(
    "/{note_id}",
    status_code=204,
    response_class=Response,
    responses=problems(404, 412, 422, 503),
)
@retry_on_conflict
async def delete_note(note_id: NoteId, database: DatabaseDependency, expected: IfMatch) -> None:
    """Delete a note and its revisions."""
    async with database.transaction() as transaction:
        await queries.remove(transaction, note_id, expected)


@router.get("/{note_id}/revisions", responses=problems(404, 422, 503))
@retry_on_conflict
async def list_revisions(
    note_id: NoteId,
    query: Annotated[schemas.RevisionQuery, Query()],
    database: DatabaseDependency,
) -> schemas.RevisionPage:
    """List a note's versions, newest first, a page at a time."""
    async with database.connection() as connection:
        revisions = await queries.history(connection, note_id, query.before, query.limit + 1)
    return schemas.RevisionPage.of(revisions, note_id, query)


@router.post("/{note_id}/synchronize", responses=problems(404, 409, 422, 502, 503, 504))
async def synchronize_note(
    note_id: NoteId,
    database: DatabaseDependency,
    upstream: UpstreamDependency,
    response: Response,
) -> schemas.Note:
    """Send a note to the upstream and store the content that it answers."""
    note = await synchronize(note_id, database, upstream)
    response.headers["ETag"] = etag(note.version)
    return schemas.Note.model_validate(note)
