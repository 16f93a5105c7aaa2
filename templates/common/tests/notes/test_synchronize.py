"""Synchronizing a note: a slow call between two short transactions."""

import asyncio
import gzip
import json
import time
from typing import Any

import pytest
from httpx2 import AsyncClient
from prometheus_client import REGISTRY

from tests.databases import Sql
from tests.notes.upstream import Answer, Note, Upstream
from tests.serving import Settings, listen, problem, serve


async def test_what_the_upstream_makes_of_a_note_is_stored_as_a_new_version(
    client: AsyncClient, note: Note, upstream: Upstream, sql: Sql
) -> None:
    answer = await client.post("/notes/1/synchronize", headers={"X-Request-ID": "mine"})
    assert (answer.status_code, answer.headers["etag"]) == (200, '"2"')
    stored = answer.json()
    assert (stored["title"], stored["body"], stored["version"]) == ("ONE", "first", 2)
    assert stored["synchronized_at"] == stored["updated_at"] > note["updated_at"]
    assert (await client.get("/notes/1")).json() == stored
    assert await sql.fetchval("SELECT title FROM note_revisions WHERE version = 2") == "ONE"
    [(request, headers, sent)] = upstream.received
    assert (request, sent) == ("POST /notes/1 HTTP/1.1", note)
    assert headers["content-type"] == "application/json"
    assert headers["x-request-id"] == "mine"


def content(**changes: Any) -> bytes:
    return json.dumps({"title": "ONE", "body": "first", **changes}).encode()


ANSWER = b"HTTP/1.1 200 -\r\nContent-Length: %d\r\n\r\n"
PACKED = ANSWER.replace(b" -", b" -\r\nContent-Encoding: gzip")
BOMB = gzip.compress(content(more="x" * 10_000_000))


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param((500, content()), id="error"),
        pytest.param((404, content()), id="unknown"),
        pytest.param((200, b"<html>"), id="no JSON"),
        pytest.param((200, b'{"title": "ONE"}'), id="no body"),
        pytest.param((200, content(title="")), id="empty title"),
        pytest.param((200, content(title="x" * 201)), id="long title"),
        pytest.param((200, content(body="x" * 100_001)), id="long body"),
        pytest.param((200, content(body="\0")), id="NUL"),
        pytest.param((200, content(more="x" * 2_000_000)), id="too long"),
        pytest.param(b"", id="nothing"),
        pytest.param(b"\x16\x03\x01\x02\x00" * 10, id="no HTTP"),
        pytest.param(
            b"HTTP/1.1 200 -\r\n" + b"X-More: and more\r\n" * 50_000, id="no end of headers"
        ),
        pytest.param(ANSWER % len(content()) + content()[:-1], id="half an answer"),
        pytest.param(ANSWER % 10**12 + b" " * 10_000_000, id="10 MB of more"),
        pytest.param(PACKED % len(BOMB) + BOMB, id="a bomb"),
    ],
)
async def test_an_upstream_that_answers_nonsense_changes_nothing(
    client: AsyncClient, note: Note, upstream: Upstream, answer: Answer
) -> None:
    async def nonsense(note: Note) -> Answer:
        return answer

    upstream.answer = nonsense
    problem(await client.post("/notes/1/synchronize"), 502)
    assert (await client.get("/notes/1")).json() == note
    assert len(upstream.received) == 1  # not tried again


@pytest.mark.parametrize("status", [301, 307, 308])
async def test_an_upstream_that_leads_elsewhere_is_not_followed(
    client: AsyncClient, note: Note, upstream: Upstream, status: int
) -> None:
    """Neither to where the service may go and its callers may not, nor with the note."""

    async def lead(note: Note) -> Answer:
        return status, content()

    async with Upstream() as other:
        upstream.answer, upstream.elsewhere = lead, other.url
        problem(await client.post("/notes/1/synchronize"), 502)
    assert (len(upstream.received), other.received) == (1, [])


async def test_what_else_the_upstream_says_is_ignored(
    client: AsyncClient, note: Note, upstream: Upstream
) -> None:
    async def chatter(note: Note) -> Answer:
        return 201, content(more="x" * 1_000_000)

    upstream.answer = chatter
    assert (await client.post("/notes/1/synchronize")).json()["title"] == "ONE"


async def test_an_upstream_that_is_away_is_a_bad_gateway(settings: Settings, note: Note) -> None:
    async with serve(settings, upstream_url="http://127.0.0.1:9") as client:
        problem(await client.post("/notes/1/synchronize"), 502)


async def test_an_upstream_that_is_slow_times_out(
    settings: Settings, note: Note, upstream: Upstream
) -> None:
    """As a whole: also where every byte of the answer comes soon after the one before."""

    async def slow(note: Note) -> Answer:
        await asyncio.sleep(0.15)
        return 200, content()

    upstream.answer, upstream.pause = slow, 0.15
    async with serve(settings, upstream_timeout=0.25) as client:
        started = time.monotonic()
        problem(await client.post("/notes/1/synchronize"), 504)
        assert time.monotonic() - started < 1
        assert (await client.get("/notes/1")).json() == note


@pytest.mark.parametrize("change", ["PATCH", "DELETE"])
async def test_a_note_edited_or_deleted_meanwhile_is_a_conflict(
    client: AsyncClient, note: Note, upstream: Upstream, change: str, sql: Sql
) -> None:
    async def interrupted(note: Note) -> Answer:
        body = {"title": "two"} if change == "PATCH" else None
        # On the pool's one connection: it is not held here.
        assert (await client.request(change, "/notes/1", json=body)).is_success
        return 200, content()

    upstream.answer = interrupted
    problem(await client.post("/notes/1/synchronize"), 409)
    titles = await sql.fetch("SELECT title FROM note_revisions ORDER BY version")
    assert [row["title"] for row in titles] == (["one", "two"] if change == "PATCH" else [])


async def test_it_is_finished_for_a_caller_who_has_left(
    settings: Settings, note: Note, upstream: Upstream, sql: Sql
) -> None:
    """As with any request: what has begun is either done as a whole, or not at all."""
    asked, left = asyncio.Event(), asyncio.Event()

    async def slow(note: Note) -> Answer:
        asked.set()
        await left.wait()
        return 200, content()

    upstream.answer = slow
    versions = "SELECT array_agg(version ORDER BY version) FROM note_revisions"
    async with asyncio.timeout(5), listen(settings) as port:
        _, caller = await asyncio.open_connection("127.0.0.1", port)
        caller.write(b"POST /notes/1/synchronize HTTP/1.1\r\nHost: testserver\r\n\r\n")
        await asked.wait()
        caller.transport.abort()
        await asyncio.sleep(0.1)  # for the news to arrive
        assert REGISTRY.get_sample_value("database_pool_in_use") == 0
        assert await sql.fetchval(versions) == [1]
        left.set()
    assert await sql.fetchval(versions) == [1, 2]
    assert await sql.fetchval("SELECT title FROM notes") == "ONE"
    assert REGISTRY.get_sample_value("database_pool_in_use") == 0


async def test_many_wait_for_the_upstream_at_once_on_a_pool_of_one(
    client: AsyncClient, upstream: Upstream
) -> None:
    everyone = asyncio.Barrier(20)

    async def together(note: Note) -> Answer:
        await everyone.wait()  # for ever, if one of them kept the others from the upstream
        return 200, content()

    upstream.answer = together
    for _ in range(20):
        await client.post("/notes", json={"title": "one"})
    calls = (client.post(f"/notes/{number}/synchronize") for number in range(1, 21))
    assert {answer.status_code for answer in await asyncio.gather(*calls)} == {200}
