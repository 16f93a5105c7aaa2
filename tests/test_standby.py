"""A standby that is set up as docs/operations.md says, and services that read from it."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from httpx2 import Client, Response

from tests.choices import ROOT, Combination, name
from tests.support import guide
from tests.support.network import free_port
from tests.support.others import mark_others
from tests.support.postgres import PostgresServer, script
from tests.support.rendering import render_into
from tests.support.service import Service
from tests.support.waiting import wait_until
from tests.test_operations import Page, server
from tests.test_projects import PAIRS
from tests.test_shipped_tests import run_python
from tests.test_types import MYPY

GUIDE = "docs/guides/read-from-a-standby.md"
# The service, with routes that use the standby in ways that the guide's own domain does not.
APP = """
from notes_service.main import app
from notes_service.retry import retry_on_conflict
from starlette.responses import JSONResponse
from starlette.routing import Route
from tests.raw_sql import fetch_value

first = True


async def ask(request, statement):
    async with request.state["replica"].connection() as connection:
        return JSONResponse(await fetch_value(connection, statement))


async def recovery(request):
    return await ask(request, "SELECT pg_is_in_recovery()")


async def write(request):
    return await ask(request, "INSERT INTO visits (page) VALUES ('/') RETURNING id")


async def lock(request):
    return await ask(request, "SELECT id FROM visits LIMIT 1 FOR UPDATE")


async def slow(request):
    return await ask(request, "SELECT pg_sleep(20)::text FROM visits LIMIT 1")


@retry_on_conflict
async def slow_at_first(request):
    global first
    if first:
        first = False
        return await slow(request)
    return await recovery(request)


app.router.routes[:0] = [
    Route(f"/{handler.__name__}", handler) for handler in (recovery, write, lock, slow, slow_at_first)
]
"""

WRITE = """
from notes_service.lifespan import State


async def use(state: State) -> None:
    async with state["replica"].connection():
        pass
    state["replica"].transaction()
"""


def follow_guide(folder: Path, program: Combination, *, migrate: str | None = None) -> Path:
    """Render a program and follow the guide in it. migrate: the database to migrate."""
    project = render_into(folder, **program)

    def run(commands: str) -> None:
        if migrate and commands.startswith("make migration"):
            for command in (
                ["scripts.develop", "migration", "visits"],
                ["alembic", "upgrade", "head"],
            ):
                done = run_python(project, "-m", *command, DATABASE_URL=migrate)
                assert done.returncode == 0, done.stdout + done.stderr

    guide.follow((project / GUIDE).read_text(), project, run)
    return project


class Standby:
    """A standby of `primary`, whose database the guide has migrated."""

    def __init__(self, primary: PostgresServer, project: Path) -> None:
        self.primary = primary
        self.project = project
        self.page = Page(project)
        self.set_up, self.lag, self.check = self.page.commands["Read from a standby server"]
        self.port = free_port()
        self.url: str = script.URL.format(self.port)
        # The same number as the primary's. Queries are cancelled soon.
        options = f"-p {self.port} -c max_connections=300 -c max_standby_streaming_delay=100ms"
        assert self.set_up.count("-p 5433") == 1
        self.set_up = self.set_up.replace("-p 5433", options)
        self._start = self.set_up[self.set_up.index("pg_ctl") :]

    def run(self, commands: str) -> None:
        """Run commands as the user of PostgreSQL, who may write into the folder of the primary."""
        prefix, options = script.unprivileged(self.primary.programs, self.primary.folder)
        folder = f"{self.primary.folder}/standby"
        commands = commands.replace("/var/lib/postgresql/standby", folder)
        subprocess.run(
            [*prefix, "sh", "-e", "-c", commands],
            check=True,
            cwd=self.primary.folder,
            env={
                "PATH": f"{self.primary.programs}:{os.environ['PATH']}",
                "DATABASE_URL": self.primary.url,
                "STANDBY": folder,
            },
            **options,
        )

    def start(self) -> None:
        self.run(self._start)

    def stop(self) -> None:
        self.run('pg_ctl --pgdata="$STANDBY" --mode=fast stop')

    def query(self, statement: str) -> Any:
        async def query() -> Any:
            connection = await asyncpg.connect(self.url)
            try:
                return await connection.fetchval(statement)
            finally:
                await connection.close()

        return asyncio.run(query())


@pytest.fixture(scope="module")
def standby(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Standby]:
    with server() as primary:
        folder = tmp_path_factory.mktemp("standby")
        standby = Standby(primary, follow_guide(folder, PAIRS[0], migrate=primary.url))
        standby.run(standby.set_up)
        try:
            yield standby
        finally:
            standby.run('pg_ctl --pgdata="$STANDBY" --mode=immediate stop')


@pytest.fixture
def serve(standby: Standby, tmp_path: Path) -> Iterator[Callable[..., Client]]:
    """Start the service of a project, in place of the one before, and return its client."""
    stack = ExitStack()

    def start(program: Combination, project: Path, replica_url: str) -> Client:
        stack.close()
        (tmp_path / "standby_app.py").write_text(APP)
        service = Service(
            program,
            tmp_path,
            app="standby_app:app",
            PYTHONPATH=os.pathsep.join(map(str, [project / "src", project, tmp_path])),
            DATABASE_URL=standby.primary.url,
            DATABASE_REPLICA_URL=replica_url,
            DATABASE_STATEMENT_TIMEOUT="30",
            UPSTREAM_URL="http://127.0.0.1:9",
        )
        stack.callback(lambda: asyncio.run(service.stop()))
        asyncio.run(service.start())
        url = f"http://127.0.0.1:{service.port}"
        return stack.enter_context(Client(base_url=url, timeout=30))

    with stack:
        yield start


def check_unavailable(answer: Response, detail: str) -> None:
    assert answer.status_code == 503, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["retry-after"] == "1"
    assert answer.json()["detail"].startswith(detail)


def visit(client: Client) -> None:
    assert client.post("/visits", json={"page": "/"}).status_code == 201


def count(client: Client) -> int:
    answer = client.get("/visits")
    assert answer.status_code == 200, answer.text
    number: int = answer.json()["count"]
    return number


@pytest.mark.slow
@pytest.mark.parametrize("program", mark_others(PAIRS), ids=name)
def test_service_reads_from_a_standby(
    program: Combination, standby: Standby, serve: Callable[..., Client], tmp_path: Path
) -> None:
    project = follow_guide(tmp_path, program) if program != PAIRS[0] else standby.project
    client = serve(program, project, standby.url)
    log = tmp_path / "service.log"

    visit(client)
    stored = asyncio.run(standby.primary.query("SELECT count(*) FROM visits"))
    wait_until(lambda: count(client) == stored)
    assert client.get("/recovery").json() is True

    # It answers what it has, and then what was stored meanwhile.
    standby.query("SELECT pg_wal_replay_pause()")
    wait_until(lambda: standby.query("SELECT pg_get_wal_replay_pause_state()") == "paused")
    visit(client)
    assert count(client) == stored
    standby.query("SELECT pg_wal_replay_resume()")
    wait_until(lambda: count(client) == stored + 1)

    for path in ("/write", "/lock"):
        check_unavailable(client.get(path), "The database is read-only")
    assert log.read_text().count('"reason":"DatabaseReadOnly"') == 2
    assert count(client) == stored + 1

    # A migration that locks the table cancels the queries on it.
    check_unavailable(ask_and_cancel(client, "/slow", standby), "Too many changes at once")
    assert '"reason":"TransactionConflict","cause"' in log.read_text()
    assert '"sqlstate":"40001"' in log.read_text()
    again = ask_and_cancel(client, "/slow_at_first", standby)
    assert (again.status_code, again.json()) == (200, True)

    standby.stop()
    try:
        check_works_without_standby(client)
        client = serve(program, project, standby.url)
        check_works_without_standby(client)
    finally:
        standby.start()
    wait_until(lambda: client.get("/visits").status_code == 200)
    wait_until(lambda: count(client) == stored + 3)


def check_works_without_standby(client: Client) -> None:
    check_unavailable(client.get("/visits"), "The database is not available")
    visit(client)
    assert client.get("/notes").status_code == 200
    assert client.get("/health/ready").status_code == 200


def ask_and_cancel(client: Client, path: str, standby: Standby) -> Response:
    """Send a request, and let the standby repeat a change that conflicts with its query."""
    sleeping = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'"
    lock = ["BEGIN", "LOCK TABLE visits IN ACCESS EXCLUSIVE MODE", "COMMIT"]
    with ThreadPoolExecutor(1) as thread:
        answer = thread.submit(client.get, path)
        wait_until(lambda: answer.done() or standby.query(sleeping))
        asyncio.run(standby.primary.execute(*lock))
        return answer.result()


@pytest.mark.slow
def test_service_may_prefer_a_standby(standby: Standby, serve: Callable[..., Client]) -> None:
    [url] = [
        line.strip()
        for line in (standby.project / GUIDE).read_text().splitlines()
        if "prefer-standby" in line
    ]
    for part, actual in {
        "user:password@": "postgres@",
        "standby:5432": f"127.0.0.1:{standby.port}",
        "primary:5432": f"127.0.0.1:{standby.primary.port}",
        "/name?": "/postgres?",
    }.items():
        assert part in url
        url = url.replace(part, actual)
    client = serve(PAIRS[0], standby.project, url)
    assert client.get("/recovery").json() is True
    standby.stop()
    try:
        wait_until(lambda: client.get("/visits").status_code == 200)
        assert client.get("/recovery").json() is False
    finally:
        standby.start()


@pytest.mark.slow
def test_lag_and_tables_of_a_standby_are_shown(standby: Standby) -> None:
    def shown(commands: str) -> str:
        alembic = f"{sys.executable} -m alembic"
        done = subprocess.run(
            ["sh", "-e", "-c", commands.replace(".venv/bin/alembic", alembic)],
            cwd=standby.project,
            env={
                "PATH": f"{standby.primary.programs}:{os.environ['PATH']}",
                "PYTHONPATH": f"{standby.project / 'src'}:{standby.project}",
                "DATABASE_URL": standby.primary.url,
                "DATABASE_REPLICA_URL": standby.url,
            },
            capture_output=True,
            text=True,
        )
        return done.stdout + done.stderr

    wait_until(lambda: "streaming" in shown(standby.lag))
    assert "No new upgrade operations detected" in shown(standby.check)
    renamed = "SELECT count(*) FROM information_schema.columns WHERE column_name = 'renamed_page'"
    asyncio.run(standby.primary.execute("ALTER TABLE visits RENAME page TO renamed_page"))
    wait_until(lambda: standby.query(renamed))
    assert "New upgrade operations detected" in shown(standby.check)
    asyncio.run(standby.primary.execute("ALTER TABLE visits RENAME renamed_page TO page"))


@pytest.mark.slow
def test_type_checker_refuses_to_write_to_a_standby(standby: Standby, tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(WRITE)
    (tmp_path / "mypy.ini").write_text(MYPY)
    cache = ROOT / ".mypy_cache" / os.environ.get("PYTEST_XDIST_WORKER", "alone")
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--cache-dir", cache, program],
        cwd=tmp_path,
        env={**os.environ, "MYPYPATH": str(standby.project / "src")},
        capture_output=True,
        text=True,
    )
    assert '"Replica" has no attribute "transaction"' in done.stdout, done.stdout
    assert "Found 1 error" in done.stdout
