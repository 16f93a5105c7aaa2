"""Starlette with `engine.begin()` around everything that a request does."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import orjson
from sqlalchemy import func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from benchmarks.models import notes, revisions

engine = create_async_engine(
    os.environ["DATABASE_URL"].replace("postgresql:", "postgresql+asyncpg:"),
    pool_size=int(os.environ["DATABASE_POOL_SIZE"]),
    max_overflow=0,
)


@asynccontextmanager
async def lifespan(app: Starlette) -> AsyncIterator[dict[str, Any]]:
    limits = httpx2.Limits(max_connections=1000, max_keepalive_connections=1000)
    url = os.environ["UPSTREAM_URL"]
    async with httpx2.AsyncClient(base_url=url, timeout=10, limits=limits) as upstream:
        yield {"upstream": upstream}
    await engine.dispose()


def dumps(content: Any) -> bytes:
    return orjson.dumps(content, option=orjson.OPT_UTC_Z)


def json_response(content: Any, status: int = 200) -> Response:
    return Response(dumps(content), status, media_type="application/json")


async def list_notes(request: Request) -> Response:
    limit = int(request.query_params.get("limit", 50))
    after = int(request.query_params.get("after", 0))
    query = select(notes).where(notes.c.id > after).order_by(notes.c.id).limit(limit + 1)
    async with engine.begin() as connection:
        rows = (await connection.execute(query)).mappings().all()
    items = [dict(row) for row in rows[:limit]]
    next_page = f"/notes?limit={limit}&after={items[-1]['id']}" if len(rows) > limit else None
    return json_response({"items": items, "next": next_page})


async def fetch_one(connection: AsyncConnection, statement: Any) -> dict[str, Any]:
    row = (await connection.execute(statement)).mappings().one_or_none()
    if row is None:
        raise HTTPException(404)
    return dict(row)


async def write(connection: AsyncConnection, statement: Any) -> dict[str, Any]:
    """Store a note and its revision."""
    note = await fetch_one(connection, statement.returning(notes))
    revision = {"version": note["version"], "title": note["title"], "body": note["body"]}
    await connection.execute(insert(revisions).values(note_id=note["id"], **revision))
    return note


async def get_note(request: Request) -> Response:
    query = select(notes).where(notes.c.id == int(request.path_params["note_id"]))
    async with engine.begin() as connection:
        note = await fetch_one(connection, query)
    return json_response(note)


async def create_note(request: Request) -> Response:
    content = orjson.loads(await request.body())
    query = insert(notes).values(title=content["title"], body=content.get("body", ""))
    async with engine.begin() as connection:
        note = await write(connection, query)
    return json_response(note, 201)


async def change_note(request: Request) -> Response:
    change = orjson.loads(await request.body())
    query = update(notes).where(notes.c.id == int(request.path_params["note_id"]))
    values = {"version": notes.c.version + 1, "updated_at": func.now()}
    async with engine.begin() as connection:
        note = await write(connection, query.values(**change, **values))
    return json_response(note)


async def synchronize_note(request: Request) -> Response:
    note_id = int(request.path_params["note_id"])
    async with engine.begin() as connection:
        note = await fetch_one(connection, select(notes).where(notes.c.id == note_id))
        answer = await request.state.upstream.post(
            f"/notes/{note_id}", content=dumps(note), headers={"Content-Type": "application/json"}
        )
        answer.raise_for_status()
        content = orjson.loads(answer.content)
        query = update(notes).where(notes.c.id == note_id)
        values = {"version": notes.c.version + 1, "updated_at": func.now()}
        values |= {"title": content["title"], "body": content["body"]}
        values |= {"synchronized_at": func.now()}
        note = await write(connection, query.values(**values))
    return json_response(note)


app = Starlette(
    routes=[
        Route("/notes", list_notes),
        Route("/notes", create_note, methods=["POST"]),
        Route("/notes/{note_id}", get_note),
        Route("/notes/{note_id}", change_note, methods=["PATCH"]),
        Route("/notes/{note_id}/synchronize", synchronize_note, methods=["POST"]),
    ],
    lifespan=lifespan,
)
