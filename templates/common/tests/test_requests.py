"""What a handler gets from a request, what is refused before, and how the schema shows it."""

import gzip
import json
from collections.abc import AsyncIterator

import pytest
from httpx2 import AsyncClient
from openapi_spec_validator import validate

from service.domains import DOMAINS

from tests.boxes import BOXES
from tests.serving import Settings, assert_problem, serve

HIDDEN = "hunter2"


@pytest.fixture(scope="module")
async def client(settings: Settings) -> AsyncIterator[AsyncClient]:
    """A client of the service with one more domain."""
    DOMAINS.insert(0, BOXES)
    try:
        async with serve(settings) as client:
            yield client
    finally:
        DOMAINS.remove(BOXES)


async def test_valid_request_reaches_the_handler(client: AsyncClient) -> None:
    response = await client.post("/test-boxes", json={"label": "é📦", "size": 2.5})
    assert (response.status_code, response.json()) == (201, {"label": "é📦", "size": 2.5})
    assert (await client.post("/test-boxes", json={"label": "one"})).json()["size"] == 1
    understood = (await client.get("/test-boxes/7?limit=8")).json()
    assert understood == {"box_id": 7, "limit": 8, "expected": None, "color": "red"}


@pytest.mark.parametrize(
    ("lines", "expected"),
    [([], None), (['"1"', '"2", "x"'], [1, 2]), (["*"], None), (["malformed"], [])],
)
async def test_lines_of_if_match_are_combined(
    client: AsyncClient, lines: list[str], expected: list[int] | None
) -> None:
    response = await client.put("/test-boxes/7", headers=[("If-Match", line) for line in lines])
    assert response.json()["expected"] == expected


@pytest.mark.parametrize(
    ("body", "pointers"),
    [
        ({}, ["/label"]),
        ({"label": ""}, ["/label"]),
        ({"label": HIDDEN * 2}, ["/label"]),
        ({"label": [HIDDEN]}, ["/label"]),
        ({"label": None, "size": -1}, ["/label", "/size"]),
        ({"label": "one", "size": 10**400}, ["/size"]),
        ({"label": "one", "a/b~": HIDDEN}, ["/a~1b~0"]),
        ([HIDDEN], [""]),
        (None, [""]),
    ],
)
async def test_invalid_body_returns_422_with_all_pointers_and_without_input(
    client: AsyncClient, body: object, pointers: list[str]
) -> None:
    response = await client.post("/test-boxes", json=body)
    errors = assert_problem(response, 422)["errors"]
    assert {error["in"] for error in errors} == {"body"}
    assert [error["pointer"] for error in errors] == pointers
    assert HIDDEN not in response.text


@pytest.mark.parametrize(
    ("path", "place", "pointer"),
    [
        ("/test-boxes/0", "path", "/box_id"),
        ("/test-boxes/one", "path", "/box_id"),
        ("/test-boxes/%00", "path", "/box_id"),
        (f"/test-boxes/{'9' * 5000}", "path", "/box_id"),
        ("/test-boxes/1?limit=0", "query", "/limit"),
        ("/test-boxes/1?limit=", "query", "/limit"),
        ("/test-boxes/1?page=2", "query", "/page"),
    ],
)
async def test_invalid_parameter_returns_422(
    client: AsyncClient, path: str, place: str, pointer: str
) -> None:
    [error] = assert_problem(await client.get(path), 422)["errors"]
    assert (error["in"], error["pointer"]) == (place, pointer)


JSON = {"Content-Type": "application/json"}


@pytest.mark.parametrize(
    ("content", "headers"),
    [
        pytest.param(b'{"label": "one"', JSON, id="broken JSON"),
        pytest.param(b"<box/>", JSON, id="not JSON"),
        pytest.param(b"", JSON, id="empty"),
        pytest.param(b'{"label": "\xff"}', JSON, id="not UTF-8"),
        pytest.param(b'{"label": "\\ud83d"}', JSON, id="surrogate"),
        pytest.param(b'{"label": "one", "\\ud83d": 1}', JSON, id="surrogate as a name"),
        pytest.param(b'{"label": "\0"}', JSON, id="NUL"),
        pytest.param(b'{"label": "one", "size": NaN}', JSON, id="NaN"),
        pytest.param(b'{"label": "one", "size": 1e999}', JSON, id="larger than every float"),
        pytest.param(b'{"label": "one", "size": %s}' % (b"9" * 100_000), JSON, id="100,000 digits"),
        pytest.param(b"[" * 10_000 + b"]" * 10_000, JSON, id="10,000 lists deep"),
        pytest.param(b'{"label":' * 10_000 + b"1" + b"}" * 10_000, JSON, id="10,000 objects deep"),
        pytest.param(b'{"label": "one"}', {"Content-Type": "text/plain"}, id="text"),
        pytest.param(b'{"label": "one"}', {}, id="no media type"),
        pytest.param(
            b"label=one", {"Content-Type": "application/x-www-form-urlencoded"}, id="form"
        ),
        pytest.param(
            b"--", {"Content-Type": "multipart/form-data"}, id="multipart without boundary"
        ),
        pytest.param(
            gzip.compress(b'{"label": "' + b"x" * 10_000_000),
            {**JSON, "Content-Encoding": "gzip"},
            id="gzip bomb",
        ),
    ],
)
async def test_body_that_is_not_json_or_not_unicode_returns_422(
    client: AsyncClient, content: bytes, headers: dict[str, str]
) -> None:
    response = await client.post("/test-boxes", content=content, headers=headers)
    errors = assert_problem(response, 422)["errors"]
    assert {error["in"] for error in errors} == {"body"}
    assert len(response.content) < 1000


@pytest.mark.parametrize("media_type", ["application/json; charset=utf-8", "application/x+json"])
async def test_other_names_of_json_are_accepted(client: AsyncClient, media_type: str) -> None:
    content = json.dumps({"label": "one"}).encode()
    response = await client.post(
        "/test-boxes", content=content, headers={"Content-Type": media_type}
    )
    assert response.status_code == 201


async def test_schema_describes_the_operations_of_a_domain(client: AsyncClient) -> None:
    schema = (await client.get("/openapi.json")).json()
    validate(schema)
    create = schema["paths"]["/test-boxes"]["post"]
    get, replace = (schema["paths"]["/test-boxes/{box_id}"][method] for method in ("get", "put"))
    assert (create["operationId"], create["tags"]) == ("test-boxes-create_box", ["test-boxes"])
    assert create["requestBody"]["required"]
    assert create["responses"].keys() == {"201", "413", "422"}
    assert create["responses"]["201"]["links"]["get_box"]["operationId"] == get["operationId"]
    assert create["responses"]["422"]["content"].keys() == {"application/problem+json"}
    assert {(p["in"], p["name"], p["required"]) for p in get["parameters"]} == {
        ("path", "box_id", True),
        ("query", "limit", False),
        ("header", "If-None-Match", False),
    }
    [header] = [p for p in replace["parameters"] if p["in"] == "header"]
    assert (header["name"], header["schema"]["type"]) == ("If-Match", "string")
