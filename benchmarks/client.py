"""A user who keeps one connection and waits for slow answers, which wrk cannot do in bursts."""

import asyncio
from typing import Self
from urllib.parse import urlsplit


class User:
    """An async context manager that sends requests one after the other."""

    def __init__(self, url: str) -> None:
        self._address = urlsplit(url)

    async def __aenter__(self) -> Self:
        host, port = self._address.hostname, self._address.port
        self._reader, self._writer = await asyncio.open_connection(host, port)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._writer.close()

    async def synchronize(self, note: int) -> int:
        """Ask the service to synchronize a note; return the status once the answer has arrived."""
        path, host = f"/notes/{note}/synchronize", self._address.netloc
        self._writer.write(f"POST {path} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        head = (await self._reader.readuntil(b"\r\n\r\n")).decode().lower()
        await self._reader.readexactly(int(head.partition("content-length: ")[2].split()[0]))
        return int(head.split()[1])
