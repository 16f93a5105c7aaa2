"""Types of fields: what a request may carry, and what the schema says about it."""

import json
from collections.abc import AsyncIterator
from typing import Annotated, Any

import pytest
from httpx2 import AsyncClient
from openapi_spec_validator import validate
from pydantic import Field, TypeAdapter, ValidationError

from service.fields import (
    Digits,
    Flag,
    Id,
    Json,
    JsonObject,
    Limit,
    Text,
)

from tests.sample_routes import openapi, routes
from tests.sample_schemas import Slug
from tests.serving import Settings, assert_problem, serve
from tests.temporary_database import Sql

TABLES = """
CREATE TYPE test_sample_status AS ENUM ('new', 'used');
CREATE TABLE test_samples (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    status test_sample_status NOT NULL,
    data jsonb NOT NULL
);
"""
LAST_ID = 2**63 - 1
Page = Annotated[int, Field(ge=0, le=9), Digits]
DATA = {"": {"a": [1, 1.5, True, None, "\u00e9\U0001f600\\u0000"]}}


@pytest.fixture(scope="module")
async def sample_client(settings: Settings) -> AsyncIterator[AsyncClient]:
    async with serve(settings, routes=routes) as client:
        yield client


@pytest.fixture(scope="module")
async def tables(connection: Sql) -> AsyncIterator[None]:
    await connection.execute(TABLES)
    yield
    await connection.execute("DROP TABLE test_samples; DROP TYPE test_sample_status")


def accepts(field: Any, value: object) -> bool:
    try:
        TypeAdapter(field).validate_python(value)
    except ValidationError:
        return False
    return True


@pytest.mark.parametrize(
    ("field", "valid", "invalid"),
    [
        (Text, ["", "a", "\U0001f600\n"], ["a\0", "\ud800", 1, None]),
        (Slug, ["ab", "a-b"], ["a", "a" * 10, "Ab", "a\0", "ab\n"]),
        (Id, ["1", 1, 2**63 - 1], ["0", 0, 2**63, "1_0", " 1", "1.0", "٣", True]),
        (list[Id], [[], ["1", "2"]], [["1", "0"], ["1", True]]),
        (Limit, ["1", 100], ["0", "101", "", "-1"]),
        (Page, ["0", "9"], ["-1", "10", "x", "9" * 5000]),
        (JsonObject, [{}, {"": [{}, None]}], [[], "a", None, {"a\0": 1}, {"a": ["\ud800"]}]),
        (Flag, [True, False, "true", "false"], [0, 1, "1", "on", "True", None]),
    ],
)
def test_field_accepts_only_what_can_be_stored(
    field: Any, valid: list[object], invalid: list[object]
) -> None:
    assert [value for value in valid if not accepts(field, value)] == []
    assert [value for value in invalid if accepts(field, value)] == []


@pytest.mark.parametrize(
    "text",
    [
        "null",
        "[]",
        '{"": {"a": [1, 1.5, -0.0, true, null, "\\u00e9\\ud83d\\ude00\\\\u0000"]}}',
        "9" * 100,
        "[" * 200 + "]" * 200,
    ],
)
def test_json_accepts_json(text: str) -> None:
    value = json.loads(text)
    stored = TypeAdapter[object](Json).validate_python(value)
    assert json.dumps(stored) == json.dumps(value)


@pytest.mark.parametrize(
    "part",
    ["NaN", "-Infinity", "1e999", '"a\\u0000b"', '"\\ud800"', '{"\\u0000": 1}', '{"a\\udfff": 1}'],
)
@pytest.mark.parametrize("text", ["PART", '{"a": [1, {"b": PART}]}'])
def test_json_refuses_what_jsonb_cannot_hold(text: str, part: str) -> None:
    assert not accepts(Json, json.loads(text.replace("PART", part)))


def test_json_refuses_what_is_nested_too_deeply() -> None:
    assert not accepts(Json, json.loads("[" * 400 + "]" * 400))


async def echo(client: AsyncClient, target: str, body: object) -> Any:
    response = await client.post(f"/test-samples/echo/{target}", json=body)
    if response.status_code == 422:
        return [
            (error["in"], error["pointer"]) for error in assert_problem(response, 422)["errors"]
        ]
    return response.json()


async def test_fields_in_path_query_and_body(sample_client: AsyncClient) -> None:
    query = f"id=1&id={LAST_ID}&offset=9&limit=1&done=false"
    body = {
        "text": "\n",
        "slug": "a-b",
        "owner": LAST_ID,
        "attributes": DATA,
        "size": {"maxWidth": 1},
        "data": DATA,
    }
    echoed = await echo(sample_client, f"{LAST_ID}?{query}", body)
    assert echoed["number"] == LAST_ID
    assert echoed["query"] == {"id": [1, LAST_ID], "offset": 9, "limit": 1, "done": False}
    assert echoed["change"] == body
    nothing = await echo(sample_client, "1", {})
    assert nothing["query"] == {"id": [], "offset": 0, "limit": 50, "done": None}
    assert nothing["change"] == dict.fromkeys(body)


@pytest.mark.parametrize(
    ("target", "pointer"),
    [
        ("0", ("path", "/number")),
        (f"{2**63}", ("path", "/number")),
        ("1?id=1&id=x", ("query", "/id/1")),
        ("1?id=1&id=1&id=1&id=1", ("query", "/id")),
        ("1?offset=1_0", ("query", "/offset")),
        ("1?limit=101", ("query", "/limit")),
        ("1?done=1", ("query", "/done")),
    ],
)
async def test_invalid_parameter_is_named(
    sample_client: AsyncClient, target: str, pointer: tuple[str, str]
) -> None:
    assert await echo(sample_client, target, {}) == [pointer]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("text", "a\0"),
        ("slug", "a"),
        ("slug", "Ab"),
        ("owner", True),
        ("owner", 2**63),
        ("attributes", [1]),
        *[(name, None) for name in ("text", "slug", "owner", "attributes", "size")],
    ],
)
async def test_invalid_field_is_named(sample_client: AsyncClient, name: str, value: object) -> None:
    assert await echo(sample_client, "1", {name: value}) == [("body", f"/{name}")]


async def test_field_with_an_alias_is_named_by_it(sample_client: AsyncClient) -> None:
    problems = await echo(sample_client, "1", {"size": {"max_width": 1}})
    assert problems == [("body", "/size/maxWidth"), ("body", "/size/max_width")]


@pytest.mark.parametrize("value", [DATA, [], "", 0, -1.5, False, None])
async def test_json_enum_and_uuid_are_stored(
    sample_client: AsyncClient, tables: None, value: object
) -> None:
    new = {"status": "used", "data": value}
    response = await sample_client.post("/test-samples", json=new)
    assert response.status_code == 201, response.text
    sample = response.json()
    assert sample == {"id": sample["id"], **new}
    assert (await sample_client.get(f"/test-samples/uuid/{sample['id']}")).json() == sample


@pytest.mark.parametrize("part", ["NaN", '"\\u0000"', '{"\\ud800": 1}'])
async def test_json_that_cannot_be_stored_returns_422(
    sample_client: AsyncClient, part: str
) -> None:
    content = '{"status": "new", "data": [PART]}'.replace("PART", part)
    headers = {"Content-Type": "application/json"}
    response = await sample_client.post("/test-samples", content=content, headers=headers)
    [error] = assert_problem(response, 422)["errors"]
    assert error["pointer"] == "/data"


def test_schema_describes_fields() -> None:
    schema = openapi()
    validate(schema)
    echo = schema["paths"]["/test-samples/echo/{number}"]["post"]
    parameters = {parameter["name"]: parameter for parameter in echo["parameters"]}
    properties = schema["components"]["schemas"]["Change"]["properties"]
    described = {
        **{name: parameter["schema"] for name, parameter in parameters.items()},
        **properties,
    }
    for part in described.values():
        part.pop("title", None)
    identifier = {"type": "integer", "minimum": 1, "format": "int64"}
    no_nul = {"not": {"pattern": r"\u0000"}}
    del described["data"]
    assert described == {
        "number": identifier,
        "id": {"type": "array", "items": identifier, "maxItems": 3, "default": []},
        "offset": {"type": "integer", "minimum": 0, "maximum": 9, "default": 0},
        "limit": {"type": "integer", "minimum": 1, "maximum": 100, "default": 50},
        "done": {"type": "boolean"},
        "text": {"type": "string", **no_nul},
        "slug": {
            "type": "string",
            "minLength": 2,
            "maxLength": 9,
            "pattern": "^[a-z-]+$",
            **no_nul,
        },
        "owner": identifier,
        "attributes": {
            "type": "object",
            "additionalProperties": {"$ref": "#/components/schemas/JsonValue"},
        },
        "size": {"$ref": "#/components/schemas/Size"},
    }
    assert schema["components"]["schemas"]["Size"]["properties"].keys() == {"maxWidth"}
    assert [name for name, parameter in parameters.items() if parameter["required"]] == ["number"]
