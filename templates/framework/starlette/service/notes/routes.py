"""Notes: HTTP in, HTTP out."""

from functools import partial

from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from .. import openapi
from ..etags import etag, is_known, versions
from ..fields import Id
from ..paths import path_to
from ..requests import answer, read
from ..retry import retry_on_conflict
from . import queries, schemas
from .lifespan import NotesState
from .synchronize import synchronize

describe = partial(openapi.describe, tag="notes")


class NotePath(BaseModel):
    note_id: Id


class OneNote(BaseModel):
    path: NotePath


class ListNotes(BaseModel):
    query: schemas.NoteQuery


class CreateNote(BaseModel):
    body: schemas.NewNote


class ChangeNote(OneNote):
    body: schemas.NoteChange


class ListRevisions(OneNote):
    query: schemas.RevisionQuery


@describe(ListNotes, answer=schemas.NotePage, problems=[422, 503])
@retry_on_conflict
async def list_notes(request: Request[NotesState]) -> Response:
    """List notes by id, a page at a time."""
    query = (await read(request, ListNotes)).query
    database = request.state["database"]
    async with database.connection() as connection:
        notes = await queries.page(connection, query.after, query.limit + 1, query.synchronized)
    return answer(schemas.NotePage.of(notes, query))


@describe(
    CreateNote,
    status=201,
    answer=schemas.Note,
    links=schemas.LINKS,
    problems=[413, 422, 503],
)
@retry_on_conflict
async def create_note(request: Request[NotesState]) -> Response:
    """Store a note and its first revision."""
    content = (await read(request, CreateNote)).body
    database = request.state["database"]
    async with database.transaction() as transaction:
        note = await queries.create(transaction, content.title, content.body)
    headers = {"Location": path_to("notes", note.id), "ETag": etag(note.version)}
    return answer(schemas.Note.model_validate(note), 201, headers)


@describe(OneNote, answer=schemas.Note, headers=["If-None-Match"], problems=[404, 422, 503])
@retry_on_conflict
async def get_note(request: Request[NotesState]) -> Response:
    """Return a note, unless the caller has this version of it already."""
    note_id = (await read(request, OneNote)).path.note_id
    database = request.state["database"]
    async with database.connection() as connection:
        note = await queries.get(connection, note_id)
    headers = {"ETag": etag(note.version)}
    if is_known(note.version, request.headers.getlist("If-None-Match")):
        return Response(status_code=304, headers=headers)
    return answer(schemas.Note.model_validate(note), headers=headers)


@describe(ChangeNote, answer=schemas.Note, headers=["If-Match"], problems=[404, 412, 413, 422, 503])
@retry_on_conflict
async def change_note(request: Request[NotesState]) -> Response:
    """Change a note's title, body or both, and keep the new version as a revision."""
    requested = await read(request, ChangeNote)
    note_id, change = requested.path.note_id, requested.body
    expected = versions(request.headers.getlist("If-Match"))
    database = request.state["database"]
    async with database.transaction() as transaction:
        note = await queries.change(transaction, note_id, change.title, change.body, expected)
    return answer(schemas.Note.model_validate(note), headers={"ETag": etag(note.version)})


@describe(OneNote, status=204, headers=["If-Match"], problems=[404, 412, 422, 503])
@retry_on_conflict
async def delete_note(request: Request[NotesState]) -> Response:
    """Delete a note and its revisions."""
    note_id = (await read(request, OneNote)).path.note_id
    expected = versions(request.headers.getlist("If-Match"))
    database = request.state["database"]
    async with database.transaction() as transaction:
        await queries.remove(transaction, note_id, expected)
    return Response(status_code=204)


@describe(ListRevisions, answer=schemas.RevisionPage, problems=[404, 422, 503])
@retry_on_conflict
async def list_revisions(request: Request[NotesState]) -> Response:
    """List a note's versions, newest first, a page at a time."""
    requested = await read(request, ListRevisions)
    note_id, query = requested.path.note_id, requested.query
    database = request.state["database"]
    async with database.connection() as connection:
        revisions = await queries.history(connection, note_id, query.before, query.limit + 1)
    return answer(schemas.RevisionPage.of(revisions, note_id, query))


@describe(OneNote, answer=schemas.Note, problems=[404, 409, 422, 502, 503, 504])
async def synchronize_note(request: Request[NotesState]) -> Response:
    """Send a note to the upstream and store the content that it answers."""
    note_id = (await read(request, OneNote)).path.note_id
    state = request.state
    note = await synchronize(note_id, state["database"], state["upstream"])
    return answer(schemas.Note.model_validate(note), headers={"ETag": etag(note.version)})


# Routes are tried in this order, so the one with the most requests comes first. A fixed path, such
# as /notes/search, must come before /notes/{note_id}.
routes = [
    Route("/notes/{note_id}", get_note),
    Route("/notes", list_notes),
    Route("/notes", create_note, methods=["POST"]),
    Route("/notes/{note_id}", change_note, methods=["PATCH"]),
    Route("/notes/{note_id}", delete_note, methods=["DELETE"]),
    Route("/notes/{note_id}/revisions", list_revisions),
    Route("/notes/{note_id}/synchronize", synchronize_note, methods=["POST"]),
]
