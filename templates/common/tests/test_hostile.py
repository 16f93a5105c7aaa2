"""Hostile requests, sent byte by byte: each is refused and leaves no connection in use."""

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

from tests.process import ServiceProcess, raw_request
from tests.temporary_database import Sql

CHUNKED = "Transfer-Encoding: chunked"
CHUNK = b"10000\r\n" + b"x" * 65_536 + b"\r\n"
SQL = "1'; DROP TABLE alembic_version; --"
READY = "/health/ready"


def post(*headers: str | bytes, body: bytes = b"") -> bytes:
    return raw_request("POST", READY, *headers, body=body)


def get(target: str, *headers: str | bytes) -> bytes:
    return raw_request("GET", target, *headers)


BODIES = {
    "too large": (413, post("Content-Length: 5000000", body=b"x" * 5_000_000)),
    "too large Content-Length": (413, post(f"Content-Length: {10**12}")),
    "endless": (413, post(CHUNKED), *[CHUNK] * 10_000),
    "endless, to a handler that reads no body": (413, get(READY, CHUNKED), *[CHUNK] * 10_000),
    "negative Content-Length": (400, post("Content-Length: -1")),
    "Content-Length of 31 digits": (400, post(f"Content-Length: {10**30}")),
    "two Content-Lengths": (400, post("Content-Length: 2", "Content-Length: 3", body=b"{}")),
    "Content-Length and chunks": (400, post("Content-Length: 5", CHUNKED, body=b"0\r\n\r\n")),
    "invalid chunk": (400, post(CHUNKED, body=b"x\r\n\r\n")),
}
TARGETS = {
    "path not in ASCII": (400, b"GET /\xff HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"),
    "path with NUL": (404, get("/%00")),
    "path not in UTF-8": (404, get("/%ff")),
    "path with SQL": (404, get("/1'%3B%20DROP%20TABLE%20alembic_version%3B%20--")),
    "path of 10,000 digits": (404, get(f"/{'9' * 10_000}")),
    "path traversal": (404, get("/docs/../../../../etc/passwd")),
    "escaped path traversal": (404, get("/docs/..%2f..%2f..%2fetc%2fpasswd")),
}
HEADERS = {
    "unknown host": (400, get("/docs", "Host: evil.example")),
    "no host": (400, get("/docs").replace(b"Host: 127.0.0.1\r\n", b"")),
    "host with SQL": (400, get("/docs", f"Host: {SQL}")),
    "request id of 8 kB": (404, get("/none", f"X-Request-ID: {'x' * 8192}")),
    "request id with SQL": (404, get("/none", f"X-Request-ID: {SQL}")),
    "request id not in ASCII": (404, get("/none", b"X-Request-ID: \x80\xff")),
    "request id with NUL": (400, get("/none", b"X-Request-ID: a\0b")),
    "request id with a control character": (400, get("/none", b"X-Request-ID: a\x1b[2Jb")),
    "request id on two lines": (400, get("/none", b"X-Request-ID: a\r\n b")),
    "endless headers": (400, get(READY, *["X-More: and more"] * 10_000)),
    "unsupported method": (405, raw_request("TRACE", READY)),
    "unknown method": (400, raw_request("DROP", READY)),
    "not HTTP": (400, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" * 10),
}


def cases(*requests: Mapping[str, tuple[Any, ...]]) -> list[pytest.ParameterSet]:
    """Return the status and the parts of each request, for `parametrize`."""
    return [
        pytest.param(status, parts, id=name)
        for group in requests
        for name, (status, *parts) in group.items()
    ]


async def assert_no_connection_is_used(service: ServiceProcess, sql: Sql) -> None:
    """Neither the server nor the service's metrics show a connection in use."""
    active = await sql.fetchval(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
        " AND pid <> pg_backend_pid() AND application_name <> '' AND state <> 'idle'"
    )
    assert active == 0
    metrics = await service.send(get("/metrics"))
    assert "\ndatabase_pool_in_use 0.0\n" in metrics.text


async def assert_refused(
    service: ServiceProcess, sql: Sql, status: int, parts: list[bytes]
) -> None:
    """The answer is a short problem, and no connection is in use."""
    response = await service.send(*parts)
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    assert response.json()["status"] == status
    assert len(response.content) < 1000
    await assert_no_connection_is_used(service, sql)


@pytest.mark.parametrize(("status", "parts"), cases(BODIES, TARGETS, HEADERS))
async def test_hostile_request_is_refused_and_holds_no_connection(
    service_process: ServiceProcess, sql: Sql, status: int, parts: list[bytes]
) -> None:
    await assert_refused(service_process, sql, status, parts)
    assert (await service_process.send(get(READY))).status_code == 200


async def test_incomplete_body_is_ignored(service_process: ServiceProcess, sql: Sql) -> None:
    _, writer = await asyncio.open_connection("127.0.0.1", service_process.port)
    writer.write(post("Content-Length: 17", body=b"{}"))
    await asyncio.sleep(0.1)  # until the service has read it
    writer.close()
    await assert_no_connection_is_used(service_process, sql)
    assert "unexpected" not in "".join(service_process.output)
