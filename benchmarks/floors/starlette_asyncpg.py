"""Bare Starlette, asyncpg and orjson."""

from typing import Any

import orjson
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from benchmarks.floors import statements as sql
from benchmarks.floors.resources import ask, lifespan


def dumps(content: Any) -> bytes:
    return orjson.dumps(content, option=orjson.OPT_UTC_Z)


def answer(content: Any, status: int = 200) -> Response:
    return Response(dumps(content), status, media_type="application/json")


async def list_notes(request: Request) -> Response:
    limit = int(request.query_params.get("limit", 50))
    after = int(request.query_params.get("after", 0))
    rows = await request.state.pool.fetch(sql.PAGE, after, limit + 1)
    items = [dict(row) for row in rows[:limit]]
    more = f"/notes?limit={limit}&after={items[-1]['id']}" if len(rows) > limit else None
    return answer({"items": items, "next": more})


async def get_note(request: Request) -> Response:
    row = await request.state.pool.fetchrow(sql.GET, int(request.path_params["note_id"]))
    return answer(dict(row))


async def write(request: Request, statement: str, *values: Any) -> dict[str, Any]:
    """Store a note and its revision in one transaction."""
    async with request.state.pool.acquire() as connection, connection.transaction():
        row = await connection.fetchrow(statement, *values)
        revision = row["id"], row["version"], row["title"], row["body"]
        await connection.execute(sql.REVISION, *revision)
    return dict(row)


async def create_note(request: Request) -> Response:
    note = orjson.loads(await request.body())
    return answer(await write(request, sql.CREATE, note["title"], note.get("body", "")), 201)


async def change_note(request: Request) -> Response:
    note_id, change = int(request.path_params["note_id"]), orjson.loads(await request.body())
    values = note_id, change.get("title"), change.get("body")
    return answer(await write(request, sql.CHANGE, *values))


async def synchronize_note(request: Request) -> Response:
    note_id = int(request.path_params["note_id"])
    row = await request.state.pool.fetchrow(sql.GET, note_id)
    sent = await ask(request.state.upstream, note_id, dumps(dict(row)))
    made = orjson.loads(sent)
    values = note_id, row["version"], made["title"], made["body"]
    return answer(await write(request, sql.SYNCHRONIZE, *values))


app = Starlette(
    routes=[
        Route("/notes", list_notes),
        Route("/notes", create_note, methods=["POST"]),
        Route("/notes/{note_id}", get_note),
        Route("/notes/{note_id}", change_note, methods=["PATCH"]),
        Route("/notes/{note_id}/synchronize", synchronize_note, methods=["POST"]),
    ],
    lifespan=lifespan(),
)
