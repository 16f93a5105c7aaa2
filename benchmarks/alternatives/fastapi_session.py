"""FastAPI with an AsyncSession as a dependency, which commits after its `yield`.

SESSION_SCOPE sets the scope of that dependency: with `request`, FastAPI's default, the code after
the `yield` runs when the answer has been sent; with `function`, before it is sent.
"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any, Literal, cast

import httpx2
from fastapi import Depends, FastAPI, HTTPException, Request
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine

from benchmarks import schemas
from benchmarks.models import Note, Revision

SCOPE = cast(Literal["request", "function"], os.environ.get("SESSION_SCOPE", "request"))

engine = create_async_engine(
    os.environ["DATABASE_URL"].replace("postgresql:", "postgresql+asyncpg:"),
    pool_size=int(os.environ["DATABASE_POOL_SIZE"]),
    max_overflow=0,
)
sessions = async_sessionmaker(engine, expire_on_commit=False)


async def get_session() -> AsyncIterator[AsyncSession]:
    async with sessions() as session:
        yield session
        await session.commit()


Session = Annotated[AsyncSession, Depends(get_session, scope=SCOPE)]


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[dict[str, Any]]:
    limits = httpx2.Limits(max_connections=1000, max_keepalive_connections=1000)
    url = os.environ["UPSTREAM_URL"]
    async with httpx2.AsyncClient(base_url=url, timeout=10, limits=limits) as upstream:
        yield {"upstream": upstream}
    await engine.dispose()


app = FastAPI(lifespan=lifespan)


@app.get("/notes", response_model=schemas.NotePage)
async def list_notes(session: Session, limit: int = 50, after: int = 0) -> Any:
    query = select(Note).where(Note.id > after).order_by(Note.id).limit(limit + 1)
    notes = (await session.scalars(query)).all()
    items = notes[:limit]
    next_page = f"/notes?limit={limit}&after={items[-1].id}" if len(notes) > limit else None
    return {"items": items, "next": next_page}


async def get(session: AsyncSession, note_id: int) -> Note:
    note = await session.get(Note, note_id)
    if note is None:
        raise HTTPException(404)
    return note


def add_revision(session: AsyncSession, note: Note) -> None:
    content = {"version": note.version, "title": note.title, "body": note.body}
    session.add(Revision(note_id=note.id, **content))


async def store_change(session: AsyncSession, note: Note) -> Note:
    """Send the UPDATE, and read the times that the database has set in it."""
    await session.flush()
    await session.refresh(note)
    add_revision(session, note)
    return note


@app.get("/notes/{note_id}", response_model=schemas.Note)
async def get_note(note_id: int, session: Session) -> Any:
    return await get(session, note_id)


@app.post("/notes", status_code=201, response_model=schemas.Note)
async def create_note(content: schemas.NewNote, session: Session) -> Any:
    note = Note(title=content.title, body=content.body)
    session.add(note)
    await session.flush()  # the INSERT also returns what the database has set
    add_revision(session, note)
    return note


@app.patch("/notes/{note_id}", response_model=schemas.Note)
async def change_note(note_id: int, change: schemas.NoteChange, session: Session) -> Any:
    note = await get(session, note_id)
    for name, value in change.model_dump(exclude_unset=True).items():
        setattr(note, name, value)
    note.version += 1
    note.updated_at = func.now()
    return await store_change(session, note)


@app.post("/notes/{note_id}/synchronize", response_model=schemas.Note)
async def synchronize_note(note_id: int, session: Session, request: Request) -> Any:
    note = await get(session, note_id)
    answer = await request.state.upstream.post(
        f"/notes/{note_id}",
        content=schemas.Note.model_validate(note).model_dump_json(),
        headers={"Content-Type": "application/json"},
    )
    answer.raise_for_status()
    content = schemas.Content.model_validate_json(answer.content)
    note.title, note.body = content.title, content.body
    note.version += 1
    note.updated_at = note.synchronized_at = func.now()
    return await store_change(session, note)
