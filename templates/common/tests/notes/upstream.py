"""A real HTTP server in place of the upstream, whose answers the test decides."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, Self, TypeAlias

Note: TypeAlias = dict[str, Any]
Answer: TypeAlias = tuple[int, bytes] | bytes  # a status and a body, or all bytes of the response


async def upper_case_title(note: Note) -> Answer:
    return 200, json.dumps({"title": note["title"].upper(), "body": note["body"]}).encode()


class UpstreamStub:
    """Answers each request with what `answer` returns for the note, and records the request."""

    def __init__(self) -> None:
        self.received: list[tuple[str, dict[str, str], Note]] = []  # request line, headers, note
        self.reset()

    def reset(self) -> None:
        self.received.clear()
        self.answer: Callable[[Note], Awaitable[Answer]] = upper_case_title
        self.redirect_to = ""  # the base URL in the response's Location
        self.pause = 0.0  # seconds between the headers and the body

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        port = self._server.sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        request_line, *lines = head.split("\r\n")
        headers = {name.lower(): value for name, _, value in (x.partition(": ") for x in lines)}
        note = json.loads(await reader.readexactly(int(headers["content-length"])))
        self.received.append((request_line, headers, note))
        answer = await self.answer(note)
        with suppress(ConnectionError):  # the service may have timed out
            if isinstance(answer, bytes):
                writer.write(answer)
            else:
                await self._respond(writer, *answer)
            await writer.drain()
        writer.close()

    async def _respond(self, writer: asyncio.StreamWriter, status: int, body: bytes) -> None:
        head = f"HTTP/1.1 {status} -\r\nContent-Length: {len(body)}\r\nConnection: close\r\n"
        writer.write(f"{head}Location: {self.redirect_to}/notes/1\r\n\r\n".encode())
        await asyncio.sleep(self.pause)
        writer.write(body)
