"""What test_live.py puts around a rendered service, and what it has that service call."""

import asyncio
import json
import os
from typing import Any


async def upstream(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Answer a note as it is with a longer body, after as many seconds as its title asks for."""
    if scope["type"] != "http":
        return
    body, more = b"", True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    note = json.loads(body)
    if note["title"].startswith("wait "):
        await asyncio.sleep(float(note["title"].split()[1]))
    content = {"title": note["title"], "body": f"{note['body']} synchronized"}
    headers = [(b"content-type", b"application/json")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": json.dumps(content).encode()})


async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Serve the rendered service, and tell in headers what arrived of a request."""
    from notes_service.main import app as service

    async def telling(message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            address = (scope["client"] or ["none"])[0]
            headers = [b"=".join(pair) for pair in scope["headers"] if b"forwarded" in pair[0]]
            seen = {
                "client": address,
                "forwarded": b" ".join(sorted(headers)).decode(),
                "scheme": scope["scheme"],
                "worker": str(os.getpid()),
            }
            told = [(f"x-seen-{name}".encode(), value.encode()) for name, value in seen.items()]
            message = {**message, "headers": [*message["headers"], *told]}
        await send(message)

    await service(scope, receive, telling if scope["type"] == "http" else send)
