"""docs/operations.md of a rendered project: every command on the page is typed here."""

import asyncio
import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from typing import Self
from urllib.request import Request, urlopen

import asyncpg
import pytest
import yaml

from tests.choices import CHOICES, PROGRAMS, PROJECTS, TEMPLATES, python_path
from tests.support.guide import blocks
from tests.support.network import free_port
from tests.support.others import mark_others
from tests.support.postgres import PostgresServer, execute, script
from tests.support.project_user import ProjectUser
from tests.support.rendering import render_into
from tests.support.waiting import wait_until
from tests.test_projects import reuse_environment, reuse_lock

PRELOAD = "-c shared_preload_libraries=pg_stat_statements"

# Docker, as far as the page uses it: the containers' commands run on this machine.
DOCKER = """#!/bin/sh
[ "$1 $2" = "compose --file" ] && [ -f "$3" ] || exit 64
shift 3
export PGHOST=127.0.0.1 PGPORT=$(cat "$0.port")
case "$*" in
"exec -T postgres "*) shift 3; exec "$@" ;;
"logs postgres") exec cat "$POSTGRES_LOG" ;;
"stop nginx service" | "up --detach") ;;
"up --detach --wait postgres") cp "$0.next" "$0.port" ;;
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
    """Each of them has a test, which takes all of its commands."""
    assert [*page.commands] == [
        "From a slow route to an index",
        "Dashboards and alerts",
        "Backups",
        "Backups to any point in time",
        "Read from a standby server",  # in test_standby.py
        "A new major version of PostgreSQL",
        "Under load",
    ]
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
        before, after = typed(plans).split("ALTER TABLE\n")[1:]
        for plan, shown in zip([before, after], re.findall(PLAN, page.text, re.M), strict=True):
            for line in shown.splitlines():
                # The ids depend on what is in the database.
                assert re.sub(r"\d{4,}", "N", line.strip()) in re.sub(r"\d{4,}", "N", plan)
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


def test_monitoring_starts_with_both_files(page: Page, user: ProjectUser, tmp_path: Path) -> None:
    start, _ = page.commands["Dashboards and alerts"]
    docker = tmp_path / "docker"
    docker.write_text('#!/bin/sh\necho "$*" $MONITOR_PASSWORD $GRAFANA_PASSWORD\n')
    docker.chmod(0o755)
    typed = user.run(start, PATH=f"{tmp_path}:{os.environ['PATH']}")
    files = ["deploy/compose.yaml", "deploy/observability/compose.yaml"]
    command, passwords = typed.split(" --detach ")
    assert command == f"compose --file {files[0]} --file {files[1]} up"
    assert all((user.project / file).is_file() for file in files)
    monitor, grafana = passwords.split()
    assert len(monitor) == len(grafana) == 48 and monitor != grafana


def test_sessions_are_listed_with_those_that_they_wait_for(
    page: Page, user: ProjectUser, database_url: str
) -> None:
    _, show = page.commands["Dashboards and alerts"]

    async def typed() -> None:
        idle, waiting = [await asyncpg.connect(database_url) for _ in range(2)]
        pid, waiting_pid = idle.get_server_pid(), waiting.get_server_pid()
        await idle.execute("CREATE TABLE locked ()")
        await idle.execute("BEGIN; LOCK TABLE locked")
        read = asyncio.create_task(waiting.execute("TABLE locked"))
        async with asyncio.timeout(20):
            while not await idle.fetchval("SELECT pg_blocking_pids($1)", waiting_pid):  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        printed = await asyncio.to_thread(user.run, page.path + show, DATABASE_URL=database_url)
        await idle.close()
        await read
        await waiting.close()
        assert re.search(rf"^ *{pid} .*\| idle in transaction \| \{{\}} ", printed, re.M), printed
        assert re.search(rf"^ *{waiting_pid} .*\| active +\| \{{{pid}\}} ", printed, re.M), printed

    asyncio.run(typed())


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
def containers(user: ProjectUser) -> Iterator[PostgresServer]:
    """Run PostgreSQL with the options and the roles of compose.yaml."""
    compose = yaml.safe_load((user.project / "deploy/compose.yaml").read_text())
    program, *options = compose["services"]["postgres"]["command"]
    assert program == "postgres"
    roles = compose["configs"]["roles.sql"]["content"].replace("${DATABASE_PASSWORD:?}", "secret")
    with server(**dict(option.removeprefix("-c").split("=", 1) for option in options)) as postgres:
        command = [postgres.programs / "psql", postgres.url, "--set=ON_ERROR_STOP=1"]
        subprocess.run(command, input=roles, text=True, check=True)
        yield postgres


def docker(folder: Path, first: PostgresServer, second: PostgresServer) -> dict[str, str]:
    """Return the environment in which `docker compose` finds the servers of two containers.

    The second one replaces the first at `docker compose up postgres`.
    """
    program = folder / "docker"
    program.write_text(DOCKER)
    program.chmod(0o755)
    program.with_suffix(".port").write_text(str(first.port))
    program.with_suffix(".next").write_text(str(second.port))
    return {
        "PATH": f"{folder}:{first.programs}:{os.environ['PATH']}",
        "POSTGRES_LOG": str(first.folder / "log"),
    }


def url_of_service(postgres: PostgresServer) -> str:
    return f"postgresql://service:secret@127.0.0.1:{postgres.port}/service"


def test_containers_show_slow_statements_without_values(
    page: Page, user: ProjectUser, tmp_path: Path
) -> None:
    _, show, _, _ = page.commands["From a slow route to an index"]
    with containers(user) as postgres:
        asyncio.run(slow_statement(url_of_service(postgres)))
        output = user.run(show, **docker(tmp_path, postgres, postgres))
        listed, _, logged = output.partition(" rows)")
        assert "pg_sleep" in listed
        assert "duration: " in logged and "pg_sleep" in logged
        assert "secret of a user" not in postgres.log()
        assert "pg_sleep" in show_statements(url_of_service(postgres)).stdout


async def slow_statement(url: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.fetch("SELECT pg_sleep(0.6), $1::text", "secret of a user")
    finally:
        await connection.close()


class Writers:
    """Users who create and change notes until the block ends, and remember what is acknowledged."""

    def __init__(self, url: str) -> None:
        self.acknowledged: dict[int, int] = {}  # versions by id
        self._url = url
        self._stopped = Event()
        self._pool = ThreadPoolExecutor(2)

    def __enter__(self) -> Self:
        self._users = [self._pool.submit(self._write) for _ in range(2)]
        wait_until(lambda: len(self.acknowledged) > 20)
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        for user in self._users:
            user.result()
        self._pool.shutdown()

    def _write(self) -> None:
        while not self._stopped.is_set():
            note = json.loads(send("POST", f"{self._url}/notes", title="first"))
            self.acknowledged[note["id"]] = 1
            send("PATCH", f"{self._url}/notes/{note['id']}", title="second")
            self.acknowledged[note["id"]] = 2

    def wait_for_more(self) -> None:
        count = len(self.acknowledged)
        wait_until(lambda: len(self.acknowledged) > count + 10)


async def stored(url: str) -> dict[int, int]:
    """Return the versions of all notes by id, and check that no revision is missing."""
    connection = await asyncpg.connect(url)
    try:
        rows = await connection.fetch(
            "SELECT id, notes.version, array_agg(r.version ORDER BY r.version) AS revisions"
            " FROM notes LEFT JOIN note_revisions AS r ON note_id = id GROUP BY id"
        )
    finally:
        await connection.close()
    for row in rows:
        assert row["revisions"] == [*range(1, row["version"] + 1)]
    return {row["id"]: row["version"] for row in rows}


def check_restored(url: str, before: dict[int, int]) -> dict[int, int]:
    """Check that what was acknowledged before the backup is in the restored database."""
    restored = asyncio.run(stored(url))
    lost = {note: version for note, version in before.items() if restored.get(note, 0) < version}
    assert lost == {}
    return restored


@pytest.mark.slow
def test_dump_under_writes_holds_what_was_acknowledged(page: Page, user: ProjectUser) -> None:
    dump, _, restore, check = page.commands["Backups"]
    port = str(free_port())
    url = f"http://127.0.0.1:{port}"
    with server() as postgres:
        environment = {"DATABASE_URL": postgres.url, "PORT": port}
        with user.serve("make run", f"{url}/health/ready", **environment), Writers(url) as writers:
            before = dict(writers.acknowledged)
            user.run(page.path + dump, **environment)
            writers.wait_for_more()
        checked = user.run(page.path + restore + check, **environment)
        restored = check_restored(f"{postgres.url.removesuffix('postgres')}restored", before)
        assert restored.keys() < writers.acknowledged.keys()
    assert "No new upgrade operations detected" in checked
    assert f"\nnotes|{len(restored)}\n" in checked
    assert f"\nnote_revisions|{sum(restored.values())}\n" in checked


@pytest.mark.slow
def test_archived_log_restores_to_a_point_in_time(page: Page, user: ProjectUser) -> None:
    archive, copy, restore = page.commands["Backups to any point in time"]
    port, restored_port = str(free_port()), str(free_port())
    url = f"http://127.0.0.1:{port}"
    with server() as postgres:
        # As the user of PostgreSQL, who may write into the folder of the server.
        prefix, options = script.unprivileged(postgres.programs, postgres.folder)

        def typed(commands: str) -> None:
            head, _, _ = archive.partition("\n")
            assert head == "export BACKUP=/backup RESTORED=/var/lib/postgresql/restored"
            folders = f"export BACKUP={postgres.folder} RESTORED={postgres.folder}/restored\n"
            environment = {
                "PATH": f"{postgres.programs}:{os.environ['PATH']}",
                "DATABASE_URL": postgres.url,
            }
            subprocess.run(
                [*prefix, "sh", "-e", "-c", folders + commands.replace(f"{head}\n", "")],
                check=True,
                cwd=postgres.folder,
                env=environment,
                **options,
            )

        typed(archive)
        asyncio.run(postgres.stop())
        asyncio.run(postgres.start())
        environment = {"DATABASE_URL": postgres.url, "PORT": port}
        with user.serve("make run", f"{url}/health/ready", **environment), Writers(url) as writers:
            typed(copy)
            writers.wait_for_more()
            before = dict(writers.acknowledged)
            time = asyncio.run(postgres.query("SELECT clock_timestamp()"))
            after = dict(writers.acknowledged)
            writers.wait_for_more()
        # What a minute of waiting would do, which archives the last changes.
        file = asyncio.run(postgres.query("SELECT pg_walfile_name(pg_switch_wal())"))
        archived = "SELECT last_archived_wal FROM pg_stat_archiver"
        wait_until(lambda: asyncio.run(postgres.query(archived)) >= file)
        restore = restore.replace("2026-11-30 12:00:00+00", str(time))
        restore = restore.replace("-p 5433", f"-p {restored_port} -c max_connections=300")
        try:
            typed(restore)
            restored_url = script.URL.format(restored_port)
            restored = check_restored(restored_url, before)
            # Two users may each have had one note on its way.
            assert len(restored.keys() - after.keys()) <= 2
            assert len(writers.acknowledged) > len(after) + 10
        finally:
            typed('pg_ctl --pgdata="$RESTORED" --mode=immediate stop')


NOTE = [
    "INSERT INTO notes (title, body) VALUES ('first', '')",
    "INSERT INTO note_revisions SELECT id, 1, 'first', '' FROM notes",
]


@pytest.mark.slow
def test_new_major_version_gets_the_data(page: Page, user: ProjectUser, tmp_path: Path) -> None:
    """Both servers have the same version here; the volume's new one is as empty."""
    _, dump_in_container, _, _ = page.commands["Backups"]
    dump, restore = page.commands["A new major version of PostgreSQL"]
    with containers(user) as old, containers(user) as new:
        environment = docker(tmp_path, old, new)
        user.run("make migrate", DATABASE_URL=url_of_service(old))
        asyncio.run(execute(url_of_service(old), *NOTE))
        user.run(dump_in_container, **environment)
        user.run(dump, **environment)
        assert (user.project / "upgrade.dump").stat().st_size > 1000
        user.run(restore, **environment)
        assert asyncio.run(stored(url_of_service(new))) == {1: 1}
        # The tables belong to the service, which migrates them.
        user.run("make migrate", DATABASE_URL=url_of_service(new))
        user.run(".venv/bin/alembic check", DATABASE_URL=url_of_service(new))
        asyncio.run(execute(url_of_service(new), "ALTER TABLE notes ADD COLUMN more int"))


@pytest.mark.slow
@pytest.mark.parametrize("packaging", mark_others(CHOICES["packaging"]))
def test_users_load_a_running_service(
    packaging: str,
    page: Page,
    user: ProjectUser,
    project_user: Callable[..., ProjectUser],
    locks: Path,
) -> None:
    """Only the commands of the load test depend on the package manager, not the service."""
    [load] = page.commands["Under load"]
    loader = project_user(packaging=packaging)
    reuse_lock(loader, packaging, locks)
    reuse_environment(loader, packaging, locks)
    if packaging == "pip":  # pip-tools would need minutes to hash all packages
        lock = "requirements-load.txt"
        loader.run(f"uv pip compile -q --generate-hashes --extra load pyproject.toml -o {lock}")
        os.utime(loader.project / lock, (0, 0))
    port = str(free_port())
    url = f"http://127.0.0.1:{port}"
    with user.serve("make run", f"{url}/health/ready", PORT=port):
        printed = loader.run(load, HOST=url, USERS="20", TIME="15s")
    for line in ("GET /notes", "POST /notes/{id}/synchronize", "PATCH /notes/{id}", "Aggregated"):
        # The name, the number of requests, and of failures.
        method_and_name = r" +".join(map(re.escape, line.split()))
        assert re.search(rf"^ *{method_and_name} +[1-9]\d* +0\(0\.00%\)", printed, re.M), printed
    assert "/notes/{id}/synchronize" in (loader.project / "load.html").read_text()
    # Its plugin of pytest must not be where the tests are.
    assert not [*loader.project.glob(".venv/lib/*/site-packages/locust*")]
