"""Preconditions: ETag, If-Match and If-None-Match."""

import asyncio
from typing import Any

import pytest
from httpx2 import AsyncClient

from tests.serving import Settings, problem, serve


@pytest.fixture
async def tagged(client: AsyncClient, note: dict[str, Any]) -> str:
    """The path of a note whose version is 2."""
    assert (await client.patch("/notes/1", json={"title": "two"})).headers["etag"] == '"2"'
    return "/notes/1"


MATCHING = ['"2"', 'W/"2"', '"1", "2"', '"1","2",\t"x!y"', "*", '"2", "2"', '"x", W/"2"', ', "2",,']
OTHERS = ['"1"', '"1", "3"', '"02"', '""', f'"{2**31}"', f'"{"9" * 5000}"']
MALFORMED = ["2", '"2', '"2 "', "", '"1" "2"', 'w/"2"', '*, "2"', ",", "'2'"]


@pytest.mark.parametrize("method", ["PATCH", "DELETE"])
@pytest.mark.parametrize("tags", MATCHING)
async def test_what_matches_is_not_sent_again_and_may_be_changed(
    client: AsyncClient, tagged: str, method: str, tags: str
) -> None:
    read = await client.get(tagged, headers={"If-None-Match": tags})
    assert (read.status_code, read.headers["etag"], read.content) == (304, '"2"', b"")
    body = {"title": "three"} if method == "PATCH" else None
    answer = await client.request(method, tagged, json=body, headers={"If-Match": tags})
    assert answer.is_success


@pytest.mark.parametrize("tags", OTHERS + MALFORMED)
async def test_what_does_not_match_is_sent_and_not_changed(
    client: AsyncClient, tagged: str, tags: str
) -> None:
    headers = {"If-Match": tags}
    problem(await client.patch(tagged, json={"title": "three"}, headers=headers), 412)
    problem(await client.delete(tagged, headers=headers), 412)
    read = await client.get(tagged, headers={"If-None-Match": tags})
    assert (read.status_code, read.json()["version"]) == (200, 2)


async def test_a_header_may_come_in_several_lines(client: AsyncClient, tagged: str) -> None:
    for name, method, status in [("If-None-Match", "GET", 304), ("If-Match", "DELETE", 204)]:
        lines = [(name, '"1"'), (name, '"2"')]
        assert (await client.request(method, tagged, headers=lines)).status_code == status


@pytest.mark.parametrize("tags", ['"9"', "malformed"])
async def test_not_found_and_invalid_come_before_preconditions(
    client: AsyncClient, tagged: str, tags: str
) -> None:
    headers = {"If-Match": tags}
    problem(await client.patch("/notes/2", json={"title": "two"}, headers=headers), 404)
    problem(await client.delete("/notes/2", headers=headers), 404)
    problem(await client.patch(tagged, json={}, headers=headers), 422)
    problem(await client.delete("/notes/one", headers=headers), 422)


async def test_of_many_who_saw_the_same_version_one_may_change_it(
    settings: Settings, note: dict[str, Any]
) -> None:
    async with serve(settings, database_pool_size=5) as client:
        answers = await asyncio.gather(
            *(
                client.patch("/notes/1", json={"title": str(i)}, headers={"If-Match": '"1"'})
                for i in range(10)
            )
        )
    assert sorted(answer.status_code for answer in answers) == [200] + [412] * 9
