"""The probes: whether this process serves, and whether its database answers."""

from typing import Literal

from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from .lifespan import State
from .openapi import describe
from .requests import answer


class Health(BaseModel):
    status: Literal["ok"] = "ok"


@describe(answer=Health, tag="health")
async def live(request: Request) -> Response:
    """Answer as long as the process serves, whatever the database does."""
    return answer(Health())


@describe(answer=Health, problems=[503], tag="health")
async def ready(request: Request[State]) -> Response:
    """Answer 200 when a database connection can be checked out and answers."""
    await request.state["database"].ping()
    return answer(Health())


routes = [Route("/health/live", live), Route("/health/ready", ready)]
