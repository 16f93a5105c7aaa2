"""Hostile requests, sent byte by byte: each is refused and leaves no connection in use."""

import asyncio
import gzip
import json

import pytest

from tests.process import ServiceProcess, raw_request
from tests.temporary_database import Sql

JSON = "Content-Type: application/json"
CHUNKED = "Transfer-Encoding: chunked"
CHUNK = b"10000\r\n" + b"x" * 65_536 + b"\r\n"
SQL = "1'; DROP TABLE notes; --"
SLEEP = "1%20OR%201=(SELECT%201%20FROM%20pg_sleep(60))"
TAGS = 'If-Match: "x"' + ', "x"' * 2000


def post(
    body: bytes, *headers: str | bytes, content_type: str = JSON, length: int | None = None
) -> bytes:
    content_length = f"Content-Length: {len(body) if length is None else length}"
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
    "too large": (413, post(b"x" * 5_000_000)),
    "too large Content-Length": (413, post(b"", length=10**12)),
    "endless": (413, raw_request("POST", "/notes", JSON, CHUNKED), *[CHUNK] * 10_000),
    "endless, to a handler that reads no body": (
        413,
        raw_request("GET", "/notes", CHUNKED),
        *[CHUNK] * 10_000,
    ),
    "negative Content-Length": (400, post(b"", length=-1)),
    "Content-Length of 31 digits": (400, post(b"", length=10**30)),
    "two Content-Lengths": (400, post(b"{}", "Content-Length: 3")),
    "Content-Length and chunks": (400, post(b"0\r\n\r\n", CHUNKED)),
    "invalid chunk": (400, raw_request("POST", "/notes", JSON, CHUNKED, body=b"x\r\n\r\n")),
}
TARGETS = {
    "id 0": (422, get("/notes/0")),
    "negative id": (422, get("/notes/-1")),
    "id larger than bigint": (422, get(f"/notes/{2**63}")),
    "id of 10,000 digits": (422, get(f"/notes/{'9' * 10_000}")),
    "id that is text": (422, get("/notes/one")),
    "id with NUL": (422, get("/notes/%00")),
    "id not in UTF-8": (422, get("/notes/%ff")),
    "id not in ASCII": (400, b"GET /notes/\xff HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"),
    "id with SQL": (422, get(f"/notes/{SLEEP}")),
    "limit with SQL": (422, get(f"/notes?limit={SLEEP}")),
    "after with SQL": (422, get(f"/notes?after={SLEEP}")),
    "synchronized with SQL": (422, get(f"/notes?synchronized={SLEEP}")),
    "before with SQL": (422, get(f"/notes/1/revisions?before={SLEEP}")),
    "parameter name with SQL": (422, get(f"/notes?{SLEEP}=1")),
    "10,000 parameters": (422, get("/notes?" + "a=b&" * 10_000)),
    "path traversal": (404, get("/docs/../../../../etc/passwd")),
    "escaped path traversal": (404, get("/docs/..%2f..%2f..%2fetc%2fpasswd")),
}
HEADERS = {
    "unknown host": (400, get("/notes", "Host: evil.example")),
    "no host": (400, get("/notes").replace(b"Host: 127.0.0.1\r\n", b"")),
    "host with SQL": (400, get("/notes", f"Host: {SQL}")),
    "If-Match not in ASCII": (412, raw_request("DELETE", "/notes/1", b"If-Match: \x80\xff")),
    "If-Match with SQL": (412, raw_request("DELETE", "/notes/1", f"If-Match: {SQL}")),
    "If-Match of 10 kB": (412, raw_request("DELETE", "/notes/1", TAGS)),
    "If-Match of 20,000 commas": (
        412,
        raw_request("DELETE", "/notes/1", f"If-Match: {', ' * 20_000}x"),
    ),
    "request id of 8 kB": (404, get("/none", f"X-Request-ID: {'x' * 8192}")),
    "request id with SQL": (404, get("/none", f"X-Request-ID: {SQL}")),
    "request id not in ASCII": (404, get("/none", b"X-Request-ID: \x80\xff")),
    "request id with NUL": (400, get("/none", b"X-Request-ID: a\0b")),
    "request id with a control character": (400, get("/none", b"X-Request-ID: a\x1b[2Jb")),
    "request id on two lines": (400, get("/none", b"X-Request-ID: a\r\n b")),
    "endless headers": (400, get("/notes", *["X-More: and more"] * 10_000)),
    "unsupported method": (405, raw_request("TRACE", "/notes")),
    "unknown method": (400, raw_request("DROP", "/notes")),
    "not HTTP": (400, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" * 10),
}


@pytest.fixture
async def note(sql: Sql) -> None:
    await sql.execute("INSERT INTO notes (title, body) VALUES ('one', '')")


async def uses_no_connection(service: ServiceProcess, sql: Sql) -> bool:
    """Return whether both the server and the service's metrics show no connection in use."""
    active = await sql.fetchval(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
        " AND pid <> pg_backend_pid() AND application_name <> '' AND state <> 'idle'"
    )
    metrics = await service.send(get("/metrics"))
    return active == 0 and "\ndatabase_pool_in_use 0.0\n" in metrics.text


@pytest.mark.parametrize(
    ("status", "parts"),
    [
        pytest.param(status, parts, id=name)
        for name, (status, *parts) in {**BODIES, **TARGETS, **HEADERS}.items()
    ],
)
async def test_hostile_request_is_refused_and_holds_no_connection(
    service_process: ServiceProcess, sql: Sql, note: None, status: int, parts: list[bytes]
) -> None:
    response = await service_process.send(*parts)
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    assert response.json()["status"] == status
    assert len(response.content) < 1000
    assert await uses_no_connection(service_process, sql)
    assert await sql.fetchval("SELECT array_agg(title) FROM notes") == ["one"]
    assert (await service_process.send(get("/notes/1"))).status_code == 200


async def test_incomplete_body_is_ignored(service_process: ServiceProcess, sql: Sql) -> None:
    _, writer = await asyncio.open_connection("127.0.0.1", service_process.port)
    writer.write(post(b'{"title": "one"}', length=17))
    await asyncio.sleep(0.1)  # until the service has read it
    writer.close()
    assert await uses_no_connection(service_process, sql)
    assert await sql.fetchval("SELECT count(*) FROM notes") == 0
    assert "unexpected" not in "".join(service_process.output)


async def test_sql_in_a_note_is_stored_as_text(service_process: ServiceProcess, sql: Sql) -> None:
    response = await service_process.send(post(json.dumps({"title": SQL, "body": SQL}).encode()))
    assert response.status_code == 201
    assert await sql.fetchval("SELECT array[title, body] FROM notes") == [SQL, SQL]
