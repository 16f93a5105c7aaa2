"""How the application is put together: the schema of its routes, the state of its requests."""

from enum import Enum
from typing import Annotated, assert_type
from uuid import UUID

from openapi_spec_validator import validate
from pydantic import BaseModel, Field, create_model
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount, Route

from service.database import Database
from service.health import Health
from service.lifespan import State
from service.openapi import describe, openapi
from service.requests import answer, read

from tests.serving import Settings, assert_problem, serve


class Color(Enum):
    RED = "red"
    BLUE = "blue"


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


def test_two_domains_may_have_models_of_the_same_name() -> None:
    def domain(tag: str, amount: type) -> Route:
        @describe(answer=create_model("Item", amount=amount), tag=tag)
        async def get_item(request: Request) -> Response:
            return Response()

        return Route("/" + tag, get_item)

    schema = openapi([domain("books", int), domain("films", str)], title="test", description="")
    validate(schema)
    models = schema["components"]["schemas"].values()
    types = [model["properties"]["amount"]["type"] for model in models]
    assert sorted(types) == ["integer", "string"]


async def test_parameters_are_described_as_they_are_read(settings: Settings) -> None:
    class ItemPath(BaseModel):
        item_id: UUID

    class Look(BaseModel):
        color: Color = Color.RED
        size: int | None = None

    class ShowItem(BaseModel):
        path: ItemPath
        query: Look

    @describe(ShowItem, answer=Look, tag="items")
    async def show_item(request: Request) -> Response:
        return answer((await read(request, ShowItem)).query)

    route = Route("/test-items/{item_id:uuid}", show_item)
    schema = openapi([route], title="test", description="")
    validate(schema)
    [(path, item)] = schema["paths"].items()
    assert path == "/test-items/{item_id}"
    parameters = {each["name"]: each for each in item["get"]["parameters"]}
    assert parameters["item_id"] == {
        "name": "item_id",
        "in": "path",
        "required": True,
        "schema": {"title": "Item Id", "type": "string", "format": "uuid"},
    }
    assert parameters["color"] == {
        "name": "color",
        "in": "query",
        "required": False,
        "schema": {"$ref": "#/components/schemas/Color", "default": "red"},
    }
    assert "default" not in parameters["size"]["schema"]
    assert schema["components"]["schemas"].keys() == {"Color", "Look"}
    assert schema["components"]["schemas"]["Color"]["enum"] == ["red", "blue"]

    item_path = "/test-items/11111111-1111-1111-1111-111111111111"
    async with serve(settings, routes=[route]) as client:
        response = await client.get(f"{item_path}?color=blue")
        assert response.json() == {"color": "blue", "size": None}
        assert_problem(await client.get(f"{item_path}?color=green"), 422)
        assert_problem(await client.get("/test-items/1"), 404)


def test_security_schemes_of_the_handlers_are_in_the_schema() -> None:
    bearer = {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}

    @describe(answer=Health, security={"bearer": bearer}, tag="test")
    async def protected(request: Request) -> Response:
        return answer(Health())

    @describe(answer=Health, security={"bearer": bearer}, anonymous=True, tag="test")
    async def optional(request: Request) -> Response:
        return answer(Health())

    @describe(answer=Health, tag="test")
    async def public(request: Request) -> Response:
        return answer(Health())

    routes = [
        Route("/protected", protected),
        Route("/optional", optional),
        Route("/public", public),
    ]
    schema = openapi(routes, title="test", description="")
    validate(schema)
    assert schema["components"]["securitySchemes"] == {"bearer": bearer}
    assert schema["paths"]["/protected"]["get"]["security"] == [{"bearer": []}]
    assert schema["paths"]["/optional"]["get"]["security"] == [{"bearer": []}, {}]
    assert "security" not in schema["paths"]["/public"]["get"]


async def test_state_of_a_request_is_typed(settings: Settings) -> None:
    async def ready(request: Request[State]) -> Response:
        assert_type(request.state["database"], Database)  # checked by mypy
        await request.state["database"].ping()
        return Response()

    async with serve(settings, routes=[Route("/test-ready", ready)]) as client:
        assert (await client.get("/test-ready")).status_code == 200


async def test_parameter_that_is_a_list_may_be_repeated(settings: Settings) -> None:
    class Search(BaseModel):
        tags: list[str] = []
        ids: list[UUID] | None = None
        limit: int = 10

    class SearchItems(BaseModel):
        query: Search

    async def search(request: Request) -> Response:
        return answer((await read(request, SearchItems)).query)

    one = "11111111-1111-1111-1111-111111111111"
    async with serve(settings, routes=[Route("/test-search", search)]) as client:
        found = await client.get(f"/test-search?tags=a&tags=b&ids={one}&limit=1&limit=2")
        assert found.json() == {"tags": ["a", "b"], "ids": [one], "limit": 2}
        assert (await client.get("/test-search")).json() == {"tags": [], "ids": None, "limit": 10}
        problem = assert_problem(await client.get("/test-search?ids=1&ids=2"), 422)
        assert [error["pointer"] for error in problem["errors"]] == ["/ids/0", "/ids/1"]


async def test_answer_has_the_names_that_the_schema_has(settings: Settings) -> None:
    class Item(BaseModel):
        item_id: Annotated[int, Field(serialization_alias="itemId")]

    @describe(answer=Item, tag="test")
    async def get_item(request: Request) -> Response:
        return answer(Item(item_id=1))

    route = Route("/test-item", get_item)
    models = openapi([route], title="test", description="")["components"]["schemas"]
    async with serve(settings, routes=[route]) as client:
        item = (await client.get("/test-item")).json()
    assert item.keys() == models["Item"]["properties"].keys() == {"itemId"}
