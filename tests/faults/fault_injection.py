"""A service with its database, network and upstream, in which tests inject faults."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

import asyncpg

from tests.choices import Combination
from tests.faults.users import HttpConnection, RecordingUpstream, Users
from tests.support.postgres import PostgresServer
from tests.support.service import Service
from tests.support.tcp_proxy import TcpProxy

POOL_SIZE = 4
POOL_TIMEOUT = 1.0  # seconds, as all of these
STATEMENT_TIMEOUT = 1.0
LONGEST_REFUSAL = POOL_TIMEOUT + STATEMENT_TIMEOUT + 1  # for each transaction of a request
LONGEST_RECOVERY = 5.0  # until the last refusal, after the database is back

# The connections of the service, for statements on pg_stat_activity.
OF_SERVICE = "FROM pg_stat_activity WHERE application_name = 'service'"
OPEN_TRANSACTIONS = f"SELECT count(*) {OF_SERVICE} AND state LIKE 'idle in transaction%'"
WAITING_FOR_LOCK = f"SELECT count(*) {OF_SERVICE} AND wait_event_type = 'Lock'"
TERMINATE = f"SELECT pg_terminate_backend(pid) {OF_SERVICE}"

CREATE_TRIGGER = """
    CREATE SEQUENCE IF NOT EXISTS tries;
    CREATE FUNCTION fault() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {} RETURN NEW; END $$;
    CREATE {} TRIGGER fault {} INSERT OR UPDATE ON notes {} FOR EACH ROW EXECUTE FUNCTION fault();
"""
DROP_TRIGGER = "DROP FUNCTION IF EXISTS fault CASCADE; DROP SEQUENCE IF EXISTS tries"


@dataclass
class Environment:
    """A program, everything it needs, and the event loop that all of it runs in."""

    program: Combination
    runner: asyncio.Runner
    folder: Path
    long: bool  # as in `make soak`
    old_servers: list[PostgresServer] = field(default_factory=list)  # removed after the fault
    blocked_seconds: float = 0  # how long the service itself could not answer
    needs_no_refusal: bool = False  # whether the fault may pass without any refusal
    needs_new_service: bool = False  # whether the next fault needs a new process

    async def start(self) -> None:
        self.server, self.network = PostgresServer(), TcpProxy()
        self.upstream = RecordingUpstream()
        await self.server.start()
        await self.server.configure(deadlock_timeout="50ms")
        await self.network.open(self.server.port)
        await self.upstream.start()
        url = f"postgresql://postgres@127.0.0.1:{self.network.port}/postgres?sslmode=disable"
        self.service = Service(
            self.program,
            self.folder,
            DATABASE_URL=url,
            DATABASE_POOL_SIZE=str(POOL_SIZE),
            DATABASE_POOL_TIMEOUT=str(POOL_TIMEOUT),
            DATABASE_STATEMENT_TIMEOUT=str(STATEMENT_TIMEOUT),
            UPSTREAM_URL=self.upstream.url,
        )
        await self.service.migrate()
        await self.restart_service()

    async def restart_service(self, server: str = "uvicorn") -> None:
        await self.service.stop()
        await self.service.start(server)

    async def stop(self) -> None:
        await self.service.stop()
        await self.network.close()
        self.upstream.close()
        for server in [self.server, *self.old_servers]:
            await server.remove()
        self.old_servers.clear()

    async def renew(self) -> None:
        await self.stop()
        await self.start()

    async def start_database(self) -> None:
        await self.server.start()
        await self.network.open(self.server.port)

    async def last(self, seconds: float) -> None:
        """Let the fault last: three times as long in `make soak`."""
        await asyncio.sleep(seconds * (3 if self.long else 1))

    @asynccontextmanager
    async def trigger(
        self, body: str, *, constraint: str = "", timing: str = "BEFORE", deferred: str = ""
    ) -> AsyncIterator[None]:
        """Run PL/pgSQL at each change of a note."""
        await self.server.execute(CREATE_TRIGGER.format(body, constraint, timing, deferred))
        yield
        await self.server.execute(DROP_TRIGGER)

    async def check_open_connections(self) -> None:
        """Check that the service has no connections except idle ones, of its pools."""
        most = POOL_SIZE * self.service.workers
        deadline = time.monotonic() + 3
        async with self.server.session() as session:
            while True:
                rows = await session.fetch(
                    f"SELECT state, left(query, 20), backend_start {OF_SERVICE}"
                )
                good = len(rows) <= most and {row["state"] for row in rows} <= {"idle"}
                if good or time.monotonic() > deadline:
                    break
                await session.execute("SELECT pg_sleep(0.05)")
        assert good, [tuple(row) for row in rows]

    async def check_whole_pool(self) -> None:
        """Check that as many writes wait for one lock as the pool has connections."""
        most = POOL_SIZE * self.service.workers
        note = {"title": "waits"}
        connections = [HttpConnection(self.service.port) for _ in range(2 * most)]
        async with asyncio.TaskGroup() as tasks, self.locked("notes") as session:
            requests = [tasks.create_task(c.ask("POST", "/notes", note)) for c in connections]
            deadline = time.monotonic() + STATEMENT_TIMEOUT * 0.8
            while (
                await session.fetchval(WAITING_FOR_LOCK) < POOL_SIZE and time.monotonic() < deadline
            ):
                await session.execute("SELECT pg_stat_clear_snapshot()")
            await session.execute("SELECT pg_sleep(0.1), pg_stat_clear_snapshot()")
            waiting = await session.fetchval(WAITING_FOR_LOCK)
        for connection in connections:
            connection.close()
        assert POOL_SIZE <= waiting <= most  # one of two workers may have got all requests
        assert {request.result().status for request in requests} == {201}

    @asynccontextmanager
    async def locked(self, table: str) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
        async with self.server.session() as session, session.transaction():
            await session.execute(f"LOCK TABLE {table}")
            yield session


Fault: TypeAlias = Callable[[Environment, Users], Awaitable[None]]


def title(fault: Fault) -> str:
    """Return the name of a fault as it stands in docs/faults.md."""
    return fault.__name__.replace("_", " ")
