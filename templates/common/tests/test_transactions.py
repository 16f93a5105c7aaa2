"""Transactions: a success is stored, a failure is not, and what conflicted is tried again."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, suppress
from decimal import Decimal

import asyncpg
import pytest
from httpx2 import AsyncClient
from httpx2 import Response as ClientResponse
from pydantic import SecretStr
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from service.database import Database
from service.errors import (
    CharacterNotAllowed,
    NumberOutOfRange,
    ValueNotAllowed,
    ValueRefused,
)
from service.postgres import translate
from service.retry import retry_on_conflict

from tests.failing_writes import FailingWrites
from tests.postgres_proxy import PostgresProxy
from tests.raw_sql import execute, fetch_value
from tests.serving import Settings, assert_problem, serve
from tests.temporary_database import Sql

READ, WRITE = ("GET", "/test-boxes"), ("POST", "/test-boxes")
# Sessions that wait for a lock of the one that asks. Nobody else on the server is touched.
BLOCKED = """
    SELECT pid FROM pg_locks
    WHERE NOT granted AND pg_backend_pid() = ANY (pg_blocking_pids(pid))
"""


@retry_on_conflict
async def read(request: Request) -> Response:
    database: Database = request.scope["state"]["database"]
    async with database.connection() as connection:
        return JSONResponse(await fetch_value(connection, "SELECT max(size) FROM test_boxes"))


@retry_on_conflict
async def write(request: Request) -> Response:
    """Store the next box, and enlarge the first one."""
    database: Database = request.scope["state"]["database"]
    async with database.transaction() as transaction:
        await execute(transaction, "INSERT INTO test_boxes SELECT max(size) + 1 FROM test_boxes")
        await execute(transaction, "UPDATE test_boxes SET changes = changes + 1 WHERE size = 1")
    return Response(status_code=201)


ROUTES = [Route("/test-boxes", read), Route("/test-boxes", write, methods=["POST"])]


@pytest.fixture(autouse=True)
async def table(sql: Sql) -> AsyncIterator[None]:
    """Boxes by their size. There is one, of size 1."""
    await sql.execute(
        "CREATE TABLE test_boxes (size int PRIMARY KEY, changes int NOT NULL DEFAULT 0)"
    )
    await sql.execute("INSERT INTO test_boxes VALUES (1)")
    yield
    await sql.execute("DROP TABLE test_boxes")


@pytest.fixture(scope="module")
async def client(settings: Settings) -> AsyncIterator[AsyncClient]:
    async with serve(settings, routes=ROUTES) as client:
        yield client


@pytest.fixture
async def failing_writes(sql: Sql) -> AsyncIterator[FailingWrites]:
    failing_writes = FailingWrites(sql, "INSERT ON test_boxes")
    yield failing_writes
    await failing_writes.stop()


async def stored_boxes(sql: Sql) -> list[int]:
    return [row["size"] for row in await sql.fetch("SELECT size FROM test_boxes ORDER BY size")]


@pytest.mark.parametrize("sqlstate", ["40001", "40P01"])
async def test_conflicting_transaction_is_retried(
    client: AsyncClient, sql: Sql, failing_writes: FailingWrites, sqlstate: str
) -> None:
    await failing_writes.start(sqlstate, at_commit=False, times=2)
    assert (await client.request(*WRITE)).is_success
    assert await failing_writes.attempts() == 3
    assert await stored_boxes(sql) == [1, 2]


async def test_transaction_that_always_conflicts_returns_503(
    client: AsyncClient, sql: Sql, failing_writes: FailingWrites
) -> None:
    await failing_writes.start("40001", at_commit=False)
    assert_problem(await client.request(*WRITE), 503)
    assert await failing_writes.attempts() == 4
    assert await stored_boxes(sql) == [1]


@pytest.mark.parametrize(
    ("sqlstate", "status"), [("P0001", 500), ("23505", 409), ("40001", 503), ("53100", 503)]
)
async def test_failed_commit_is_not_retried(
    client: AsyncClient, sql: Sql, failing_writes: FailingWrites, sqlstate: str, status: int
) -> None:
    await failing_writes.start(sqlstate, at_commit=True)
    response = await client.request(*WRITE)
    assert_problem(response, status)
    assert "hunter2" not in response.text
    assert await failing_writes.attempts() == 1
    assert await stored_boxes(sql) == [1]
    await failing_writes.stop()
    assert (await client.request(*WRITE)).is_success


async def wait_for_blocked_statement(sql: Sql) -> int:
    """Wait until a statement of the service waits for a lock that the test holds.

    Return the PID of the server's process that executes it.
    """
    for _ in range(300):
        pid: int | None = await sql.fetchval(BLOCKED)
        if pid is not None:
            return pid
        await asyncio.sleep(0.01)
    raise TimeoutError


async def test_deadlock_is_retried(client: AsyncClient, sql: Sql) -> None:
    async with asyncio.TaskGroup() as tasks:
        # PostgreSQL fails the transaction that has waited longer: usually the service's, but the
        # test's if its statements came late.
        with suppress(asyncpg.DeadlockDetectedError):
            async with sql.transaction():
                await sql.execute("UPDATE test_boxes SET changes = 5")
                request = tasks.create_task(client.request(*WRITE))
                # The service has stored its box, and waits for the one that the test changed.
                await wait_for_blocked_statement(sql)
                await sql.execute("INSERT INTO test_boxes VALUES (2)")
                await sql.execute("DELETE FROM test_boxes WHERE size = 2")
    assert request.result().status_code == 201
    assert await stored_boxes(sql) == [1, 2]


@pytest.mark.parametrize("pgbouncer", [False, True])  # with PgBouncer only the client has a timeout
async def test_slow_statement_times_out(settings: Settings, sql: Sql, pgbouncer: bool) -> None:
    service = serve(
        settings, routes=ROUTES, database_statement_timeout=0.2, database_pgbouncer=pgbouncer
    )
    async with asyncio.timeout(5), service as client:
        async with sql.transaction():
            await sql.execute("LOCK TABLE test_boxes")
            assert_problem(await client.request(*WRITE), 503)
            assert_problem(await client.request(*READ), 503)
        assert (await client.request(*READ)).json() == 1


async def test_request_waits_only_once_for_silent_server(
    settings: Settings, postgres_proxy: PostgresProxy
) -> None:
    """After the timeout neither a ROLLBACK nor the next request waits for the server again."""
    requests = [READ, WRITE]
    url = SecretStr(postgres_proxy.url)
    async with AsyncExitStack() as stack:
        clients = [
            await stack.enter_async_context(
                serve(settings, routes=ROUTES, database_url=url, database_statement_timeout=1)
            )
            for _ in requests  # each has a pool of one
        ]

        async def send_all() -> list[ClientResponse]:
            calls = zip(clients, requests, strict=True)
            return await asyncio.gather(*(client.request(*request) for client, request in calls))

        for client in clients:
            assert (await client.request(*READ)).json() == 1
        postgres_proxy.start_dropping()
        async with asyncio.timeout(2.8):
            failed = await send_all()
        for response in failed:
            assert_problem(response, 503)
        postgres_proxy.stop_dropping()
        assert [response.is_success for response in await send_all()] == [True, True]


@pytest.mark.parametrize("request_line", [READ, WRITE])
async def test_connection_that_server_closes_is_replaced(
    client: AsyncClient, sql: Sql, request_line: tuple[str, str]
) -> None:
    async with asyncio.TaskGroup() as tasks, sql.transaction():
        await sql.execute("LOCK TABLE test_boxes")
        request = tasks.create_task(client.request(*request_line))
        pid = await wait_for_blocked_statement(sql)
        await sql.execute("SELECT pg_terminate_backend($1)", pid)
        assert_problem(await request, 503)
    assert await stored_boxes(sql) == [1]
    assert (await client.request(*request_line)).is_success


async def test_read_only_database_answers_reads_and_refuses_writes(
    settings: Settings, sql: Sql
) -> None:
    name = await sql.fetchval("SELECT current_database()")
    await sql.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    try:
        async with serve(settings, routes=ROUTES) as client:
            assert (await client.request(*READ)).json() == 1
            assert_problem(await client.request(*WRITE), 503)
            # Like a failover to a writable server, this is seen by new connections only.
            await sql.execute(f"ALTER DATABASE {name} RESET default_transaction_read_only")
            assert (await client.request(*WRITE)).is_success
    finally:
        await sql.execute(f"ALTER DATABASE {name} RESET default_transaction_read_only")


@pytest.mark.parametrize("pgbouncer", [False, True])
async def test_changed_column_type_fails_no_request(
    settings: Settings, sql: Sql, pgbouncer: bool
) -> None:
    """Statements that were prepared before the change are prepared and run again."""
    async with serve(settings, routes=ROUTES, database_pgbouncer=pgbouncer) as client:
        for new_type in ("bigint", "integer"):
            for request in (READ, WRITE):
                assert (await client.request(*request)).is_success
            await sql.execute(f"ALTER TABLE test_boxes ALTER COLUMN size TYPE {new_type}")
            for request in (READ, WRITE):
                assert (await client.request(*request)).is_success


@pytest.mark.parametrize("end", ["raise", "cancel"])
async def test_interrupted_handler_stores_nothing(settings: Settings, sql: Sql, end: str) -> None:
    written = asyncio.Event()

    async def handler(request: Request) -> Response:
        async with request.state.database.transaction() as transaction:
            await execute(transaction, "INSERT INTO test_boxes VALUES (2)")
            written.set()
            if end == "raise":
                raise RuntimeError
            await asyncio.sleep(60)
        raise AssertionError("unreachable: the test cancels it")

    routes = [*ROUTES, Route("/test-interrupted", handler)]
    async with serve(settings, routes=routes) as client:
        request = asyncio.create_task(client.get("/test-interrupted"))
        async with asyncio.timeout(3):
            await written.wait()
        if end == "raise":
            assert_problem(await request, 500)
        else:
            request.cancel()
            with pytest.raises(asyncio.CancelledError):
                await request
        assert (await client.request(*READ)).json() == 1
    assert await stored_boxes(sql) == [1]


async def test_swallowed_error_does_not_turn_rollback_into_success(
    settings: Settings, sql: Sql, failing_writes: FailingWrites
) -> None:
    await failing_writes.start("23514", at_commit=False, times=1)

    async def handler(request: Request) -> Response:
        async with request.state.database.transaction() as transaction:
            with suppress(Exception):
                await execute(transaction, "INSERT INTO test_boxes VALUES (2)")
        return Response(status_code=201)

    async with serve(settings, routes=[*ROUTES, Route("/test-swallow", handler)]) as client:
        assert_problem(await client.get("/test-swallow"), 500)
        assert await stored_boxes(sql) == [1]
        assert (await client.request(*WRITE)).status_code == 201


@pytest.mark.parametrize("pgbouncer", [False, True])
async def test_requests_execute_the_fewest_possible_statements(
    settings: Settings, postgres_proxy: PostgresProxy, pgbouncer: bool
) -> None:
    url = SecretStr(postgres_proxy.url)
    service = serve(settings, routes=ROUTES, database_url=url, database_pgbouncer=pgbouncer)
    async with service as client:
        for request, expected in [(READ, "SELECT"), (WRITE, "BEGIN INSERT UPDATE COMMIT")]:
            for _ in range(2):  # the first one may also look up types
                postgres_proxy.statements.clear()
                assert (await client.request(*request)).is_success
            words = [text.split(maxsplit=1)[0].rstrip(";") for text in postgres_proxy.statements]
            assert " ".join(words) == expected
    # Behind PgBouncer the next transaction may run where a named statement was not prepared.
    assert not pgbouncer or postgres_proxy.prepared_names == {""}


@pytest.mark.parametrize(
    ("column_type", "value", "error"),
    [
        ("int", 2**31, NumberOutOfRange),
        ("text", "\ud800", CharacterNotAllowed),
        ("numeric", Decimal("1E+200000000"), ValueNotAllowed),
    ],
)
async def test_value_that_the_driver_refuses_is_the_error_of_the_caller(
    sql: Sql, column_type: str, value: object, error: type[ValueRefused]
) -> None:
    """PostgreSQL never sees it."""
    with pytest.raises(asyncpg.DataError) as refused:
        await sql.fetchval(f"SELECT $1::{column_type}", value)
    assert isinstance(translate(refused.value, is_usable=True), error)
