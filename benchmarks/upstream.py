"""A stub of the upstream, which takes as long as it is asked to."""

import asyncio
from typing import Any

seconds = 0.0


async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Answer with the note that was sent, after some time; `PUT /0.05` sets how many seconds."""
    global seconds
    body, more = b"", True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    if scope["method"] == "PUT":
        seconds = float(scope["path"].removeprefix("/"))
    elif scope["method"] == "POST" and seconds:
        await asyncio.sleep(seconds)
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
    ]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})
