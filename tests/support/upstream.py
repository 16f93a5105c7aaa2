"""A stub of the upstream service that a rendered service synchronizes its notes with."""

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, TypeAlias

# A note and the id of the request, to the title and body of the answer.
Answer: TypeAlias = Callable[[dict[str, Any], str], Awaitable[dict[str, Any]]]


class UpstreamStub:
    """Answers each synchronization with the JSON that `answer` returns, or with raw `response`."""

    def __init__(self, answer: Answer | None = None) -> None:
        self._answer = answer
        self.response: bytes | None = None  # the whole response; if empty, none comes
        self.port = 0

    async def start(self, port: int = 0) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", port)
        self.port = self._server.sockets[0].getsockname()[1]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def close(self) -> None:
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, EOFError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
            size = int(head.partition("content-length: ")[2].split()[0])
            note = json.loads(await reader.readexactly(size))
            if self.response is not None:
                writer.write(self.response)
                if not self.response:
                    await reader.read()  # until the service hangs up
            elif self._answer:
                request_id = head.partition("x-request-id: ")[2].split()[0]
                body = json.dumps(await self._answer(note, request_id)).encode()
                writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\n")
                writer.write(b"Content-Type: application/json\r\n")
                writer.write(b"Content-Length: %d\r\n\r\n" % len(body) + body)
            await writer.drain()
        writer.close()


async def append_to_body(note: dict[str, Any], request_id: str) -> dict[str, Any]:
    """Return the note with a longer body, after as many seconds as a title "wait 4" asks for."""
    if note["title"].startswith("wait "):
        await asyncio.sleep(float(note["title"].split()[1]))
    return {"title": note["title"], "body": f"{note['body']} synchronized"}


async def serve(port: int) -> None:
    await UpstreamStub(append_to_body).start(port)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1])))
