"""Bare Starlette, asyncpg and orjson."""

from typing import Any

import orjson
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from benchmarks.baselines import statements
from benchmarks.baselines.resources import ask_upstream, asyncpg_lifespan


def dumps(content: Any) -> bytes:
    return orjson.dumps(content, option=orjson.OPT_UTC_Z)


def json_response(content: Any, status: int = 200) -> Response:
    return Response(dumps(content), status, media_type="application/json")


async def list_notes(request: Request) -> Response:
    limit = int(request.query_params.get("limit", 50))
    after = int(request.query_params.get("after", 0))
    rows = await request.state.pool.fetch(statements.PAGE, after, limit + 1)
    items = [dict(row) for row in rows[:limit]]
    next_page = f"/notes?limit={limit}&after={items[-1]['id']}" if len(rows) > limit else None
    return json_response({"items": items, "next": next_page})


async def get_note(request: Request) -> Response:
    row = await request.state.pool.fetchrow(statements.GET, int(request.path_params["note_id"]))
    return json_response(dict(row))


async def write(request: Request, statement: str, *values: Any) -> dict[str, Any]:
    """Store a note and its revision in one transaction."""
    async with request.state.pool.acquire() as connection, connection.transaction():
        row = await connection.fetchrow(statement, *values)
        revision = row["id"], row["version"], row["title"], row["body"]
        await connection.execute(statements.REVISION, *revision)
    return dict(row)


async def create_note(request: Request) -> Response:
    note = orjson.loads(await request.body())
    values = note["title"], note.get("body", "")
    return json_response(await write(request, statements.CREATE, *values), 201)


async def change_note(request: Request) -> Response:
    note_id, change = int(request.path_params["note_id"]), orjson.loads(await request.body())
    values = note_id, change.get("title"), change.get("body")
    return json_response(await write(request, statements.CHANGE, *values))


async def synchronize_note(request: Request) -> Response:
    note_id = int(request.path_params["note_id"])
    row = await request.state.pool.fetchrow(statements.GET, note_id)
    answer = await ask_upstream(request.state.upstream, note_id, dumps(dict(row)))
    content = orjson.loads(answer)
    values = note_id, row["version"], content["title"], content["body"]
    return json_response(await write(request, statements.SYNCHRONIZE, *values))


app = Starlette(
    routes=[
        Route("/notes", list_notes),
        Route("/notes", create_note, methods=["POST"]),
        Route("/notes/{note_id}", get_note),
        Route("/notes/{note_id}", change_note, methods=["PATCH"]),
        Route("/notes/{note_id}/synchronize", synchronize_note, methods=["POST"]),
    ],
    lifespan=asyncpg_lifespan,
)
