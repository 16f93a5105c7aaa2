"""A TCP proxy between a service and its database, which a test can make fail."""

import asyncio
from contextlib import suppress
from typing import Any

from tests.support.network import free_port
from tests.support.waiting import cancel


class TcpProxy:
    """Forwards every connection to `server_port`, from one port that does not change once it is open."""

    def __init__(self) -> None:
        self.port = 0  # until it is opened
        self.server_port = 0
        self._delivering = asyncio.Event()
        self._connections: set[asyncio.Task[Any]] = set()
        self._abandoned: list[asyncio.StreamWriter] = []
        self._listener: asyncio.Server | None = None

    async def open(self, server_port: int) -> None:
        """Accept connections, and forward new ones to `server_port`."""
        self.server_port = server_port
        self._delivering.set()
        if self._listener is None:
            # Not earlier, or of many proxies that are made together two may choose the same port.
            self.port = self.port or free_port()
            self._listener = await asyncio.start_server(self._forward, "127.0.0.1", self.port)

    def refuse(self) -> None:
        """Refuse new connections."""
        if self._listener:
            self._listener.close()
        self._listener = None

    def hold(self) -> None:
        """Deliver nothing until `deliver`: a new connection is neither answered nor refused."""
        self._delivering.clear()

    def deliver(self) -> None:
        """Deliver again, first of all what was held, as TCP would."""
        self._delivering.set()

    async def forget(self) -> None:
        """Lose every connection as a firewall does: only the server learns that it is over."""
        connections, self._connections = self._connections, set()
        await cancel(connections)

    async def close(self) -> None:
        """Refuse new connections and close the others."""
        self.refuse()
        await cancel(self._connections)
        for writer in self._abandoned:
            writer.close()
        self._abandoned.clear()

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        writers = [writer]
        directions: set[asyncio.Task[None]] = set()
        try:
            await self._delivering.wait()
            first = await self._greet(reader, writer)
            from_server, to_server = await asyncio.open_connection("127.0.0.1", self.server_port)
            writers.append(to_server)
            to_server.write(first)
            directions = {
                asyncio.create_task(self._copy(reader, to_server)),
                asyncio.create_task(self._copy(from_server, writer)),
            }
            await asyncio.wait(directions, return_when=asyncio.FIRST_COMPLETED)
        except (OSError, EOFError, asyncio.CancelledError):
            pass
        finally:
            if task not in self._connections:  # forgotten
                self._abandoned.append(writers.pop(0))
            self._connections.discard(task)
            for end in writers:
                end.close()
            await cancel(directions)

    async def _greet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
        """Talk to a new client, and return what to forward first."""
        return b""

    async def _copy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(65536):
                await self._delivering.wait()
                writer.write(data)
                await writer.drain()
        await self._delivering.wait()
