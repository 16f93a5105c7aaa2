"""Transactions: what was answered is stored, what failed is not, and no connection is lost."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from typing import TypeAlias

import asyncpg
import pytest
from httpx2 import AsyncClient
from pydantic import SecretStr
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.notes.queries import create

from tests.databases import Sql
from tests.notes.upstream import Answer, Note, Upstream
from tests.serving import Settings, problem, serve
from tests.wire import Wire

Break: TypeAlias = Callable[..., Awaitable[None]]

WRITES = [
    ("POST", "/notes", {"title": "two"}),
    ("PATCH", "/notes/1", {"title": "two"}),
    ("POST", "/notes/1/synchronize", None),
    ("DELETE", "/notes/1", None),
]
BREAK = """
    CREATE SEQUENCE tries;
    CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF nextval('tries') <= {times} THEN
            RAISE EXCEPTION 'hunter2' USING ERRCODE = '{sqlstate}';
        END IF;
        RETURN NULL;
    END $$;
    CREATE CONSTRAINT TRIGGER fail AFTER INSERT OR UPDATE ON notes
    DEFERRABLE INITIALLY {when} FOR EACH ROW EXECUTE FUNCTION fail();
"""
MEND = "DROP FUNCTION IF EXISTS fail CASCADE; DROP SEQUENCE IF EXISTS tries"


@pytest.fixture
async def break_writes(sql: Sql) -> AsyncIterator[Break]:
    """Let writes fail with an SQLSTATE, at once or at COMMIT, for so many times."""

    async def break_writes(sqlstate: str, *, at_commit: bool, times: int = 1000) -> None:
        when = "DEFERRED" if at_commit else "IMMEDIATE"
        await sql.execute(BREAK.format(sqlstate=sqlstate, times=times, when=when))

    yield break_writes
    await sql.execute(MEND)


async def tries(sql: Sql) -> int:
    found: int = await sql.fetchval("SELECT last_value FROM tries")
    return found


async def rows(sql: Sql) -> list[tuple[int, int, str]]:
    found = await sql.fetch("SELECT id, version, title FROM notes ORDER BY id")
    return [tuple(row) for row in found]


@pytest.mark.parametrize(("method", "path", "body"), WRITES)
async def test_the_commit_is_done_before_the_first_byte_of_the_answer(
    settings: Settings, note: Note, sql: Sql, method: str, path: str, body: object
) -> None:
    seen = []

    def looking(app: ASGIApp) -> ASGIApp:
        async def looking_app(scope: Scope, receive: Receive, send: Send) -> None:
            async def look(message: Message) -> None:
                if message["type"] == "http.response.start":
                    seen.append(await rows(sql))
                await send(message)

            await app(scope, receive, look)

        return looking_app

    before = await rows(sql)
    async with serve(settings, around=looking) as client:
        assert (await client.request(method, path, json=body)).is_success
    assert seen == [await rows(sql)] != [before]


@pytest.mark.parametrize(("sqlstate", "status"), [("23514", 500), ("40001", 503), ("53100", 503)])
@pytest.mark.parametrize(("method", "path", "body"), WRITES[:3])
async def test_what_fails_at_its_commit_is_no_success_and_costs_no_connection(
    client: AsyncClient,
    note: Note,
    sql: Sql,
    break_writes: Break,
    sqlstate: str,
    status: int,
    method: str,
    path: str,
    body: object,
) -> None:
    before = await rows(sql)
    await break_writes(sqlstate, at_commit=True)
    for _ in range(3):
        answer = await client.request(method, path, json=body)
        problem(answer, status)
        assert "hunter2" not in answer.text
    assert await tries(sql) == 3  # nobody knows what became of a COMMIT: it is not tried again
    assert await rows(sql) == before
    await sql.execute(MEND)
    assert (await client.request(method, path, json=body)).is_success


@pytest.mark.parametrize("sqlstate", ["40001", "40P01"])
@pytest.mark.parametrize(("method", "path", "body"), WRITES[:3])
async def test_a_transaction_that_collides_is_tried_again(
    client: AsyncClient,
    note: Note,
    upstream: Upstream,
    sql: Sql,
    break_writes: Break,
    sqlstate: str,
    method: str,
    path: str,
    body: object,
) -> None:
    await break_writes(sqlstate, at_commit=False, times=2)
    assert (await client.request(method, path, json=body)).is_success
    assert await tries(sql) == 3
    assert len(upstream.received) == path.endswith("synchronize")  # which is asked but once
    await sql.execute("DELETE FROM notes; ALTER SEQUENCE tries RESTART")


async def test_a_transaction_that_always_collides_is_given_up(
    client: AsyncClient, sql: Sql, break_writes: Break
) -> None:
    await break_writes("40001", at_commit=False)
    problem(await client.post("/notes", json={"title": "one"}), 503)
    assert await tries(sql) == 4
    assert await rows(sql) == []


async def blocked(sql: Sql) -> None:
    """Wait until a statement waits for a lock that we hold."""
    for _ in range(300):
        if await sql.fetchval("SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted)"):
            return
        await asyncio.sleep(0.01)
    raise TimeoutError


async def test_a_real_deadlock_is_cured_by_trying_again(
    client: AsyncClient, note: Note, sql: Sql
) -> None:
    async with asyncio.TaskGroup() as tasks:
        # PostgreSQL ends the transaction that waited first: ours only where we came late.
        with suppress(asyncpg.DeadlockDetectedError):
            async with sql.transaction():
                await sql.execute("INSERT INTO note_revisions VALUES (1, 2, 'ours', '')")
                change = tasks.create_task(client.patch("/notes/1", json={"title": "two"}))
                await blocked(sql)  # it has the note, and waits for our revision
                await sql.execute("UPDATE notes SET body = 'ours'")
                await sql.execute("DELETE FROM note_revisions WHERE version = 2")
    assert change.result().status_code == 200
    assert await rows(sql) == [(1, 2, "two")]


@pytest.mark.parametrize("pgbouncer", [False, True])  # where the client alone sees to it
async def test_a_statement_that_takes_too_long_is_ended(
    settings: Settings, note: Note, sql: Sql, pgbouncer: bool
) -> None:
    service = serve(settings, database_statement_timeout=0.2, database_pgbouncer=pgbouncer)
    async with asyncio.timeout(5), service as client:
        async with sql.transaction():
            await sql.execute("LOCK TABLE notes")
            problem(await client.post("/notes", json={"title": "two"}), 503)
            problem(await client.get("/notes/1"), 503)
        assert (await client.get("/notes")).json()["items"] == [note]


@pytest.mark.parametrize(("method", "path", "body"), [*WRITES[:2], ("GET", "/notes", None)])
async def test_a_server_that_falls_silent_is_waited_for_once(
    settings: Settings, note: Note, wire: Wire, method: str, path: str, body: object
) -> None:
    """And not by a ROLLBACK again, nor by who comes next."""
    url = SecretStr(wire.url)
    async with serve(settings, database_url=url, database_statement_timeout=1) as client:
        assert (await client.get("/notes/1")).json() == note
        wire.fall_silent()
        async with asyncio.timeout(2.8):
            problem(await client.request(method, path, json=body), 503)
        wire.speak()
        assert (await client.request(method, path, json=body)).is_success


@pytest.mark.parametrize(("method", "path", "body"), [*WRITES[:2], ("GET", "/notes", None)])
async def test_a_connection_that_the_server_ends_is_replaced(
    client: AsyncClient, note: Note, sql: Sql, method: str, path: str, body: object
) -> None:
    async with asyncio.TaskGroup() as tasks, sql.transaction():
        await sql.execute("LOCK TABLE notes")
        request = tasks.create_task(client.request(method, path, json=body))
        await blocked(sql)
        await sql.execute("SELECT pg_terminate_backend(pid) FROM pg_locks WHERE NOT granted")
        problem(await request, 503)
    assert (await client.get("/notes")).json()["items"] == [note]
    assert (await client.request(method, path, json=body)).is_success


async def test_a_read_only_database_still_answers_reads(
    settings: Settings, note: Note, sql: Sql
) -> None:
    name = await sql.fetchval("SELECT current_database()")
    await sql.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    try:
        async with serve(settings) as client:
            assert (await client.get("/notes/1")).json() == note
            for method, path, body in WRITES:
                problem(await client.request(method, path, json=body), 503)
            # The setting, or a failover to another server, is for connections made from now on.
            await sql.execute(f"ALTER DATABASE {name} RESET default_transaction_read_only")
            assert (await client.patch("/notes/1", json={"title": "two"})).is_success
    finally:
        await sql.execute(f"ALTER DATABASE {name} RESET default_transaction_read_only")


@pytest.mark.parametrize("end", ["raise", "cancel"])
async def test_a_handler_that_does_not_come_to_its_end_leaves_nothing(
    settings: Settings, sql: Sql, end: str
) -> None:
    written = asyncio.Event()

    async def handler(request: Request) -> Response:
        async with request.state.database.transaction() as connection:
            await create(connection, "one", "")
            written.set()
            if end == "raise":
                raise RuntimeError
            await asyncio.sleep(60)
        raise AssertionError("unreachable: the test cancels it")

    async with serve(settings, routes=[Route("/stop", handler)]) as client:
        request = asyncio.create_task(client.get("/stop"))
        async with asyncio.timeout(3):
            await written.wait()
        if end == "raise":
            problem(await request, 500)
        else:
            request.cancel()
            with pytest.raises(asyncio.CancelledError):
                await request
        assert (await client.get("/notes")).json()["items"] == []
    assert await rows(sql) == []


async def test_an_error_that_a_handler_swallows_does_not_make_a_rollback_a_success(
    settings: Settings, sql: Sql, break_writes: Break
) -> None:
    await break_writes("23514", at_commit=False, times=1)

    async def handler(request: Request) -> Response:
        async with request.state.database.transaction() as connection:
            with suppress(Exception):
                await create(connection, "one", "")
        return Response(status_code=201)

    async with serve(settings, routes=[Route("/swallow", handler)]) as client:
        problem(await client.get("/swallow"), 500)
        assert (await client.post("/notes", json={"title": "two"})).status_code == 201
    assert [title for _, _, title in await rows(sql)] == ["two"]


@pytest.mark.parametrize("pgbouncer", [False, True])
async def test_no_request_costs_more_statements_than_it_must(
    settings: Settings, note: Note, upstream: Upstream, wire: Wire, pgbouncer: bool
) -> None:
    meanwhile: list[str] = []

    async def look(note: Note) -> Answer:
        meanwhile[:] = wire.statements()
        return 200, b'{"title": "ONE", "body": ""}'

    upstream.answer = look
    url = SecretStr(wire.url)
    async with serve(settings, database_url=url, database_pgbouncer=pgbouncer) as client:

        async def statements(method: str, path: str, body: object = None) -> str:
            wire.statements()
            assert (await client.request(method, path, json=body)).is_success
            return " ".join(wire.statements())

        for _ in "what asks for the types once", "what is counted":
            write = "BEGIN {} INSERT COMMIT"
            created = await client.post("/notes", json={"title": "one"})
            path = created.headers["location"]
            counted = {
                "list": await statements("GET", "/notes"),
                "filter": await statements("GET", "/notes?synchronized=false"),
                "get": await statements("GET", path),
                "revisions": await statements("GET", f"{path}/revisions"),
                "create": await statements("POST", "/notes", {"title": "one"}),
                "change": await statements("PATCH", path, {"title": "two"}),
                "synchronize": await statements("POST", f"{path}/synchronize"),
                "delete": await statements("DELETE", path),
            }
    assert counted == {
        "list": "SELECT",
        "filter": "SELECT",
        "get": "SELECT",
        "revisions": "SELECT",
        "create": write.format("INSERT"),
        "change": write.format("UPDATE"),
        "synchronize": write.format("UPDATE"),  # after the call
        "delete": "BEGIN DELETE COMMIT",
    }
    assert meanwhile == ["SELECT"]  # before it
    assert not pgbouncer or wire.prepared == {""}  # the next transaction may be elsewhere
