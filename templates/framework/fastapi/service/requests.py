"""What a handler may ask of its request."""

from typing import Annotated, TypeAlias

from fastapi import Depends, Header, Request
from pydantic.json_schema import SkipJsonSchema

from .database import Database
from .etags import versions

# Of a header, which may be left out but is never null.
Lines: TypeAlias = list[str] | SkipJsonSchema[None]


async def database(request: Request) -> Database:
    found: Database = request.state.database
    return found


async def if_match(lines: Annotated[Lines, Header(alias="If-Match")] = None) -> list[int] | None:
    return versions(lines)


DatabaseDependency = Annotated[Database, Depends(database)]
# The versions that a change is meant for; None: whichever it is.
IfMatch = Annotated[list[int] | None, Depends(if_match)]
