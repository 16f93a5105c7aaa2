"""Bare FastAPI and databases: response models as FastAPI wants them, rows passed on as they are."""

from typing import Any

from databases import Database
from fastapi import FastAPI, Request
from sqlalchemy import func, insert, select, update

from benchmarks.baselines.resources import as_dict, ask_upstream, databases_lifespan
from benchmarks.models import notes, revisions
from benchmarks.schemas import Content, NewNote, Note, NoteChange, NotePage

app = FastAPI(lifespan=databases_lifespan)


@app.get("/notes", response_model=NotePage)
async def list_notes(request: Request, limit: int = 50, after: int = 0) -> Any:
    query = select(notes).where(notes.c.id > after).order_by(notes.c.id).limit(limit + 1)
    rows = await request.state.database.fetch_all(query)
    items = [as_dict(row) for row in rows[:limit]]
    next_page = f"/notes?limit={limit}&after={items[-1]['id']}" if len(rows) > limit else None
    return {"items": items, "next": next_page}


async def get(request: Request, note_id: int) -> dict[str, Any]:
    query = select(notes).where(notes.c.id == note_id)
    return as_dict(await request.state.database.fetch_one(query))


@app.get("/notes/{note_id}", response_model=Note)
async def get_note(note_id: int, request: Request) -> Any:
    return await get(request, note_id)


async def write(request: Request, statement: Any) -> dict[str, Any]:
    """Store a note and its revision in one transaction."""
    database: Database = request.state.database
    async with database.transaction():
        row = await database.fetch_one(statement.returning(notes))
        assert row is not None
        note = as_dict(row)
        revision = {"version": note["version"], "title": note["title"], "body": note["body"]}
        await database.execute(insert(revisions).values(note_id=note["id"], **revision))
    return note


@app.post("/notes", status_code=201, response_model=Note)
async def create_note(note: NewNote, request: Request) -> Any:
    return await write(request, insert(notes).values(title=note.title, body=note.body))


@app.patch("/notes/{note_id}", response_model=Note)
async def change_note(note_id: int, change: NoteChange, request: Request) -> Any:
    values = {"version": notes.c.version + 1, "updated_at": func.now()}
    values |= change.model_dump(exclude_unset=True)
    return await write(request, update(notes).where(notes.c.id == note_id).values(**values))


@app.post("/notes/{note_id}/synchronize", response_model=Note)
async def synchronize_note(note_id: int, request: Request) -> Any:
    note = Note(**await get(request, note_id))
    answer = await ask_upstream(request.state.upstream, note_id, note.model_dump_json())
    content = Content.model_validate_json(answer)
    query = update(notes).where(notes.c.id == note.id, notes.c.version == note.version)
    values = {"version": notes.c.version + 1, "updated_at": func.now()}
    values |= {"title": content.title, "body": content.body, "synchronized_at": func.now()}
    return await write(request, query.values(**values))
