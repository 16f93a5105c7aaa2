"""The rendered service, with headers in its answers that show what arrived of a request."""

import os
from typing import Any

from notes_service.main import app as service


async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
    async def send_with_headers(message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            address = (scope["client"] or ["none"])[0]
            forwarded = [b"=".join(pair) for pair in scope["headers"] if b"forwarded" in pair[0]]
            seen = {
                "client": address,
                "forwarded": b" ".join(sorted(forwarded)).decode(),
                "scheme": scope["scheme"],
                "worker": str(os.getpid()),
            }
            headers = [(f"x-seen-{name}".encode(), value.encode()) for name, value in seen.items()]
            message = {**message, "headers": [*message["headers"], *headers]}
        await send(message)

    await service(scope, receive, send_with_headers if scope["type"] == "http" else send)
