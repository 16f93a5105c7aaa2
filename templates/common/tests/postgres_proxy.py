"""A TCP proxy in front of PostgreSQL that records statements and can be made to fail."""

import asyncio
import struct
from collections.abc import Callable
from contextlib import closing
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

import asyncpg

from scripts.postgres import free_port

# The message formats: https://www.postgresql.org/docs/current/protocol-message-formats.html
SSL_REQUEST = 80877103
QUERY, PARSE, BIND, EXECUTE = b"Q", b"P", b"B", b"E"


class LocatedConnection(asyncpg.Connection):
    """A connection with the address of its server, which asyncpg tells the connection's class."""

    def __init__(
        self, protocol: Any, transport: asyncio.Transport, *arguments: Any, **options: Any
    ) -> None:
        super().__init__(protocol, transport, *arguments, **options)
        # The path of a socket, or a tuple that begins with host and port.
        self.address: str | tuple[Any, ...] = transport.get_extra_info("peername")


class PostgresProxy:
    """Forwards messages between clients and the server of `database_url` while it is started.

    If that URL names several servers, this is the one that asyncpg chooses. Clients connect to
    `url`. The proxy offers no TLS. `on_statement` is called with the SQL of
    each statement when a client executes it.
    """

    def __init__(
        self, database_url: str, on_statement: Callable[[str], None] = lambda statement: None
    ) -> None:
        self._database_url = database_url
        self._port = free_port()
        self._clients: set[asyncio.Task[None]] = set()
        self._drops_messages = False
        self._on_statement = on_statement
        self.startup_messages: list[bytes] = []
        self.statements: list[str] = []  # the SQL of all executed statements, in their order
        self.prepared_names: set[str] = set()  # "" is the unnamed prepared statement

    @property
    def url(self) -> str:
        url = urlsplit(self._database_url)
        user, at, _ = url.netloc.rpartition("@")
        parameters = [
            (name, value)
            for name, value in parse_qsl(url.query)
            if name not in ("host", "port") and not name.startswith("ssl")
        ]
        return url._replace(
            netloc=f"{user}{at}127.0.0.1:{self._port}", query=urlencode(parameters, quote_via=quote)
        ).geturl()

    async def start(self) -> None:
        connection = await asyncpg.connect(
            self._database_url, connection_class=LocatedConnection, timeout=10
        )
        self._address = connection.address
        await connection.close()
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self._port)

    async def stop(self) -> None:
        """Close all connections and refuse new ones."""
        self._server.close()
        for client in self._clients:
            client.cancel()
        await asyncio.gather(*self._clients, return_exceptions=True)

    def start_dropping(self) -> None:
        """Drop all messages of both sides, whose connections stay open."""
        self._drops_messages = True

    def stop_dropping(self) -> None:
        self._drops_messages = False

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._clients.add(task)
        try:
            with closing(writer):
                server_reader, server_writer = await self._connect()
                with closing(server_writer):
                    responses = asyncio.create_task(self._forward_responses(server_reader, writer))
                    try:
                        await self._forward_requests(reader, writer, server_writer)
                    finally:
                        responses.cancel()
        except (asyncio.CancelledError, asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self._clients.discard(task)

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if isinstance(self._address, str):
            return await asyncio.open_unix_connection(self._address)
        return await asyncio.open_connection(*self._address[:2])

    async def _forward_responses(
        self, server: asyncio.StreamReader, client: asyncio.StreamWriter
    ) -> None:
        while data := await server.read(65536):
            if not self._drops_messages:
                client.write(data)
        client.close()

    async def _forward_requests(
        self,
        reader: asyncio.StreamReader,
        client: asyncio.StreamWriter,
        server: asyncio.StreamWriter,
    ) -> None:
        header = await reader.readexactly(8)
        if struct.unpack("!ii", header)[1] == SSL_REQUEST:
            client.write(b"N")
            header = await reader.readexactly(8)
        startup = await reader.readexactly(struct.unpack("!i", header[:4])[0] - 8)
        self.startup_messages.append(startup)
        server.write(header + startup)
        prepared: dict[str, str] = {}  # the SQL of each prepared statement, by its name
        portals: dict[str, str] = {}  # a portal is a prepared statement with its values bound
        while True:
            header = await reader.readexactly(5)
            message_type, size = struct.unpack("!ci", header)
            message = await reader.readexactly(size - 4)
            if self._drops_messages:
                continue
            server.write(header + message)
            first, *rest = message.decode(errors="replace").split("\0", 2)
            if message_type == QUERY:
                self._record(first)
            elif message_type == PARSE:
                prepared[first] = rest[0]
                self.prepared_names.add(first)
            elif message_type == BIND:
                portals[first] = prepared[rest[0]]
            elif message_type == EXECUTE:
                self._record(portals[first])

    def _record(self, statement: str) -> None:
        self.statements.append(statement)
        self._on_statement(statement)
