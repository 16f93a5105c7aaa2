"""A proxy in front of PostgreSQL, which notes what clients ask and can go away."""

import asyncio
import struct

from sqlalchemy import make_url

from scripts.postgres import free_port

TLS_REQUEST = 80877103
# https://www.postgresql.org/docs/current/protocol-message-formats.html


class Wire:
    """Passes on what clients and the server on `url` say, from `start` to `stop`."""

    def __init__(self, url: str) -> None:
        server = make_url(url)
        self._address = (server.host or "localhost", server.port or 5432)
        self._port = free_port()
        self._clients: set[asyncio.Task[None]] = set()
        here = server.set(host="127.0.0.1", port=self._port)
        self.url = here.difference_update_query(["sslmode"]).render_as_string(hide_password=False)
        self.startups: list[bytes] = []
        self.prepared: set[str] = set()
        self._statements: list[str] = []
        self._silent = False

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self._port)

    async def stop(self) -> None:
        """Refuse new connections and cut the present ones."""
        self._server.close()
        for client in self._clients:
            client.cancel()
        await asyncio.gather(*self._clients, return_exceptions=True)

    def fall_silent(self) -> None:
        """Lose what either side says from now on, until `speak`: nobody is told."""
        self._silent = True

    def speak(self) -> None:
        self._silent = False

    def statements(self) -> list[str]:
        """Return the first words of what was executed since last asked."""
        statements, self._statements = self._statements, []
        return [text.split(maxsplit=1)[0].rstrip(";") for text in statements]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._clients.add(task)
        server_reader, server_writer = await asyncio.open_connection(*self._address)
        answers = asyncio.create_task(self._answer(server_reader, writer))
        try:
            await self._ask(reader, writer, server_writer)
        except (asyncio.CancelledError, asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self._clients.discard(task)
            answers.cancel()
            writer.close()
            server_writer.close()

    async def _answer(self, reader: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            if not self._silent:
                client.write(data)
        client.close()

    async def _ask(
        self,
        reader: asyncio.StreamReader,
        client: asyncio.StreamWriter,
        server: asyncio.StreamWriter,
    ) -> None:
        header = await reader.readexactly(8)
        if struct.unpack("!ii", header)[1] == TLS_REQUEST:
            client.write(b"N")
            header = await reader.readexactly(8)
        startup = await reader.readexactly(struct.unpack("!i", header[:4])[0] - 8)
        self.startups.append(startup)
        server.write(header + startup)
        texts: dict[str, str] = {}  # of the prepared statements
        portals: dict[str, str] = {}  # which are statements with their parameters bound
        while True:
            header = await reader.readexactly(5)
            kind, size = struct.unpack("!ci", header)
            message = await reader.readexactly(size - 4)
            if self._silent:
                continue
            server.write(header + message)
            name, *rest = message.decode(errors="replace").split("\0", 2)
            if kind == b"Q":
                self._statements.append(name)
            elif kind == b"P":
                texts[name] = rest[0]
                self.prepared.add(name)
            elif kind == b"B":
                portals[name] = texts[rest[0]]
            elif kind == b"E":
                self._statements.append(portals[name])
