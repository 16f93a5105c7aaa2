"""Bare FastAPI and asyncpg: models where FastAPI wants them, rows handed over as they are."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import httpx2
from fastapi import FastAPI, Request

from benchmarks.floors import statements as sql
from benchmarks.schemas import Content, NewNote, Note, NoteChange, NotePage


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[dict[str, Any]]:
    size = int(os.environ["DATABASE_POOL_SIZE"])
    async with (
        asyncpg.create_pool(os.environ["DATABASE_URL"], min_size=size, max_size=size) as pool,
        httpx2.AsyncClient(base_url=os.environ["UPSTREAM_URL"], timeout=10) as upstream,
    ):
        yield {"pool": pool, "upstream": upstream}


app = FastAPI(lifespan=lifespan)


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
    headers = {"Content-Type": "application/json"}
    sent = await request.state.upstream.post(
        f"/notes/{note_id}", content=note.model_dump_json(), headers=headers
    )
    made = Content.model_validate_json(sent.content)
    values = note_id, note.version, made.title, made.body
    return await write(request, sql.SYNCHRONIZE, *values)
