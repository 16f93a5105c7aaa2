"""Bare FastAPI and asyncpg: models where FastAPI wants them, rows handed over as they are."""

from typing import Any

from fastapi import FastAPI, Request

from benchmarks.floors import statements as sql
from benchmarks.floors.resources import ask, lifespan
from benchmarks.schemas import Content, NewNote, Note, NoteChange, NotePage

app = FastAPI(lifespan=lifespan())


@app.get("/notes", response_model=NotePage)
async def list_notes(request: Request, limit: int = 50, after: int = 0) -> Any:
    rows = await request.state.pool.fetch(sql.PAGE, after, limit + 1)
    items = [dict(row) for row in rows[:limit]]
    more = f"/notes?limit={limit}&after={items[-1]['id']}" if len(rows) > limit else None
    return {"items": items, "next": more}


@app.get("/notes/{note_id}", response_model=Note)
async def get_note(note_id: int, request: Request) -> Any:
    return dict(await request.state.pool.fetchrow(sql.GET, note_id))


async def write(request: Request, statement: str, *values: Any) -> dict[str, Any]:
    """Store a note and its revision in one transaction."""
    async with request.state.pool.acquire() as connection, connection.transaction():
        row = await connection.fetchrow(statement, *values)
        revision = row["id"], row["version"], row["title"], row["body"]
        await connection.execute(sql.REVISION, *revision)
    return dict(row)


@app.post("/notes", status_code=201, response_model=Note)
async def create_note(note: NewNote, request: Request) -> Any:
    return await write(request, sql.CREATE, note.title, note.body)


@app.patch("/notes/{note_id}", response_model=Note)
async def change_note(note_id: int, change: NoteChange, request: Request) -> Any:
    return await write(request, sql.CHANGE, note_id, change.title, change.body)


@app.post("/notes/{note_id}/synchronize", response_model=Note)
async def synchronize_note(note_id: int, request: Request) -> Any:
    note = Note(**await request.state.pool.fetchrow(sql.GET, note_id))
    sent = await ask(request.state.upstream, note_id, note.model_dump_json())
    made = Content.model_validate_json(sent)
    values = note_id, note.version, made.title, made.body
    return await write(request, sql.SYNCHRONIZE, *values)
