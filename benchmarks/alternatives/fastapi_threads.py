"""FastAPI with plain functions, which it runs in threads, and a synchronous Session on psycopg."""

import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

import httpx2
from fastapi import Depends, FastAPI, HTTPException, Request
from sqlalchemy import create_engine, func, select
from sqlalchemy.orm import Session as SyncSession
from sqlalchemy.orm import sessionmaker

from benchmarks import schemas
from benchmarks.models import Note, Revision

engine = create_engine(
    os.environ["DATABASE_URL"].replace("postgresql:", "postgresql+psycopg:"),
    pool_size=int(os.environ["DATABASE_POOL_SIZE"]),
    max_overflow=0,
)
sessions = sessionmaker(engine, expire_on_commit=False)


def get_session() -> Iterator[SyncSession]:
    with sessions() as session:
        yield session
        session.commit()


Session = Annotated[SyncSession, Depends(get_session)]


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[dict[str, Any]]:
    with httpx2.Client(base_url=os.environ["UPSTREAM_URL"], timeout=10) as upstream:
        yield {"upstream": upstream}
    engine.dispose()


app = FastAPI(lifespan=lifespan)


@app.get("/notes", response_model=schemas.NotePage)
def list_notes(session: Session, limit: int = 50, after: int = 0) -> Any:
    query = select(Note).where(Note.id > after).order_by(Note.id).limit(limit + 1)
    notes = session.scalars(query).all()
    items = notes[:limit]
    next_page = f"/notes?limit={limit}&after={items[-1].id}" if len(notes) > limit else None
    return {"items": items, "next": next_page}


def get(session: SyncSession, note_id: int) -> Note:
    note = session.get(Note, note_id)
    if note is None:
        raise HTTPException(404)
    return note


def add_revision(session: SyncSession, note: Note) -> None:
    content = {"version": note.version, "title": note.title, "body": note.body}
    session.add(Revision(note_id=note.id, **content))


def store_change(session: SyncSession, note: Note) -> Note:
    """Send the UPDATE, and read the times that the database has set in it."""
    session.flush()
    session.refresh(note)
    add_revision(session, note)
    return note


@app.get("/notes/{note_id}", response_model=schemas.Note)
def get_note(note_id: int, session: Session) -> Any:
    return get(session, note_id)


@app.post("/notes", status_code=201, response_model=schemas.Note)
def create_note(content: schemas.NewNote, session: Session) -> Any:
    note = Note(title=content.title, body=content.body)
    session.add(note)
    session.flush()  # the INSERT also returns what the database has set
    add_revision(session, note)
    return note


@app.patch("/notes/{note_id}", response_model=schemas.Note)
def change_note(note_id: int, change: schemas.NoteChange, session: Session) -> Any:
    note = get(session, note_id)
    for name, value in change.model_dump(exclude_unset=True).items():
        setattr(note, name, value)
    note.version += 1
    note.updated_at = func.now()
    return store_change(session, note)


@app.post("/notes/{note_id}/synchronize", response_model=schemas.Note)
def synchronize_note(note_id: int, session: Session, request: Request) -> Any:
    note = get(session, note_id)
    answer = request.state.upstream.post(
        f"/notes/{note_id}",
        content=schemas.Note.model_validate(note).model_dump_json(),
        headers={"Content-Type": "application/json"},
    )
    answer.raise_for_status()
    content = schemas.Content.model_validate_json(answer.content)
    note.title, note.body = content.title, content.body
    note.version += 1
    note.updated_at = note.synchronized_at = func.now()
    return store_change(session, note)
