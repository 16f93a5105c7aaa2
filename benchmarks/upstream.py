"""A stub of the upstream, which takes as long as it is told to."""

import asyncio
from typing import Any

pause = 0.0


async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Answer the note that is sent as it is, after a pause; `PUT /0.05` sets how long."""
    global pause
    body, more = b"", True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    if scope["method"] == "PUT":
        pause = float(scope["path"].removeprefix("/"))
    elif scope["method"] == "POST" and pause:
        await asyncio.sleep(pause)
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
    ]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})
