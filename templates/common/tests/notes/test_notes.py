"""Notes and their revisions: create, read, change, delete, and list in pages."""

from datetime import datetime
from typing import Any

import pytest
from httpx2 import AsyncClient

from tests.serving import Settings, assert_problem, behind_prefix, serve
from tests.temporary_database import Sql

HIDDEN = "hunter2"
LONGEST = {"title": "\N{GRINNING FACE}" * 200, "body": "é\n" * 50_000}


async def test_create_stores_note_and_first_revision(client: AsyncClient, sql: Sql) -> None:
    response = await client.post("/notes", json={"title": "one"})
    assert response.status_code == 201
    assert (response.headers["location"], response.headers["etag"]) == ("/notes/1", '"1"')
    note = response.json()
    for name in ("created_at", "updated_at"):
        assert note[name].endswith("Z")
        assert datetime.fromisoformat(note[name])
    assert note == {
        "id": 1,
        "title": "one",
        "body": "",
        "version": 1,
        "created_at": note["created_at"],
        "updated_at": note["updated_at"],
        "synchronized_at": None,
    }
    read = await client.get("/notes/1")
    assert (read.status_code, read.json(), read.headers["etag"]) == (200, note, '"1"')
    [revision] = await sql.fetch("SELECT note_id, version, title, body FROM note_revisions")
    assert tuple(revision) == (1, 1, "one", "")


async def test_change_keeps_fields_that_it_does_not_name(
    client: AsyncClient, note: dict[str, Any], sql: Sql
) -> None:
    response = await client.patch("/notes/1", json={"title": "two"})
    assert (response.status_code, response.headers["etag"]) == (200, '"2"')
    changed = response.json()
    assert changed == {**note, "title": "two", "version": 2, "updated_at": changed["updated_at"]}
    assert changed["updated_at"] > note["updated_at"]
    changed = (await client.patch("/notes/1", json={"body": "second"})).json()
    assert (changed["title"], changed["body"], changed["version"]) == ("two", "second", 3)
    assert (await client.get("/notes/1")).json() == changed
    revisions = await sql.fetch("SELECT version, title, body FROM note_revisions ORDER BY 1")
    assert [tuple(revision) for revision in revisions] == [
        (1, "one", "first"),
        (2, "two", "first"),
        (3, "two", "second"),
    ]


async def test_delete_removes_note_and_revisions(
    client: AsyncClient, note: dict[str, Any], sql: Sql
) -> None:
    response = await client.delete("/notes/1")
    assert (response.status_code, response.content) == (204, b"")
    assert_problem(await client.get("/notes/1"), 404)
    assert await sql.fetchval("SELECT count(*) FROM note_revisions") == 0


async def test_longest_note_is_stored_unchanged(client: AsyncClient) -> None:
    for response in (
        await client.post("/notes", json=LONGEST),
        await client.patch("/notes/1", json=LONGEST),
        await client.get("/notes/1"),
        await client.head("/notes/1"),
    ):
        assert response.is_success
        if response.request.method != "HEAD":
            assert response.json().items() >= LONGEST.items()


async def pages(client: AsyncClient, path: str | None, key: str) -> list[list[int]]:
    """Follow the links to the last page. Return the values of `key`, a list for each page."""
    values = []
    while path:
        page = (await client.get(path)).json()
        values.append([item[key] for item in page["items"]])
        path = page["next"]
    return values


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/notes", [[1, 2, 3, 4, 5, 6]]),
        ("/notes?limit=4", [[1, 2, 3, 4], [5, 6]]),
        ("/notes?limit=3", [[1, 2, 3], [4, 5, 6]]),
        ("/notes?limit=100&after=4", [[5, 6]]),
        ("/notes?after=6", [[]]),
        (f"/notes?after={2**63 - 1}", [[]]),
        ("/notes?synchronized=true&limit=2", [[2, 4], [6]]),
        ("/notes?synchronized=false&limit=2&after=1", [[3, 5]]),
    ],
)
async def test_list_returns_pages_of_notes_in_order_of_id(
    client: AsyncClient, sql: Sql, path: str, expected: list[list[int]]
) -> None:
    await sql.execute(
        "INSERT INTO notes (title, body, synchronized_at)"
        " SELECT 'title', '', CASE i % 2 WHEN 0 THEN now() END FROM generate_series(1, 6) AS i"
    )
    assert await pages(client, path, "id") == expected


async def test_links_begin_with_the_prefix_of_the_server(settings: Settings, sql: Sql) -> None:
    async with serve(settings, wrap=behind_prefix("/api")) as client:
        created = await client.post("/notes", json={"title": "one"})
        assert created.headers["location"] == "/api/notes/1"
        await client.post("/notes", json={"title": "two"})
        await client.patch("/notes/1", json={"title": "three"})
        for path in ("/notes?limit=1", "/notes/1/revisions?limit=1"):
            link = (await client.get(path)).json()["next"]
            assert link.startswith(f"/api{path}&")


@pytest.mark.parametrize(
    ("query", "expected"),
    [("", [[4, 3, 2, 1]]), ("?limit=2", [[4, 3], [2, 1]]), ("?before=3&limit=1", [[2], [1]])],
)
async def test_list_returns_pages_of_revisions_newest_first(
    client: AsyncClient, note: dict[str, Any], query: str, expected: list[list[int]]
) -> None:
    for title in ("two", "three", "four"):
        await client.patch("/notes/1", json={"title": title})
    assert await pages(client, f"/notes/1/revisions{query}", "version") == expected
    [oldest] = (await client.get("/notes/1/revisions?before=2")).json()["items"]
    assert oldest.pop("created_at").endswith("Z")
    assert oldest == {"note_id": 1, "version": 1, "title": "one", "body": "first"}


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "", None),
        ("PATCH", "", {"title": "two"}),
        ("DELETE", "", None),
        ("GET", "/revisions", None),
        ("POST", "/synchronize", None),
    ],
)
async def test_unknown_note_returns_404(
    client: AsyncClient, method: str, path: str, body: object
) -> None:
    for note_id in (1, 2**63 - 1):
        assert_problem(await client.request(method, f"/notes/{note_id}{path}", json=body), 404)


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({}, "/title"),
        ({"title": ""}, "/title"),
        ({"title": HIDDEN * 30}, "/title"),
        ({"title": f"{HIDDEN}\0"}, "/title"),
        ({"title": [HIDDEN]}, "/title"),
        ({"title": "one", "body": HIDDEN * 15_000}, "/body"),
        ({"title": "one", "body": None}, "/body"),
        ({"title": "one", "a/b~": HIDDEN}, "/a~1b~0"),
        ([HIDDEN], ""),
        (None, ""),
    ],
)
async def test_invalid_note_returns_422_with_pointer_and_without_input(
    client: AsyncClient, sql: Sql, body: object, pointer: str
) -> None:
    response = await client.post("/notes", json=body)
    [error] = assert_problem(response, 422)["errors"]
    assert (error["in"], error["pointer"]) == ("body", pointer)
    assert HIDDEN not in response.text
    assert await sql.fetchval("SELECT count(*) FROM notes") == 0


@pytest.mark.parametrize(("method", "path"), [("POST", "/notes"), ("PATCH", "/notes/1")])
async def test_all_invalid_fields_are_reported_at_once(
    client: AsyncClient, method: str, path: str
) -> None:
    response = await client.request(method, path, json={"title": "", "body": 1})
    pointers = [error["pointer"] for error in assert_problem(response, 422)["errors"]]
    assert pointers == ["/title", "/body"]


@pytest.mark.parametrize("body", [{}, {"title": None}, {"body": None}, {"version": 2}])
async def test_empty_or_forbidden_change_returns_422(
    client: AsyncClient, note: dict[str, Any], body: object
) -> None:
    assert_problem(await client.patch("/notes/1", json=body), 422)
    assert (await client.get("/notes/1")).json() == note


@pytest.mark.parametrize(
    ("content", "media_type"),
    [
        (b'{"title": "one"', "application/json"),
        (b'{"title": "\xff"}', "application/json"),
        (b'{"title": "\\ud800"}', "application/json"),
        (b"[" * 100_000, "application/json"),
        (b"", "application/json"),
        (b'{"title": "one"}', "text/plain"),
        (b'{"title": "one"}', "application/x-www-form-urlencoded"),
    ],
)
async def test_body_that_is_not_json_returns_422(
    client: AsyncClient, note: dict[str, Any], content: bytes, media_type: str
) -> None:
    headers = {"Content-Type": media_type}
    for method, path in [("POST", "/notes"), ("PATCH", "/notes/1")]:
        response = await client.request(method, path, content=content, headers=headers)
        [error] = assert_problem(response, 422)["errors"]
        assert error["in"] == "body"


@pytest.mark.parametrize(
    ("path", "location", "pointer"),
    [
        ("/notes?limit=0", "query", "/limit"),
        ("/notes?limit=101", "query", "/limit"),
        ("/notes?limit=1_0", "query", "/limit"),
        ("/notes?limit=", "query", "/limit"),
        ("/notes?after=-1", "query", "/after"),
        (f"/notes?after={2**63}", "query", "/after"),
        ("/notes?synchronized=maybe", "query", "/synchronized"),
        ("/notes?page=2", "query", "/page"),
        ("/notes/1/revisions?before=0", "query", "/before"),
        (f"/notes/1/revisions?before={2**31}", "query", "/before"),
        ("/notes/0", "path", "/note_id"),
        ("/notes/one", "path", "/note_id"),
        (f"/notes/{2**63}", "path", "/note_id"),
        (f"/notes/{'9' * 5000}", "path", "/note_id"),
    ],
)
async def test_invalid_parameter_returns_422(
    client: AsyncClient, path: str, location: str, pointer: str
) -> None:
    [error] = assert_problem(await client.get(path), 422)["errors"]
    assert (error["in"], error["pointer"]) == (location, pointer)


async def test_schema_describes_every_operation_and_its_errors(client: AsyncClient) -> None:
    paths = (await client.get("/openapi.json")).json()["paths"]
    described = {
        f"{method.upper()} {path}": " ".join(sorted(operation["responses"]))
        for path, operations in paths.items()
        for method, operation in operations.items()
        if path.startswith("/notes")
    }
    assert described == {
        "GET /notes": "200 422 503",
        "POST /notes": "201 413 422 503",
        "GET /notes/{note_id}": "200 304 404 422 503",
        "PATCH /notes/{note_id}": "200 404 412 413 422 503",
        "DELETE /notes/{note_id}": "204 404 412 422 503",
        "GET /notes/{note_id}/revisions": "200 404 422 503",
        "POST /notes/{note_id}/synchronize": "200 404 409 422 502 503 504",
    }


async def test_metrics_label_requests_with_the_route_template(
    client: AsyncClient, note: dict[str, Any]
) -> None:
    await client.get("/notes/1")
    metrics = (await client.get("/metrics")).text
    assert 'http_requests_total{method="GET",route="/notes/{note_id}",status="200"}' in metrics
    assert "/notes/1" not in metrics
