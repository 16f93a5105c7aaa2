"""The probes: whether this process serves, and whether its database answers."""

from typing import Literal

from fastapi import APIRouter
from pydantic import BaseModel

from .openapi import problems
from .requests import DatabaseDependency

router = APIRouter(prefix="/health", tags=["health"])


class Health(BaseModel):
    status: Literal["ok"] = "ok"


@router.get("/live")
async def live() -> Health:
    """Answer as long as the process serves, whatever the database does."""
    return Health()


@router.get("/ready", responses=problems(503))
async def ready(database: DatabaseDependency) -> Health:
    """Answer 200 when a database connection can be checked out and answers."""
    await database.ping()
    return Health()
