"""Hostile notes, ids and tags, sent byte by byte: all are refused and hold no connection."""

import gzip
import json

import pytest

from tests.process import ServiceProcess, raw_request
from tests.temporary_database import Sql
from tests.test_hostile import assert_refused, cases

JSON = "Content-Type: application/json"
SQL = "1'; DROP TABLE notes; --"
SLEEP = "1%20OR%201=(SELECT%201%20FROM%20pg_sleep(60))"
TAGS = 'If-Match: "x"' + ', "x"' * 2000


def post(body: bytes, *headers: str | bytes, content_type: str = JSON) -> bytes:
    content_length = f"Content-Length: {len(body)}"
    return raw_request("POST", "/notes", content_type, content_length, *headers, body=body)


def get(target: str, *headers: str | bytes) -> bytes:
    return raw_request("GET", target, *headers)


BODIES = {
    "broken JSON": (422, post(b'{"title": "one"')),
    "not JSON": (422, post(b"<note/>")),
    "no media type": (422, post(b'{"title": "one"}', content_type="X-Type: application/json")),
    "another media type": (
        422,
        post(b'{"title": "one"}', content_type="Content-Type: application/xml"),
    ),
    "form": (
        422,
        post(b"title=one", content_type="Content-Type: application/x-www-form-urlencoded"),
    ),
    "multipart without boundary": (
        422,
        post(b"--", content_type="Content-Type: multipart/form-data"),
    ),
    "another charset": (
        422,
        post('{"title": "é"}'.encode("latin-1"), content_type=f"{JSON}; charset=x"),
    ),
    "10,000 objects deep": (422, post(b'{"title":' * 10_000 + b"1" + b"}" * 10_000)),
    "10,000 lists deep": (422, post(b"[" * 10_000 + b"]" * 10_000)),
    "NaN": (422, post(b'{"title": "one", "body": NaN}')),
    "infinity": (422, post(b'{"title": -Infinity}')),
    "number of 100,000 digits": (422, post(b'{"title": ' + b"9" * 100_000 + b"}")),
    "number larger than every float": (422, post(b'{"title": 1e999999999}')),
    "surrogate": (422, post(b'{"title": "\\ud83d"}')),
    "surrogate as field name": (422, post(b'{"title": "one", "\\ud83d": 1}')),
    "escaped NUL": (422, post(b'{"title": "\\u0000"}')),
    "plain NUL": (422, post(b'{"title": "\0"}')),
    "gzip bomb": (
        422,
        post(gzip.compress(b'{"title": "' + b"x" * 10_000_000), "Content-Encoding: gzip"),
    ),
}
TARGETS = {
    "id 0": (422, get("/notes/0")),
    "negative id": (422, get("/notes/-1")),
    "id larger than bigint": (422, get(f"/notes/{2**63}")),
    "id of 10,000 digits": (422, get(f"/notes/{'9' * 10_000}")),
    "id that is text": (422, get("/notes/one")),
    "id with NUL": (422, get("/notes/%00")),
    "id not in UTF-8": (422, get("/notes/%ff")),
    "id with SQL": (422, get(f"/notes/{SLEEP}")),
    "limit with SQL": (422, get(f"/notes?limit={SLEEP}")),
    "after with SQL": (422, get(f"/notes?after={SLEEP}")),
    "synchronized with SQL": (422, get(f"/notes?synchronized={SLEEP}")),
    "before with SQL": (422, get(f"/notes/1/revisions?before={SLEEP}")),
    "parameter name with SQL": (422, get(f"/notes?{SLEEP}=1")),
    "10,000 parameters": (422, get("/notes?" + "a=b&" * 10_000)),
}
HEADERS = {
    "If-Match not in ASCII": (412, raw_request("DELETE", "/notes/1", b"If-Match: \x80\xff")),
    "If-Match with SQL": (412, raw_request("DELETE", "/notes/1", f"If-Match: {SQL}")),
    "If-Match of 10 kB": (412, raw_request("DELETE", "/notes/1", TAGS)),
    "If-Match of 20,000 commas": (
        412,
        raw_request("DELETE", "/notes/1", f"If-Match: {', ' * 20_000}x"),
    ),
}


@pytest.fixture
async def note(sql: Sql) -> None:
    await sql.execute("INSERT INTO notes (title, body) VALUES ('one', '')")


@pytest.mark.parametrize(("status", "parts"), cases(BODIES, TARGETS, HEADERS))
async def test_hostile_request_is_refused_and_holds_no_connection(
    service_process: ServiceProcess, sql: Sql, note: None, status: int, parts: list[bytes]
) -> None:
    await assert_refused(service_process, sql, status, parts)
    assert await sql.fetchval("SELECT array_agg(title) FROM notes") == ["one"]
    assert (await service_process.send(get("/notes/1"))).status_code == 200


async def test_sql_in_a_note_is_stored_as_text(service_process: ServiceProcess, sql: Sql) -> None:
    response = await service_process.send(post(json.dumps({"title": SQL, "body": SQL}).encode()))
    assert response.status_code == 201
    assert await sql.fetchval("SELECT array[title, body] FROM notes") == [SQL, SQL]
