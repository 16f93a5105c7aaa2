"""Bare FastAPI and asyncpg: response models as FastAPI wants them, rows passed on as they are."""

from typing import Any

from fastapi import FastAPI, Request

from benchmarks.baselines import statements
from benchmarks.baselines.resources import ask_upstream, asyncpg_lifespan
from benchmarks.schemas import Content, NewNote, Note, NoteChange, NotePage

app = FastAPI(lifespan=asyncpg_lifespan)


@app.get("/notes", response_model=NotePage)
async def list_notes(request: Request, limit: int = 50, after: int = 0) -> Any:
    rows = await request.state.pool.fetch(statements.PAGE, after, limit + 1)
    items = [dict(row) for row in rows[:limit]]
    next_page = f"/notes?limit={limit}&after={items[-1]['id']}" if len(rows) > limit else None
    return {"items": items, "next": next_page}


@app.get("/notes/{note_id}", response_model=Note)
async def get_note(note_id: int, request: Request) -> Any:
    return dict(await request.state.pool.fetchrow(statements.GET, note_id))


async def write(request: Request, statement: str, *values: Any) -> dict[str, Any]:
    """Store a note and its revision in one transaction."""
    async with request.state.pool.acquire() as connection, connection.transaction():
        row = await connection.fetchrow(statement, *values)
        revision = row["id"], row["version"], row["title"], row["body"]
        await connection.execute(statements.REVISION, *revision)
    return dict(row)


@app.post("/notes", status_code=201, response_model=Note)
async def create_note(note: NewNote, request: Request) -> Any:
    return await write(request, statements.CREATE, note.title, note.body)


@app.patch("/notes/{note_id}", response_model=Note)
async def change_note(note_id: int, change: NoteChange, request: Request) -> Any:
    return await write(request, statements.CHANGE, note_id, change.title, change.body)


@app.post("/notes/{note_id}/synchronize", response_model=Note)
async def synchronize_note(note_id: int, request: Request) -> Any:
    note = Note(**await request.state.pool.fetchrow(statements.GET, note_id))
    answer = await ask_upstream(request.state.upstream, note_id, note.model_dump_json())
    content = Content.model_validate_json(answer)
    values = note_id, note.version, content.title, content.body
    return await write(request, statements.SYNCHRONIZE, *values)
