"""How the application is put together: the schema of its routes, the state of its requests."""

from typing import assert_type

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount, Route

from service.database import Database
from service.health import Health
from service.lifespan import State
from service.openapi import describe, openapi
from service.requests import answer

from tests.serving import Settings, serve


def test_two_domains_may_have_handlers_of_the_same_name() -> None:
    def domain(tag: str) -> Mount:
        @describe(answer=Health, tag=tag)
        async def list_items(request: Request) -> Response:
            return answer(Health())

        return Mount("/" + tag + "/{owner:int}", routes=[Route("/items", list_items)])

    paths = openapi([domain("books"), domain("films")], title="test", description="")["paths"]
    operations = {
        (method, path): operation["operationId"]
        for path, item in paths.items()
        for method, operation in item.items()
    }
    assert operations == {
        ("get", "/books/{owner}/items"): "books-list_items",
        ("get", "/films/{owner}/items"): "films-list_items",
    }


async def test_state_of_a_request_is_typed(settings: Settings) -> None:
    async def ready(request: Request[State]) -> Response:
        assert_type(request.state["database"], Database)  # checked by mypy
        await request.state["database"].ping()
        return Response()

    async with serve(settings, routes=[Route("/ready", ready)]) as client:
        assert (await client.get("/ready")).status_code == 200
