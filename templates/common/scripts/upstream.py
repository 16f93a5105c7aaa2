"""A stub of the upstream for development. It capitalizes titles."""

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route


async def synchronize(request: Request) -> Response:
    note = await request.json()
    return JSONResponse({"title": note["title"].capitalize(), "body": note["body"]})


app = Starlette(routes=[Route("/notes/{note_id}", synchronize, methods=["POST"])])
