"""docs/operations.md of a rendered project: every command on the page is typed here."""

import asyncio
import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.request import Request, urlopen

import asyncpg
import pytest
import yaml

from tests.choices import PROGRAMS, PROJECTS, TEMPLATES, python_path
from tests.support.guide import blocks
from tests.support.network import free_port
from tests.support.postgres import PostgresServer, execute, script
from tests.support.project_user import ProjectUser
from tests.support.rendering import render_into
from tests.test_projects import reuse_lock

PRELOAD = "-c shared_preload_libraries=pg_stat_statements"

# Docker, as far as the page uses it: the containers' commands run on this machine.
DOCKER = """#!/bin/sh
[ "$1 $2" = "compose --file" ] && [ -f "$3" ] || exit 64
shift 3
case "$*" in
"exec -T postgres "*) shift 3; exec "$@" ;;
"logs postgres") exec cat "$POSTGRES_LOG" ;;
*) exit 64 ;;
esac
"""


PLAN = r"^    Limit\n(?:^    .*\n)+"


class Page:
    """The page of a project, whose blocks of commands are listed by their headings."""

    def __init__(self, project: Path) -> None:
        self.text = (project / "docs/operations.md").read_text()
        first, *sections = re.split("^## ", self.text, flags=re.MULTILINE)
        [self.path] = self._commands(first)
        self.commands = {
            section.partition("\n")[0]: self._commands(section) for section in sections
        }

    def _commands(self, text: str) -> list[str]:
        return [block.content for block in blocks(text) if block.language == "sh"]


@pytest.fixture(scope="module")
def user(
    tmp_path_factory: pytest.TempPathFactory, environment_of_user: dict[str, str], locks: Path
) -> ProjectUser:
    """A user of the default project, who has installed it."""
    folder = tmp_path_factory.mktemp("operations")
    user = ProjectUser(render_into(folder, **PROJECTS[0]), environment_of_user)
    reuse_lock(user, PROJECTS[0]["packaging"], locks)
    user.run("make install")
    return user


@pytest.fixture(scope="module")
def page(user: ProjectUser) -> Page:
    return Page(user.project)


@contextmanager
def server(**options: str) -> Iterator[PostgresServer]:
    """Run a server of its own, with these options instead of the library that ours load."""
    arguments = shlex.join(f"-c{name}={value}" for name, value in options.items())
    server = PostgresServer()
    try:
        with pytest.MonkeyPatch.context() as patch:
            assert PRELOAD in script.SERVER_SCRIPT
            text = script.SERVER_SCRIPT.replace(PRELOAD, arguments)
            patch.setattr(script, "SERVER_SCRIPT", text)
            asyncio.run(server.start())
        yield server
    finally:
        asyncio.run(server.remove())


def send(method: str, url: str, **content: str) -> bytes:
    headers = {"Content-Type": "application/json"}
    data = json.dumps(content).encode() if content else None
    request = Request(url, data, headers, method=method)  # noqa: S310
    with urlopen(request, timeout=10) as response:  # noqa: S310
        body: bytes = response.read()
        return body


def test_page_has_these_sections(page: Page, user: ProjectUser) -> None:
    """Each of them has a test below, which takes all of its commands."""
    assert [*page.commands] == ["From a slow route to an index"]
    assert "(docs/operations.md)" in (user.project / "README.md").read_text()


@pytest.mark.slow
def test_slow_route_gets_an_index(page: Page, user: ProjectUser) -> None:
    show, _, plans, compare = page.commands["From a slow route to an index"]
    port = str(free_port())
    url = f"http://127.0.0.1:{port}"
    with user.serve("make run", f"{url}/health/ready", PORT=port):
        send("POST", f"{url}/notes", title="first")
        for _ in range(7):
            send("GET", f"{url}/notes/1/revisions")
        listed = user.run(show)
        [database] = re.findall("postgresql://.*", listed)
        [statement] = re.findall(r"^ +7 .* (SELECT .* FROM note_revisions .*)", listed, re.M)
        assert len(user.run(show, COLUMNS="100").splitlines()[-1]) <= 100

        def typed(commands: str) -> str:
            return user.run(page.path + commands, DATABASE_URL=database)

        # The statement of the service itself uses the index, too.
        plan = typed(f"psql $DATABASE_URL -c {shlex.quote(f'EXPLAIN (GENERIC_PLAN) {statement}')}")
        assert "Index Scan Backward using note_revisions_pkey" in plan
        plans = typed(plans).split("ALTER TABLE\n")[1:]
        for plan, shown in zip(plans, re.findall(PLAN, page.text, re.M), strict=True):
            for line in shown.splitlines():
                # The ids depend on what is in the database.
                assert re.sub(r"\d{4,}", "N", line.strip()) in re.sub(r"\d{4,}", "N", plan)
        _, after = plans
        assert "Sort" not in after
        compared = typed(compare)
        assert "pg_stat_statements_reset" in compared
        assert "note_revisions" not in compared


@pytest.mark.slow
def test_index_is_created_concurrently_and_again_after_a_failure(
    page: Page, user: ProjectUser, database_url: str
) -> None:
    [function] = [block.content for block in blocks(page.text) if block.language == "python"]
    head = 'import sqlalchemy as sa\nfrom alembic import op\n\nrevision = "index"\n'
    head += 'down_revision = "notes_not_synchronized"\n\n\n'
    migration = user.project / "migrations/versions/index.py"
    table = "CREATE TABLE books (id int, author_id int)"
    # What CREATE INDEX CONCURRENTLY leaves behind when it fails.
    rest = "CREATE INDEX books_author_index ON books (id)"
    asyncio.run(execute(database_url, table, rest))
    migration.write_text(head + function)
    try:
        user.run(".venv/bin/ruff format --check migrations", DATABASE_URL=database_url)
        user.run("make migrate", DATABASE_URL=database_url)
    finally:
        migration.unlink()
    defined = "SELECT indexdef FROM pg_indexes WHERE indexname = 'books_author_index'"
    assert "(author_id, id)" in user.run(f'{page.path}psql {database_url} -c "{defined}"')


def show_statements(url: str) -> subprocess.CompletedProcess[str]:
    """Run the command of `make statements`, unrendered."""
    return subprocess.run(
        [sys.executable, "-m", "scripts.statements"],
        cwd=TEMPLATES,
        env={"PYTHONPATH": python_path(PROGRAMS[0]), "DATABASE_URL": url},
        capture_output=True,
        text=True,
    )


def test_only_statements_of_this_database_are_shown(database_url: str, postgres_url: str) -> None:
    asyncio.run(execute(database_url, "CREATE EXTENSION pg_stat_statements", "SELECT 1 AS here"))
    asyncio.run(execute(postgres_url, "SELECT 1 AS elsewhere"))
    shown = show_statements(database_url)
    assert shown.returncode == 0, shown.stderr
    assert "SELECT $1 AS here" in shown.stdout
    assert "elsewhere" not in shown.stdout


def refusal(url: str) -> str:
    shown = show_statements(url)
    assert shown.returncode == 1, shown.stdout
    assert shown.stdout == ""
    [line] = shown.stderr.splitlines()
    return line


def test_missing_right_is_named(database_url: str) -> None:
    role = "CREATE ROLE reader LOGIN"
    asyncio.run(execute(database_url, role))
    try:
        message = refusal(database_url.replace("postgres@", "reader@"))
        assert "superuser" in message and "CREATE EXTENSION pg_stat_statements" in message
    finally:
        asyncio.run(execute(database_url, "DROP ROLE reader"))


def test_missing_contrib_modules_are_named(database_url: str) -> None:
    name = database_url.rpartition("/")[2]
    nowhere = f"ALTER DATABASE {name} SET extension_control_path = '/nowhere'"
    asyncio.run(execute(database_url, nowhere))
    assert "contrib modules" in refusal(database_url)


def test_missing_server_and_missing_host_are_named() -> None:
    port = free_port()
    assert str(port) in refusal(f"postgresql://postgres@127.0.0.1:{port}/postgres")
    assert "DATABASE_URL" in refusal("postgresql://postgres@127.0.0.1")


def test_missing_library_is_named() -> None:
    with server() as unprepared:
        assert "shared_preload_libraries" in refusal(unprepared.url)


@contextmanager
def containers(user: ProjectUser, folder: Path) -> Iterator[tuple[PostgresServer, dict[str, str]]]:
    """Run PostgreSQL with the options and the roles of compose.yaml.

    Yields the server and the environment in which `docker compose` finds it.
    """
    compose = yaml.safe_load((user.project / "deploy/compose.yaml").read_text())
    program, *options = compose["services"]["postgres"]["command"]
    assert program == "postgres"
    roles = compose["configs"]["roles.sql"]["content"].replace("${DATABASE_PASSWORD:?}", "secret")
    (folder / "docker").write_text(DOCKER)
    (folder / "docker").chmod(0o755)
    with server(**dict(option.removeprefix("-c").split("=", 1) for option in options)) as postgres:
        environment = {
            "PATH": f"{folder}:{postgres.programs}:{os.environ['PATH']}",
            "PGHOST": "127.0.0.1",
            "PGPORT": str(postgres.port),
            "POSTGRES_LOG": str(postgres.folder / "log"),
        }
        command = ["psql", "--username=postgres", "--no-psqlrc", "--set=ON_ERROR_STOP=1"]
        subprocess.run(command, input=roles, text=True, check=True, env=environment)
        yield postgres, environment


def test_containers_show_slow_statements_without_values(
    page: Page, user: ProjectUser, tmp_path: Path
) -> None:
    _, show, _, _ = page.commands["From a slow route to an index"]
    with containers(user, tmp_path) as (postgres, environment):
        service = postgres.url.replace("postgres@", "service:secret@")
        service = service.replace("/postgres", "/service")
        asyncio.run(slow_statement(service))
        output = user.run(show, **environment)
        listed, _, logged = output.partition(" rows)")
        assert "pg_sleep" in listed
        assert "duration: " in logged and "pg_sleep" in logged
        assert "secret of a user" not in postgres.log()
        assert "pg_sleep" in show_statements(service).stdout


async def slow_statement(url: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.fetch("SELECT pg_sleep(0.6), $1::text", "secret of a user")
    finally:
        await connection.close()
