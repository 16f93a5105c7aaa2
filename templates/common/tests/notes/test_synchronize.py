"""Synchronizing a note: a slow upstream call between a read and a short transaction."""

import asyncio
import gzip
import json
import time
from typing import Any

import pytest
from httpx2 import AsyncClient

from tests.notes.upstream import Answer, Note, UpstreamStub
from tests.serving import Settings, assert_problem, connections_in_use, serve, serve_on_port
from tests.temporary_database import Sql


async def test_upstream_result_is_stored_as_new_version(
    client: AsyncClient, note: Note, upstream: UpstreamStub, sql: Sql
) -> None:
    response = await client.post("/notes/1/synchronize", headers={"X-Request-ID": "mine"})
    assert (response.status_code, response.headers["etag"]) == (200, '"2"')
    stored = response.json()
    assert (stored["title"], stored["body"], stored["version"]) == ("ONE", "first", 2)
    assert stored["synchronized_at"] == stored["updated_at"] > note["updated_at"]
    assert (await client.get("/notes/1")).json() == stored
    assert await sql.fetchval("SELECT title FROM note_revisions WHERE version = 2") == "ONE"
    [(request_line, headers, sent)] = upstream.received
    assert (request_line, sent) == ("POST /notes/1 HTTP/1.1", note)
    assert headers["content-type"] == "application/json"
    assert headers["x-request-id"] == "mine"


def content(**changes: Any) -> bytes:
    return json.dumps({"title": "ONE", "body": "first", **changes}).encode()


RESPONSE = b"HTTP/1.1 200 -\r\nContent-Length: %d\r\n\r\n"
COMPRESSED = RESPONSE.replace(b" -", b" -\r\nContent-Encoding: gzip")
GZIP_BOMB = gzip.compress(content(more="x" * 10_000_000))


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param((500, content()), id="status 500"),
        pytest.param((404, content()), id="status 404"),
        pytest.param((200, b"<html>"), id="not JSON"),
        pytest.param((200, b'{"title": "ONE"}'), id="missing body"),
        pytest.param((200, content(title="")), id="empty title"),
        pytest.param((200, content(title="x" * 201)), id="too long title"),
        pytest.param((200, content(body="x" * 100_001)), id="too long body"),
        pytest.param((200, content(body="\0")), id="NUL"),
        pytest.param((200, content(more="x" * 2_000_000)), id="too long response"),
        pytest.param(b"", id="connection closed"),
        pytest.param(b"\x16\x03\x01\x02\x00" * 10, id="not HTTP"),
        pytest.param(
            b"HTTP/1.1 200 -\r\n" + b"X-More: and more\r\n" * 50_000, id="endless headers"
        ),
        pytest.param(RESPONSE % len(content()) + content()[:-1], id="incomplete response"),
        pytest.param(RESPONSE % 10**12 + b" " * 10_000_000, id="incomplete response of 10 MB"),
        pytest.param(COMPRESSED % len(GZIP_BOMB) + GZIP_BOMB, id="gzip bomb"),
    ],
)
async def test_invalid_upstream_response_returns_502_and_changes_nothing(
    client: AsyncClient, note: Note, upstream: UpstreamStub, answer: Answer
) -> None:
    async def respond(note: Note) -> Answer:
        return answer

    upstream.answer = respond
    assert_problem(await client.post("/notes/1/synchronize"), 502)
    assert (await client.get("/notes/1")).json() == note
    assert len(upstream.received) == 1  # it is not retried


@pytest.mark.parametrize("status", [301, 307, 308])
async def test_upstream_redirect_is_not_followed(
    client: AsyncClient, note: Note, upstream: UpstreamStub, status: int
) -> None:
    """It could lead to an internal address that callers must not reach, or leak the note."""

    async def redirect(note: Note) -> Answer:
        return status, content()

    async with UpstreamStub() as other:
        upstream.answer, upstream.redirect_to = redirect, other.url
        assert_problem(await client.post("/notes/1/synchronize"), 502)
    assert (len(upstream.received), other.received) == (1, [])


async def test_unknown_fields_of_upstream_response_are_ignored(
    client: AsyncClient, note: Note, upstream: UpstreamStub
) -> None:
    async def respond(note: Note) -> Answer:
        return 201, content(more="x" * 1_000_000)

    upstream.answer = respond
    assert (await client.post("/notes/1/synchronize")).json()["title"] == "ONE"


async def test_unreachable_upstream_returns_502(settings: Settings, note: Note) -> None:
    async with serve(settings, upstream_url="http://127.0.0.1:9") as client:
        assert_problem(await client.post("/notes/1/synchronize"), 502)


async def test_slow_upstream_returns_504(
    settings: Settings, note: Note, upstream: UpstreamStub
) -> None:
    """The timeout is for the whole call, even if each part of it is fast enough."""

    async def respond_late(note: Note) -> Answer:
        await asyncio.sleep(0.15)
        return 200, content()

    upstream.answer, upstream.pause = respond_late, 0.15
    async with serve(settings, upstream_timeout=0.25) as client:
        started = time.monotonic()
        assert_problem(await client.post("/notes/1/synchronize"), 504)
        assert time.monotonic() - started < 1
        assert (await client.get("/notes/1")).json() == note


@pytest.mark.parametrize("change", ["PATCH", "DELETE"])
async def test_note_changed_or_deleted_meanwhile_returns_409(
    client: AsyncClient, note: Note, upstream: UpstreamStub, change: str, sql: Sql
) -> None:
    async def change_note(note: Note) -> Answer:
        body = {"title": "two"} if change == "PATCH" else None
        # This needs the only connection of the pool.
        assert (await client.request(change, "/notes/1", json=body)).is_success
        return 200, content()

    upstream.answer = change_note
    assert_problem(await client.post("/notes/1/synchronize"), 409)
    titles = await sql.fetch("SELECT title FROM note_revisions ORDER BY version")
    assert [row["title"] for row in titles] == (["one", "two"] if change == "PATCH" else [])


async def test_synchronization_is_finished_after_the_caller_has_left(
    settings: Settings, note: Note, upstream: UpstreamStub, sql: Sql
) -> None:
    """Like every request, it is either done completely or not at all."""
    called, left = asyncio.Event(), asyncio.Event()

    async def respond_late(note: Note) -> Answer:
        called.set()
        await left.wait()
        return 200, content()

    upstream.answer = respond_late
    versions = "SELECT array_agg(version ORDER BY version) FROM note_revisions"
    async with asyncio.timeout(5), serve_on_port(settings) as port:
        _, caller = await asyncio.open_connection("127.0.0.1", port)
        caller.write(b"POST /notes/1/synchronize HTTP/1.1\r\nHost: testserver\r\n\r\n")
        await called.wait()
        caller.transport.abort()
        await asyncio.sleep(0.1)  # until the service has noticed
        assert connections_in_use() == 0
        assert await sql.fetchval(versions) == [1]
        left.set()
    assert await sql.fetchval(versions) == [1, 2]
    assert await sql.fetchval("SELECT title FROM notes") == "ONE"
    assert connections_in_use() == 0


async def test_waiting_for_the_upstream_needs_no_connection(
    client: AsyncClient, upstream: UpstreamStub
) -> None:
    all_calls = asyncio.Barrier(20)

    async def respond_together(note: Note) -> Answer:
        # If a call held the pool's only connection, the others would never come here.
        await all_calls.wait()
        return 200, content()

    upstream.answer = respond_together
    for _ in range(20):
        await client.post("/notes", json={"title": "one"})
    calls = (client.post(f"/notes/{number}/synchronize") for number in range(1, 21))
    assert {response.status_code for response in await asyncio.gather(*calls)} == {200}
