"""A small domain, for tests of what all domains share. It answers what it understood."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from service import openapi
from service.domains import Domain
from service.etags import versions
from service.lifespan import State
from service.requests import answer, read
from service.settings import Settings

LINKS = {
    "get_box": {"operationId": "test-boxes-get_box", "parameters": {"box_id": "$request.body#/id"}}
}

describe = partial(openapi.describe, tag="test-boxes")


class Box(BaseModel):
    model_config = ConfigDict(extra="forbid")

    label: Annotated[str, Field(min_length=1, max_length=8)]
    size: Annotated[float, Field(ge=0, le=100, allow_inf_nan=False)] = 1


class BoxQuery(BaseModel):
    model_config = ConfigDict(extra="forbid")

    limit: Annotated[int, Field(ge=1, le=100)] = 50


class BoxPath(BaseModel):
    box_id: Annotated[int, Field(ge=1, lt=2**31)]


class CreateBox(BaseModel):
    body: Box


class OneBox(BaseModel):
    path: BoxPath


class GetBox(OneBox):
    query: BoxQuery


class Understood(BaseModel):
    box_id: int
    limit: int | None = None
    expected: list[int] | None = None
    color: str


class BoxesState(State):
    color: str


@describe(CreateBox, status=201, answer=Box, links=LINKS, problems=[413, 422])
async def create_box(request: Request[BoxesState]) -> Response:
    """Create a box."""
    return answer((await read(request, CreateBox)).body, 201)


@describe(GetBox, answer=Understood, headers=["If-None-Match"], problems=[422])
async def get_box(request: Request[BoxesState]) -> Response:
    """Return a box."""
    requested = await read(request, GetBox)
    color = request.state["color"]
    box_id, limit = requested.path.box_id, requested.query.limit
    return answer(Understood(box_id=box_id, limit=limit, color=color))


@describe(OneBox, answer=Understood, headers=["If-Match"], problems=[422])
async def replace_box(request: Request[BoxesState]) -> Response:
    """Replace a box."""
    box_id = (await read(request, OneBox)).path.box_id
    expected = versions(request.headers.getlist("If-Match"))
    return answer(Understood(box_id=box_id, expected=expected, color=request.state["color"]))


@asynccontextmanager
async def lifespan(settings: Settings, state: State) -> AsyncIterator[BoxesState]:
    yield BoxesState(**state, color="red")


routes = [
    Route("/test-boxes", create_box, methods=["POST"]),
    Route("/test-boxes/{box_id}", get_box),
    Route("/test-boxes/{box_id}", replace_box, methods=["PUT"]),
]
BOXES = Domain(routes, lifespan)
