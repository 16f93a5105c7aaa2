"""Counts the function calls that requests cost, in the program that PYTHONPATH names.

test_costs.py runs it. It calls the application directly, without a server, and prints how many
functions of Python and C each request called. The figure depends on neither machine nor clock.
"""

import asyncio
import json
import sys
from typing import Any

from service import logs
from service.app import create_app
from service.settings import Settings

REQUESTS = {
    "read one": ("GET", "/notes/1", b"", b""),
    "list 10": ("GET", "/notes", b"limit=10", b""),
    "create": ("POST", "/notes", b"", b'{"title": "one"}'),
    "change": ("PATCH", "/notes/1", b"", b'{"title": "two"}'),
    "synchronize": ("POST", "/notes/1/synchronize", b"", b""),
}
Calls = dict[str, int]


async def send_request(
    app: Any, state: dict[str, Any], method: str, path: str, query: bytes, body: bytes
) -> int:
    """Send one request and return how many calls it took."""
    headers = [(b"host", b"testserver")]
    if body:
        length = str(len(body)).encode()
        headers += [(b"content-type", b"application/json"), (b"content-length", length)]
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": query,
        "root_path": "",
        "headers": headers,
        "client": ("127.0.0.1", 1),
        "server": ("testserver", 80),
        "state": dict(state),
    }
    status, calls = 0, 0

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        nonlocal status
        status = message.get("status", status)

    def count(frame: Any, event: str, argument: Any) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    sys.setprofile(count)
    await app(scope, receive, send)
    sys.setprofile(None)
    assert status in (200, 201), status
    return calls


async def count_calls(database: str, upstream: str) -> Calls:
    settings = Settings.load(
        _env_file=None, database_url=database, database_pool_size=1, upstream_url=upstream
    )
    logs.configure(settings)
    app = create_app(settings)
    calls = {}
    async with app.router.lifespan_context(app) as state:
        for _ in range(15):
            # There must be a page to list.
            await send_request(app, state or {}, *REQUESTS["create"])
        for name, request in REQUESTS.items():
            # The least of several: the first ones fill caches, and now and then a timer fires.
            calls[name] = min([await send_request(app, state or {}, *request) for _ in range(20)])
    return calls


if __name__ == "__main__":
    print(json.dumps(asyncio.run(count_calls(*sys.argv[1:]))))
