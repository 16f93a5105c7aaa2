"""The service with routes of its own, for the tests of traces."""

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from service.database import Database
from service.main import app

from tests.raw_sql import execute


async def run_statements(request: Request) -> Response:
    database: Database = request.scope["state"]["database"]
    async with database.connection() as connection:
        await execute(connection, "SELECT 1")
    async with database.transaction() as transaction:
        await execute(transaction, "SELECT 2")
        await execute(transaction, "SELECT 3")
    return Response()


async def fail(request: Request) -> Response:
    database: Database = request.scope["state"]["database"]
    async with database.connection() as connection:
        # The error's message has the value, which is not in the text of the statement.
        await execute(connection, "SELECT CAST('hun' || 'ter2' AS integer)")
    raise AssertionError("unreachable: the statement fails")


app.router.routes[:0] = [
    Route("/test-statements/{number}", run_statements),
    Route("/test-failure", fail),
]
