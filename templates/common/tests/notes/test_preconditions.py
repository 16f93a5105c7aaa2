"""Conditional requests: ETag, If-Match and If-None-Match."""

import asyncio
from typing import Any

import pytest
from httpx2 import AsyncClient

from tests.serving import Settings, assert_problem, serve


@pytest.fixture
async def note_path(client: AsyncClient, note: dict[str, Any]) -> str:
    """The path of a note with version 2."""
    assert (await client.patch("/notes/1", json={"title": "two"})).headers["etag"] == '"2"'
    return "/notes/1"


MATCHING = ['"2"', 'W/"2"', '"1", "2"', '"1","2",\t"x!y"', "*", '"2", "2"', '"x", W/"2"', ', "2",,']
NOT_MATCHING = ['"1"', '"1", "3"', '"02"', '""', f'"{2**31}"', f'"{"9" * 5000}"']
MALFORMED = ["2", '"2', '"2 "', "", '"1" "2"', 'w/"2"', '*, "2"', ",", "'2'"]


@pytest.mark.parametrize("method", ["PATCH", "DELETE"])
@pytest.mark.parametrize("tags", MATCHING)
async def test_matching_tag_returns_304_and_allows_change(
    client: AsyncClient, note_path: str, method: str, tags: str
) -> None:
    read = await client.get(note_path, headers={"If-None-Match": tags})
    assert (read.status_code, read.headers["etag"], read.content) == (304, '"2"', b"")
    body = {"title": "three"} if method == "PATCH" else None
    response = await client.request(method, note_path, json=body, headers={"If-Match": tags})
    assert response.is_success


@pytest.mark.parametrize("tags", NOT_MATCHING + MALFORMED)
async def test_other_tag_returns_note_and_refuses_change(
    client: AsyncClient, note_path: str, tags: str
) -> None:
    headers = {"If-Match": tags}
    assert_problem(await client.patch(note_path, json={"title": "three"}, headers=headers), 412)
    assert_problem(await client.delete(note_path, headers=headers), 412)
    read = await client.get(note_path, headers={"If-None-Match": tags})
    assert (read.status_code, read.json()["version"]) == (200, 2)


async def test_tags_of_repeated_headers_are_combined(client: AsyncClient, note_path: str) -> None:
    for name, method, status in [("If-None-Match", "GET", 304), ("If-Match", "DELETE", 204)]:
        lines = [(name, '"1"'), (name, '"2"')]
        assert (await client.request(method, note_path, headers=lines)).status_code == status


@pytest.mark.parametrize("tags", ['"9"', "malformed"])
async def test_404_and_422_come_before_412(client: AsyncClient, note_path: str, tags: str) -> None:
    headers = {"If-Match": tags}
    assert_problem(await client.patch("/notes/2", json={"title": "two"}, headers=headers), 404)
    assert_problem(await client.delete("/notes/2", headers=headers), 404)
    assert_problem(await client.patch(note_path, json={}, headers=headers), 422)
    assert_problem(await client.delete("/notes/one", headers=headers), 422)


async def test_only_one_of_concurrent_changes_to_a_version_succeeds(
    settings: Settings, note: dict[str, Any]
) -> None:
    async with serve(settings, database_pool_size=5) as client:
        responses = await asyncio.gather(
            *(
                client.patch("/notes/1", json={"title": str(i)}, headers={"If-Match": '"1"'})
                for i in range(10)
            )
        )
    assert sorted(response.status_code for response in responses) == [200] + [412] * 9
