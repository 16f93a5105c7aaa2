"""A real HTTP server that answers what a test tells it to, in place of the upstream."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, Self, TypeAlias

Note: TypeAlias = dict[str, Any]
Answer: TypeAlias = tuple[int, bytes] | bytes  # bytes alone are sent as they are


async def shout(note: Note) -> Answer:
    return 200, json.dumps({"title": note["title"].upper(), "body": note["body"]}).encode()


class Upstream:
    """Answers by `answer`, with a pause before the body, and remembers what it was sent."""

    def __init__(self) -> None:
        self.received: list[tuple[str, dict[str, str], Note]] = []
        self.reset()

    def reset(self) -> None:
        self.received.clear()
        self.answer: Callable[[Note], Awaitable[Answer]] = shout
        self.elsewhere = ""
        self.pause = 0.0

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        port = self._server.sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        headers = {name.lower(): value for name, _, value in (x.partition(": ") for x in lines)}
        note = json.loads(await reader.readexactly(int(headers["content-length"])))
        self.received.append((request, headers, note))
        answer = await self.answer(note)
        with suppress(ConnectionError):  # who asked may have given up
            if isinstance(answer, bytes):
                writer.write(answer)
            else:
                await self._say(writer, *answer)
            await writer.drain()
        writer.close()

    async def _say(self, writer: asyncio.StreamWriter, status: int, body: bytes) -> None:
        head = f"HTTP/1.1 {status} -\r\nContent-Length: {len(body)}\r\nConnection: close\r\n"
        writer.write(f"{head}Location: {self.elsewhere}/notes/1\r\n\r\n".encode())
        await asyncio.sleep(self.pause)
        writer.write(body)
