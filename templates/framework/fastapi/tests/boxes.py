"""A small domain, for tests of what all domains share. It answers what it understood."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, cast

from fastapi import APIRouter, Path, Query, Request
from pydantic import BaseModel, ConfigDict, Field

from service.domains import Domain
from service.lifespan import State
from service.openapi import header, links, problems
from service.requests import IfMatch
from service.settings import Settings

LINKS = {
    "get_box": {"operationId": "test-boxes-get_box", "parameters": {"box_id": "$request.body#/id"}}
}

router = APIRouter(prefix="/test-boxes", tags=["test-boxes"])


class Box(BaseModel):
    model_config = ConfigDict(extra="forbid")

    label: Annotated[str, Field(min_length=1, max_length=8)]
    size: Annotated[float, Field(ge=0, le=100, allow_inf_nan=False)] = 1


class BoxQuery(BaseModel):
    model_config = ConfigDict(extra="forbid")

    limit: Annotated[int, Field(ge=1, le=100)] = 50


class Understood(BaseModel):
    box_id: int
    limit: int | None = None
    expected: list[int] | None = None
    color: str


class BoxesState(State):
    color: str


BoxId = Annotated[int, Path(ge=1, lt=2**31)]


def color(request: Request) -> str:
    return cast(BoxesState, request.state)["color"]


@router.post("", status_code=201, responses={**links(201, LINKS), **problems(413, 422)})
async def create_box(box: Box) -> Box:
    """Create a box."""
    return box


@router.get("/{box_id}", responses=problems(422), openapi_extra=header("If-None-Match"))
async def get_box(
    box_id: BoxId, query: Annotated[BoxQuery, Query()], request: Request
) -> Understood:
    """Return a box."""
    return Understood(box_id=box_id, limit=query.limit, color=color(request))


@router.put("/{box_id}", responses=problems(422))
async def replace_box(box_id: BoxId, expected: IfMatch, request: Request) -> Understood:
    """Replace a box."""
    return Understood(box_id=box_id, expected=expected, color=color(request))


@asynccontextmanager
async def lifespan(settings: Settings, state: State) -> AsyncIterator[BoxesState]:
    yield BoxesState(**state, color="red")


BOXES = Domain(router, lifespan)
