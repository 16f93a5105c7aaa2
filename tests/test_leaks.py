"""What a failing service answers and logs: one line for each failure, and no secret of its inside."""

import asyncio
import json
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from httpx2 import AsyncClient, HTTPError

from tests.choices import PROGRAMS, Combination, name
from tests.support.network import free_port
from tests.support.others import mark_others
from tests.support.postgres import execute
from tests.support.service import Service
from tests.support.tcp_proxy import TcpProxy
from tests.support.upstream import UpstreamStub

# The service, with two routes that fail in ways of which it has none itself.
FAILING_APP = """
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
CREATE_TRIGGER = """
    CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN RAISE EXCEPTION 'hunter2' USING ERRCODE = '{sqlstate}'; END $$;
    CREATE CONSTRAINT TRIGGER fail AFTER INSERT ON notes
    DEFERRABLE INITIALLY {timing} FOR EACH ROW EXECUTE FUNCTION fail();
"""
DROP_TRIGGER = "DROP FUNCTION fail CASCADE"
NOTE = {"title": "hunter2", "body": "hunter2"}
TERMINATE = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'leaky'"
# The password and what users wrote, statements, tracebacks. The test adds the addresses.
SECRETS = [
    "hunter2",
    "Traceback",
    "SELECT",
    "INSERT",
    "UPDATE",
    "_revisions",
    "leaky",
    "postgresql:",
]


@pytest.fixture(scope="session")
def role_with_password(postgres_url: str) -> None:
    """Create a role `leaky`, which the server asks for its password."""

    async def prepare() -> None:
        connection = await asyncpg.connect(postgres_url)
        await connection.execute("CREATE ROLE leaky LOGIN PASSWORD 'hunter2'")
        rules = "('host all leaky all scram-sha-256'), ('host all all all trust')"
        file = await connection.fetchval("SHOW hba_file")
        await connection.execute(f"COPY (VALUES {rules}) TO '{file}'")
        await connection.execute("SELECT pg_reload_conf()")
        await connection.close()

    asyncio.run(prepare())


@pytest.mark.slow
@pytest.mark.usefixtures("role_with_password")
@pytest.mark.parametrize("program", mark_others(PROGRAMS), ids=name)
def test_failures_show_no_secret_and_each_is_logged_once(
    program: Combination, database_url: str, tmp_path: Path
) -> None:
    (tmp_path / "failing_app.py").write_text(FAILING_APP)
    asyncio.run(fail_in_every_way(program, database_url, tmp_path))


async def fail_in_every_way(program: Combination, database_url: str, folder: Path) -> None:
    database = database_url.rpartition("/")[2]
    server_port = int(database_url.rpartition(":")[2].split("/")[0])
    upstream_port = free_port()
    proxy = TcpProxy()
    await proxy.open(server_port)
    service = Service(
        program,
        folder,
        app="failing_app:app",
        DATABASE_URL=f"postgresql://leaky:hunter2@127.0.0.1:{proxy.port}/{database}",
        DATABASE_POOL_TIMEOUT="2",
        DATABASE_STATEMENT_TIMEOUT="1",
        UPSTREAM_URL=f"http://127.0.0.1:{upstream_port}",
        UPSTREAM_TIMEOUT="1",
    )
    await service.migrate(DATABASE_URL=database_url)
    insert = "INSERT INTO notes (title, body) VALUES ('hunter2', 'hunter2')"
    await execute(database_url, "GRANT ALL ON notes, note_revisions TO leaky", insert)
    before = len(service.log())
    await service.start()

    answers: dict[str, tuple[int, str]] = {}

    async def ask(failure: str, method: str, path: str, body: object = None) -> None:
        headers = {"X-Request-ID": failure}
        try:
            answer = await client.request(method, path, json=body, headers=headers)
        except HTTPError as error:  # the answer was cut off
            answers[failure] = (0, str(error))
        else:
            answers[failure] = (answer.status_code, f"{answer.headers}{answer.text}")

    sql = await asyncpg.connect(database_url)
    async with AsyncClient(base_url=f"http://127.0.0.1:{service.port}", timeout=10) as client:
        await ask("exception", "GET", "/fail")
        await ask("exception-late", "GET", "/fail-late")
        for sqlstate, timing in [
            ("P0001", "IMMEDIATE"),
            ("P0001", "DEFERRED"),
            ("23514", "IMMEDIATE"),
            ("23514", "DEFERRED"),
            ("40001", "DEFERRED"),
        ]:
            await sql.execute(CREATE_TRIGGER.format(sqlstate=sqlstate, timing=timing))
            await ask(f"{sqlstate}-{timing}", "POST", "/notes", NOTE)
            await sql.execute(DROP_TRIGGER)
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
        await sql.execute(TERMINATE)
        await asyncio.sleep(0.1)  # until the service has lost its connections
        await ask("read-only", "POST", "/notes", NOTE)
        await sql.execute("ALTER ROLE leaky RESET default_transaction_read_only")
        await ask("upstream-away", "POST", "/notes/1/synchronize")
        upstream = UpstreamStub()
        await upstream.start(upstream_port)
        for failure, response in {
            "upstream-error": b"HTTP/1.1 500 hunter2\r\nContent-Length: 7\r\n\r\nhunter2",
            "upstream-nonsense": b'HTTP/1.1 200 -\r\nContent-Length: 9\r\n\r\n"hunter2"',
            "upstream-no-http": b"hunter2",
            "upstream-slow": b"",
        }.items():
            upstream.response = response
            await ask(failure, "POST", "/notes/1/synchronize")
        upstream.close()
        await sql.execute("ALTER ROLE leaky PASSWORD 'another'")
        await sql.execute(TERMINATE)
        await asyncio.sleep(0.1)
        await ask("wrong-password", "GET", "/notes/1")
        await sql.execute("ALTER ROLE leaky PASSWORD 'hunter2'")
        await sql.execute("ALTER ROLE leaky NOLOGIN")
        await ask("no-such-role", "GET", "/health/ready")
        await sql.execute("ALTER ROLE leaky LOGIN")
        await sql.execute("ALTER ROLE leaky CONNECTION LIMIT 0")
        await ask("no-connection", "GET", "/health/ready")
        await sql.execute("ALTER ROLE leaky CONNECTION LIMIT -1")
        await proxy.close()
        await ask("refused", "GET", "/health/ready")
        await ask("refused-write", "POST", "/notes", NOTE)
        await ask("too-large", "POST", "/notes", {"title": "x" * 2_000_000})
        await proxy.open(server_port)
        await ask("well-again", "GET", "/health/ready")

    await service.stop()
    await proxy.close()
    await sql.close()

    statuses = {failure: status for failure, (status, _) in answers.items()}
    assert statuses == {
        "exception": 500,
        "exception-late": 0,
        "P0001-IMMEDIATE": 500,
        "P0001-DEFERRED": 500,
        "23514-IMMEDIATE": 422,
        "23514-DEFERRED": 422,
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
    log = service.log()[before:]
    secrets = [*SECRETS, f":{proxy.port}", f":{server_port}", f":{upstream_port}", database]
    for text in [log, *(answer for _, answer in answers.values())]:
        assert not [secret for secret in secrets if secret in text], text

    lines: list[dict[str, Any]] = [json.loads(line) for line in log.splitlines()]
    # A missing connection is explained in addition, once for each reason.
    explanations = [line["explanation"] for line in lines if line["message"] == "no connection"]
    assert len(explanations) == len(set(explanations)) >= 3
    lines = [line for line in lines if line["message"] != "no connection"]
    for failure, status in statuses.items():
        of_request = [line for line in lines if line.get("request_id") == failure]
        levels = [line["level"] for line in of_request if line["message"] != "request"]
        expected = {0: ["error"], 500: ["error"], 422: ["info"], 200: [], 413: []}
        assert levels == expected.get(status, ["warning"]), of_request
