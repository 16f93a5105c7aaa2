"""What a handler may ask of its request."""

from typing import Annotated, TypeAlias, cast

from fastapi import Depends, Header, Request
from pydantic import WithJsonSchema

from .database import Database
from .etags import versions
from .lifespan import State

# A header that may be left out and may come in several lines. To callers it is one string, because
# several lines mean the same as one line with commas (RFC 9110, section 5.3).
Lines: TypeAlias = Annotated[list[str] | None, WithJsonSchema({"type": "string"})]


async def get_database(request: Request) -> Database:
    return cast(State, request.state)["database"]


async def if_match(lines: Annotated[Lines, Header(alias="If-Match")] = None) -> list[int] | None:
    return versions(lines)


DatabaseDependency = Annotated[Database, Depends(get_database)]
# The versions that a change is meant for; None: any version.
IfMatch = Annotated[list[int] | None, Depends(if_match)]
