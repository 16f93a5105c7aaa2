"""What no honest client sends, told to the service as it is: refused, and nothing is held by it."""

import asyncio
import gzip
import json

import pytest

from tests.databases import Sql
from tests.process import Process, request

JSON = "Content-Type: application/json"
CHUNKED = "Transfer-Encoding: chunked"
CHUNK = b"10000\r\n" + b"x" * 65_536 + b"\r\n"
SQL = "1'; DROP TABLE notes; --"
SLEEP = "1%20OR%201=(SELECT%201%20FROM%20pg_sleep(60))"
TAGS = 'If-Match: "x"' + ', "x"' * 2000


def post(body: bytes, *headers: str | bytes, kind: str = JSON, length: int | None = None) -> bytes:
    said = len(body) if length is None else length
    return request("POST", "/notes", kind, f"Content-Length: {said}", *headers, body=body)


def get(target: str, *headers: str | bytes) -> bytes:
    return request("GET", target, *headers)


BODIES = {
    "broken JSON": (422, post(b'{"title": "one"')),
    "no JSON": (422, post(b"<note/>")),
    "no type": (422, post(b'{"title": "one"}', kind="X-Type: application/json")),
    "another type": (422, post(b'{"title": "one"}', kind="Content-Type: application/xml")),
    "a form": (422, post(b"title=one", kind="Content-Type: application/x-www-form-urlencoded")),
    "parts without bounds": (422, post(b"--", kind="Content-Type: multipart/form-data")),
    "another charset": (422, post('{"title": "é"}'.encode("latin-1"), kind=f"{JSON}; charset=x")),
    "10,000 objects deep": (422, post(b'{"title":' * 10_000 + b"1" + b"}" * 10_000)),
    "10,000 lists deep": (422, post(b"[" * 10_000 + b"]" * 10_000)),
    "NaN": (422, post(b'{"title": "one", "body": NaN}')),
    "infinity": (422, post(b'{"title": -Infinity}')),
    "a number of 100,000 digits": (422, post(b'{"title": ' + b"9" * 100_000 + b"}")),
    "a number past every float": (422, post(b'{"title": 1e999999999}')),
    "half of a character": (422, post(b'{"title": "\\ud83d"}')),
    "half of a character as a name": (422, post(b'{"title": "one", "\\ud83d": 1}')),
    "NUL": (422, post(b'{"title": "\\u0000"}')),
    "NUL as it is": (422, post(b'{"title": "\0"}')),
    "a bomb": (
        422,
        post(gzip.compress(b'{"title": "' + b"x" * 10_000_000), "Content-Encoding: gzip"),
    ),
    "too large": (413, post(b"x" * 5_000_000)),
    "too large, it says": (413, post(b"", length=10**12)),
    "without end": (413, request("POST", "/notes", JSON, CHUNKED), *[CHUNK] * 10_000),
    "without end, for nobody": (413, request("GET", "/notes", CHUNKED), *[CHUNK] * 10_000),
    "a length below nothing": (400, post(b"", length=-1)),
    "a length past every number": (400, post(b"", length=10**30)),
    "two lengths": (400, post(b"{}", "Content-Length: 3")),
    "a length and chunks": (400, post(b"0\r\n\r\n", CHUNKED)),
    "chunks that are none": (400, request("POST", "/notes", JSON, CHUNKED, body=b"x\r\n\r\n")),
}
TARGETS = {
    "id 0": (422, get("/notes/0")),
    "id below 0": (422, get("/notes/-1")),
    "id past bigint": (422, get(f"/notes/{2**63}")),
    "id of 10,000 digits": (422, get(f"/notes/{'9' * 10_000}")),
    "id that is text": (422, get("/notes/one")),
    "id that is NUL": (422, get("/notes/%00")),
    "id not in UTF-8": (422, get("/notes/%ff")),
    "id not in ASCII": (400, b"GET /notes/\xff HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"),
    "id with SQL": (422, get(f"/notes/{SLEEP}")),
    "limit with SQL": (422, get(f"/notes?limit={SLEEP}")),
    "after with SQL": (422, get(f"/notes?after={SLEEP}")),
    "synchronized with SQL": (422, get(f"/notes?synchronized={SLEEP}")),
    "before with SQL": (422, get(f"/notes/1/revisions?before={SLEEP}")),
    "a name with SQL": (422, get(f"/notes?{SLEEP}=1")),
    "10,000 parameters": (422, get("/notes?" + "a=b&" * 10_000)),
    "another's file": (404, get("/docs/../../../../etc/passwd")),
    "another's file, hidden": (404, get("/docs/..%2f..%2f..%2fetc%2fpasswd")),
}
HEADERS = {
    "another host": (400, get("/notes", "Host: evil.example")),
    "no host": (400, get("/notes").replace(b"Host: 127.0.0.1\r\n", b"")),
    "host with SQL": (400, get("/notes", f"Host: {SQL}")),
    "precondition of bytes": (412, request("DELETE", "/notes/1", b"If-Match: \x80\xff")),
    "precondition with SQL": (412, request("DELETE", "/notes/1", f"If-Match: {SQL}")),
    "precondition of 10 kB": (412, request("DELETE", "/notes/1", TAGS)),
    "precondition of commas": (412, request("DELETE", "/notes/1", f"If-Match: {', ' * 20_000}x")),
    "request id of 8 kB": (404, get("/none", f"X-Request-ID: {'x' * 8192}")),
    "request id with SQL": (404, get("/none", f"X-Request-ID: {SQL}")),
    "request id not in ASCII": (404, get("/none", b"X-Request-ID: \x80\xff")),
    "request id with NUL": (400, get("/none", b"X-Request-ID: a\0b")),
    "request id with an escape": (400, get("/none", b"X-Request-ID: a\x1b[2Jb")),
    "request id on two lines": (400, get("/none", b"X-Request-ID: a\r\n b")),
    "headers without end": (400, get("/notes", *["X-More: and more"] * 10_000)),
    "another method": (405, request("TRACE", "/notes")),
    "a method that is none": (400, request("DROP", "/notes")),
    "no HTTP": (400, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" * 10),
}


@pytest.fixture
async def note(sql: Sql) -> None:
    await sql.execute("INSERT INTO notes (title, body) VALUES ('one', '')")


async def is_idle(process: Process, sql: Sql) -> bool:
    """Tell whether the service holds no connection, by itself and by the server."""
    held = await sql.fetchval(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
        " AND pid <> pg_backend_pid() AND application_name <> '' AND state <> 'idle'"
    )
    return (
        held == 0 and "\ndatabase_pool_in_use 0.0\n" in (await process.tell(get("/metrics"))).text
    )


@pytest.mark.parametrize(
    ("status", "parts"),
    [
        pytest.param(status, parts, id=name)
        for name, (status, *parts) in {**BODIES, **TARGETS, **HEADERS}.items()
    ],
)
async def test_it_is_refused_with_a_problem_and_holds_nothing(
    process: Process, sql: Sql, note: None, status: int, parts: list[bytes]
) -> None:
    answer = await process.tell(*parts)
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["status"] == status
    assert len(answer.content) < 1000
    assert await is_idle(process, sql)
    assert await sql.fetchval("SELECT array_agg(title) FROM notes") == ["one"]
    assert (await process.tell(get("/notes/1"))).status_code == 200


async def test_a_body_that_breaks_off_is_not_taken_for_a_whole(process: Process, sql: Sql) -> None:
    _, caller = await asyncio.open_connection("127.0.0.1", process.port)
    caller.write(post(b'{"title": "one"}', length=17))
    await asyncio.sleep(0.1)  # for it to arrive
    caller.close()
    assert await is_idle(process, sql)
    assert await sql.fetchval("SELECT count(*) FROM notes") == 0
    assert "unexpected" not in "".join(process.lines)


async def test_sql_is_text_like_any_other(process: Process, sql: Sql) -> None:
    answer = await process.tell(post(json.dumps({"title": SQL, "body": SQL}).encode()))
    assert answer.status_code == 201
    assert await sql.fetchval("SELECT array[title, body] FROM notes") == [SQL, SQL]
