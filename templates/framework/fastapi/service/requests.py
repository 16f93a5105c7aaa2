"""What a handler may ask of its request."""

from typing import Annotated

from fastapi import Depends, Header, Request

from .database import Database
from .etags import versions


async def database(request: Request) -> Database:
    found: Database = request.state.database
    return found


async def if_match(if_match: Annotated[list[str] | None, Header()] = None) -> list[int] | None:
    return versions(if_match)


DatabaseDependency = Annotated[Database, Depends(database)]
# The versions that a change is meant for; None: whichever it is.
IfMatch = Annotated[list[int] | None, Depends(if_match)]
