"""What a failing service says, in its answers and its log: what it must, and nothing of the inside."""

import asyncio
import json
import os
import sys
from asyncio.subprocess import PIPE, STDOUT
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from httpx2 import AsyncClient, HTTPError

from tests.choices import PROGRAMS, TEMPLATES, Combination, name, rooms
from tests.user import free_port

# The service, with two ways to fail that it does not have itself.
PROBE = """
from service.main import app
from starlette.responses import StreamingResponse
from starlette.routing import Route

async def fail(request):
    raise RuntimeError("hunter2")

async def fail_late(request):
    async def parts():
        yield b"so far so good"
        raise RuntimeError("hunter2")
    return StreamingResponse(parts())

app.router.routes += [Route("/fail", fail), Route("/fail-late", fail_late)]
"""
RAISE = """
    CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN RAISE EXCEPTION 'hunter2' USING ERRCODE = '{sqlstate}'; END $$;
    CREATE CONSTRAINT TRIGGER fail AFTER INSERT ON notes
    DEFERRABLE INITIALLY {when} FOR EACH ROW EXECUTE FUNCTION fail();
"""
MEND = "DROP FUNCTION fail CASCADE"
NOTE = {"title": "hunter2", "body": "hunter2"}
END = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'leaky'"
# The password, what users wrote, statements, tracebacks; the addresses are added by the test.
INSIDE = [
    "hunter2",
    "Traceback",
    "SELECT",
    "INSERT",
    "UPDATE",
    "_revisions",
    "leaky",
    "postgresql:",
]
SERVER = [sys.executable, "-m", "uvicorn", "probe:app", "--port"]


class Forwarder:
    """The way to PostgreSQL, which can be closed."""

    def __init__(self, port: int) -> None:
        self.port = free_port()
        self._to = port
        self._tasks: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)

    async def close(self) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        there, to = await asyncio.open_connection("127.0.0.1", self._to)
        try:
            async with asyncio.TaskGroup() as ways:
                ways.create_task(carry(reader, to))
                ways.create_task(carry(there, writer))
        finally:
            self._tasks.discard(task)


async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65536):
            writer.write(data)
    except ConnectionError:
        pass
    finally:
        writer.close()


@pytest.fixture(scope="module")
def leaky(server: str) -> str:
    """Have the server ask a role of ours for its password."""

    async def prepare() -> None:
        sql = await asyncpg.connect(server)
        await sql.execute("CREATE ROLE leaky LOGIN PASSWORD 'hunter2'")
        rules = "('host all leaky all scram-sha-256'), ('host all all all trust')"
        file = await sql.fetchval("SHOW hba_file")
        await sql.execute(f"COPY (VALUES {rules}) TO '{file}'")
        await sql.execute("SELECT pg_reload_conf()")
        await sql.close()

    asyncio.run(prepare())
    return server


@asynccontextmanager
async def answering(port: int, upstream: bytes) -> AsyncIterator[None]:
    """Answer every request with the same bytes; with none, never."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(upstream)
        if not upstream:
            await reader.read()  # and the note, until the service hangs up
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", port)
    yield
    server.close()


@pytest.mark.slow
@pytest.mark.parametrize("program", PROGRAMS, ids=name)
def test_no_failure_shows_the_inside_and_each_is_logged_once(
    program: Combination, leaky: str, database_url: str, tmp_path: Path
) -> None:
    (tmp_path / "probe.py").write_text(PROBE)
    asyncio.run(fail_in_every_way(program, database_url, tmp_path))


async def fail_in_every_way(program: Combination, database_url: str, folder: Path) -> None:
    database = database_url.rpartition("/")[2]
    there = int(database_url.rpartition(":")[2].split("/")[0])
    way, port, upstream = Forwarder(there), free_port(), free_port()
    await way.open()
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(map(str, [folder, *rooms(program)])),
        "DATABASE_URL": database_url,
        "UPSTREAM_URL": f"http://127.0.0.1:{upstream}",
        "UPSTREAM_TIMEOUT": "1",
        "DATABASE_POOL_TIMEOUT": "2",
        "DATABASE_STATEMENT_TIMEOUT": "1",
        "PYTHONWARNINGS": "error",
    }
    ini = folder / "alembic.ini"
    ini.write_text(f"[alembic]\nscript_location = {TEMPLATES / 'common' / 'migrations'}\n")
    migrate = [sys.executable, "-m", "alembic", "-c", str(ini), "upgrade", "head"]
    migrating = await asyncio.create_subprocess_exec(*migrate, env=environment, stderr=PIPE)
    await migrating.communicate()
    sql = await asyncpg.connect(database_url)
    await sql.execute("GRANT ALL ON notes, note_revisions TO leaky")
    await sql.execute("INSERT INTO notes (title, body) VALUES ('hunter2', 'hunter2')")

    environment["DATABASE_URL"] = f"postgresql://leaky:hunter2@127.0.0.1:{way.port}/{database}"
    service = await asyncio.create_subprocess_exec(
        *SERVER, str(port), cwd=folder, env=environment, stdout=PIPE, stderr=STDOUT
    )
    assert service.stdout is not None
    written = b""
    while b"Application startup complete" not in written:
        line = await service.stdout.readline()
        assert line, written
        written += line

    answers: dict[str, tuple[int, str]] = {}

    async def ask(failure: str, method: str, path: str, body: object = None) -> None:
        headers = {"X-Request-ID": failure}
        try:
            answer = await client.request(method, path, json=body, headers=headers)
        except HTTPError as error:  # it was cut off
            answers[failure] = (0, str(error))
        else:
            answers[failure] = (answer.status_code, f"{answer.headers}{answer.text}")

    async with AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=10) as client:
        await ask("exception", "GET", "/fail")
        await ask("exception-late", "GET", "/fail-late")
        for sqlstate, when in [
            ("23514", "IMMEDIATE"),
            ("23514", "DEFERRED"),
            ("40001", "DEFERRED"),
        ]:
            await sql.execute(RAISE.format(sqlstate=sqlstate, when=when))
            await ask(f"{sqlstate}-{when}", "POST", "/notes", NOTE)
            await sql.execute(MEND)
        await sql.execute("ALTER TABLE notes RENAME body TO hidden")
        await ask("other-tables", "POST", "/notes", NOTE)
        await ask("other-tables-read", "GET", "/notes/1")
        await sql.execute("ALTER TABLE notes RENAME hidden TO body")
        await sql.execute("REVOKE INSERT ON notes FROM leaky")
        await ask("not-allowed", "POST", "/notes", NOTE)
        await sql.execute("GRANT ALL ON notes TO leaky")
        async with sql.transaction():
            await sql.execute("LOCK TABLE notes")
            await ask("statement-timeout", "POST", "/notes", NOTE)
        await sql.execute("ALTER ROLE leaky SET default_transaction_read_only = on")
        await sql.execute(END)
        await asyncio.sleep(0.1)  # for the news to arrive
        await ask("read-only", "POST", "/notes", NOTE)
        await sql.execute("ALTER ROLE leaky RESET default_transaction_read_only")
        await ask("upstream-away", "POST", "/notes/1/synchronize")
        for failure, answer in {
            "upstream-error": b"HTTP/1.1 500 hunter2\r\nContent-Length: 7\r\n\r\nhunter2",
            "upstream-nonsense": b'HTTP/1.1 200 -\r\nContent-Length: 9\r\n\r\n"hunter2"',
            "upstream-no-http": b"hunter2",
            "upstream-slow": b"",
        }.items():
            async with answering(upstream, answer):
                await ask(failure, "POST", "/notes/1/synchronize")
        await sql.execute("ALTER ROLE leaky PASSWORD 'another'")
        await sql.execute(END)
        await asyncio.sleep(0.1)
        await ask("wrong-password", "GET", "/notes/1")
        await sql.execute("ALTER ROLE leaky PASSWORD 'hunter2'")
        await sql.execute("ALTER ROLE leaky NOLOGIN")
        await ask("no-such-role", "GET", "/health/ready")
        await sql.execute("ALTER ROLE leaky LOGIN")
        await sql.execute("ALTER ROLE leaky CONNECTION LIMIT 0")
        await ask("no-connection", "GET", "/health/ready")
        await sql.execute("ALTER ROLE leaky CONNECTION LIMIT -1")
        await way.close()
        await ask("refused", "GET", "/health/ready")
        await ask("refused-write", "POST", "/notes", NOTE)
        await ask("too-large", "POST", "/notes", {"title": "x" * 2_000_000})
        await way.open()
        await ask("well-again", "GET", "/health/ready")

    service.terminate()
    written += await service.stdout.read()
    await service.wait()
    await way.close()
    await sql.close()

    statuses = {failure: status for failure, (status, _) in answers.items()}
    assert statuses == {
        "exception": 500,
        "exception-late": 0,
        "23514-IMMEDIATE": 500,
        "23514-DEFERRED": 500,
        "40001-DEFERRED": 503,
        "other-tables": 500,
        "other-tables-read": 500,
        "not-allowed": 500,
        "statement-timeout": 503,
        "read-only": 503,
        "upstream-away": 502,
        "upstream-error": 502,
        "upstream-nonsense": 502,
        "upstream-no-http": 502,
        "upstream-slow": 504,
        "wrong-password": 503,
        "no-such-role": 503,
        "no-connection": 503,
        "refused": 503,
        "refused-write": 503,
        "too-large": 413,
        "well-again": 200,
    }
    log = written.decode()
    inside = [*INSIDE, f":{way.port}", f":{there}", f":{upstream}", database]
    for text in [log, *(said for _, said in answers.values())]:
        assert not [word for word in inside if word in text], text

    lines: list[dict[str, Any]] = [json.loads(line) for line in log.splitlines()]
    for failure, status in statuses.items():
        of_it = [line for line in lines if line.get("request_id") == failure]
        levels = [line["level"] for line in of_it if line["message"] != "request"]
        expected = {0: ["error"], 500: ["error"], 200: [], 413: []}
        assert levels == expected.get(status, ["warning"]), of_it
