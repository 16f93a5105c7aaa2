"""Bare Starlette, databases and orjson."""

from typing import Any

import orjson
from databases import Database
from sqlalchemy import func, insert, select, update
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from benchmarks.baselines.resources import as_dict, ask_upstream, databases_lifespan
from benchmarks.models import notes, revisions


def dumps(content: Any) -> bytes:
    return orjson.dumps(content, option=orjson.OPT_UTC_Z)


def json_response(content: Any, status: int = 200) -> Response:
    return Response(dumps(content), status, media_type="application/json")


async def list_notes(request: Request) -> Response:
    limit = int(request.query_params.get("limit", 50))
    after = int(request.query_params.get("after", 0))
    query = select(notes).where(notes.c.id > after).order_by(notes.c.id).limit(limit + 1)
    rows = await request.state.database.fetch_all(query)
    items = [as_dict(row) for row in rows[:limit]]
    next_page = f"/notes?limit={limit}&after={items[-1]['id']}" if len(rows) > limit else None
    return json_response({"items": items, "next": next_page})


async def get(request: Request) -> dict[str, Any]:
    query = select(notes).where(notes.c.id == int(request.path_params["note_id"]))
    return as_dict(await request.state.database.fetch_one(query))


async def get_note(request: Request) -> Response:
    return json_response(await get(request))


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


async def create_note(request: Request) -> Response:
    note = orjson.loads(await request.body())
    query = insert(notes).values(title=note["title"], body=note.get("body", ""))
    return json_response(await write(request, query), 201)


async def change_note(request: Request) -> Response:
    query = update(notes).where(notes.c.id == int(request.path_params["note_id"]))
    change = orjson.loads(await request.body())
    values = {"version": notes.c.version + 1, "updated_at": func.now()}
    return json_response(await write(request, query.values(**change, **values)))


async def synchronize_note(request: Request) -> Response:
    note = await get(request)
    answer = await ask_upstream(request.state.upstream, note["id"], dumps(note))
    content = orjson.loads(answer)
    query = update(notes).where(notes.c.id == note["id"], notes.c.version == note["version"])
    values = {"version": notes.c.version + 1, "updated_at": func.now()}
    values |= {"title": content["title"], "body": content["body"], "synchronized_at": func.now()}
    return json_response(await write(request, query.values(**values)))


app = Starlette(
    routes=[
        Route("/notes", list_notes),
        Route("/notes", create_note, methods=["POST"]),
        Route("/notes/{note_id}", get_note),
        Route("/notes/{note_id}", change_note, methods=["PATCH"]),
        Route("/notes/{note_id}/synchronize", synchronize_note, methods=["POST"]),
    ],
    lifespan=databases_lifespan,
)
