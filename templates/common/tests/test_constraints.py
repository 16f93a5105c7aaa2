"""Constraints: a change that breaks one is the caller's error, at its statement and at COMMIT."""

import asyncio
import re
from collections.abc import AsyncIterator

import pytest
from httpx2 import AsyncClient
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from service.constraints import constraint_errors
from service.database import Database
from service.errors import ServiceError

from tests.raw_sql import execute
from tests.serving import Settings, assert_problem, connections_in_use, serve
from tests.temporary_database import Sql

TABLES = """
CREATE TABLE test_shelves (id int PRIMARY KEY);
CREATE TABLE test_items (
    id int PRIMARY KEY,
    sku text CONSTRAINT test_items_sku_key UNIQUE,
    late_sku text CONSTRAINT test_items_late_sku_key UNIQUE DEFERRABLE INITIALLY DEFERRED,
    shelf int CONSTRAINT test_items_shelf_fkey REFERENCES test_shelves ON DELETE RESTRICT,
    late_shelf int CONSTRAINT test_items_late_shelf_fkey REFERENCES test_shelves
        DEFERRABLE INITIALLY DEFERRED,
    days int4range,
    late_days int4range,
    name varchar(8) NOT NULL DEFAULT '',
    amount smallint CONSTRAINT test_items_amount_check CHECK (amount > 0),
    CONSTRAINT test_items_days_excl EXCLUDE USING gist (days WITH &&),
    CONSTRAINT test_items_late_days_excl EXCLUDE USING gist (late_days WITH &&)
        DEFERRABLE INITIALLY DEFERRED
);
INSERT INTO test_shelves VALUES (1);
INSERT INTO test_items (id, sku, late_sku, shelf, days, late_days)
    VALUES (0, 'hunter2', 'hunter2', 1, '[1,3]', '[1,3]');
"""
# The status, the SQLSTATE (a regular expression) and the constraint, or the column, of a change.
# PostgreSQL names neither where a value does not fit its type: there the last one is "".
CHANGES = {
    "INSERT INTO test_items (id, sku) VALUES (1, 'hunter2')": (409, "23505", "test_items_sku_key"),
    "INSERT INTO test_items (id, late_sku) VALUES (1, 'hunter2')": (
        409,
        "23505",
        "test_items_late_sku_key",
    ),
    "INSERT INTO test_items (id, shelf) VALUES (1, 2)": (409, "23503", "test_items_shelf_fkey"),
    "INSERT INTO test_items (id, late_shelf) VALUES (1, 2)": (
        409,
        "23503",
        "test_items_late_shelf_fkey",
    ),
    # The first SQLSTATE is that of PostgreSQL 18 and later.
    "DELETE FROM test_shelves": (409, "23001|23503", "test_items_shelf_fkey"),
    "INSERT INTO test_items (id, days) VALUES (1, '[3,4]')": (409, "23P01", "test_items_days_excl"),
    "INSERT INTO test_items (id, late_days) VALUES (1, '[3,4]')": (
        409,
        "23P01",
        "test_items_late_days_excl",
    ),
    "INSERT INTO test_items (id, name) VALUES (1, NULL)": (422, "23502", "name"),
    "INSERT INTO test_items (id, amount) VALUES (1, 0)": (422, "23514", "test_items_amount_check"),
    "INSERT INTO test_items (id, name) VALUES (1, 'hunter2 and more')": (422, "22001", ""),
    "INSERT INTO test_items (id, amount) VALUES (1, 99999)": (422, "22003", ""),
    r"INSERT INTO test_items (id, sku) VALUES (1, convert_from('\x00', 'UTF8'))": (
        422,
        "22021",
        "",
    ),
    r"""INSERT INTO test_items (id, sku) VALUES (1, '"\u0000"'::jsonb->>0)""": (422, "22P05", ""),
}


class SkuTaken(ServiceError):
    status = 418
    detail = "There is an item with this SKU."


async def write(request: Request) -> Response:
    """Execute the SQL in the body."""
    database: Database = request.scope["state"]["database"]
    async with database.transaction() as transaction:
        await execute(transaction, (await request.body()).decode())
    return Response(status_code=204)


async def write_item(request: Request) -> Response:
    async with constraint_errors(test_items_sku_key=SkuTaken, test_items_late_sku_key=SkuTaken):
        return await write(request)


async def write_in_task(request: Request) -> Response:
    """The block is inside the task group, whose error is a group."""
    async with constraint_errors(test_items_sku_key=SkuTaken), asyncio.TaskGroup() as tasks:
        task = tasks.create_task(write(request))
    return task.result()


async def write_with_task(request: Request) -> Response:
    """The task group is inside the block."""
    database: Database = request.scope["state"]["database"]
    change = (await request.body()).decode()
    async with (
        constraint_errors(test_items_sku_key=SkuTaken),
        database.transaction() as transaction,
        asyncio.TaskGroup() as tasks,
    ):
        tasks.create_task(execute(transaction, change))
    return Response(status_code=204)


async def write_with_bug(request: Request) -> Response:
    """Another task of the group fails as well."""
    database: Database = request.scope["state"]["database"]
    change = (await request.body()).decode()

    async def fail() -> None:
        try:
            await asyncio.sleep(60)
        finally:  # The group cancels this task, because the other one has failed.
            raise RuntimeError

    async with (
        constraint_errors(test_items_sku_key=SkuTaken),
        database.transaction() as transaction,
        asyncio.TaskGroup() as tasks,
    ):
        tasks.create_task(execute(transaction, change))
        tasks.create_task(fail())
    raise AssertionError("unreachable: both tasks fail")


@pytest.fixture(scope="module")
async def client(settings: Settings) -> AsyncIterator[AsyncClient]:
    routes = [
        Route("/test-write", write, methods=["POST"]),
        Route("/test-write-item", write_item, methods=["POST"]),
        Route("/test-write-in-task", write_in_task, methods=["POST"]),
        Route("/test-write-with-task", write_with_task, methods=["POST"]),
        Route("/test-write-with-bug", write_with_bug, methods=["POST"]),
    ]
    async with serve(settings, routes=routes) as client:
        yield client


@pytest.fixture(autouse=True)
async def tables(sql: Sql) -> AsyncIterator[None]:
    await sql.execute(TABLES)
    yield
    await sql.execute("DROP TABLE test_items, test_shelves")


async def assert_nothing_is_stored(client: AsyncClient, sql: Sql) -> None:
    """And the pool's only connection is usable."""
    assert await sql.fetchval("SELECT array_agg(id) FROM test_items") == [0]
    response = await client.post("/test-write", content="INSERT INTO test_items (id) VALUES (1)")
    assert response.status_code == 204
    assert connections_in_use() == 0


@pytest.mark.parametrize("change", CHANGES)
async def test_violation_is_answered_as_the_error_of_the_caller(
    client: AsyncClient, sql: Sql, change: str, capsys: pytest.CaptureFixture[str]
) -> None:
    status, sqlstate, name = CHANGES[change]
    response = await client.post("/test-write", content=change)
    assert_problem(response, status)
    log = capsys.readouterr().out
    assert re.search(sqlstate, log)
    assert name in log
    assert "hunter2" not in response.text + log
    assert "items" not in response.text
    await assert_nothing_is_stored(client, sql)


@pytest.mark.parametrize(
    ("change", "constraint"),
    [
        ("INSERT INTO test_items (id, sku) VALUES (1, 'hunter2')", "test_items_sku_key"),
        ("INSERT INTO test_items (id, late_sku) VALUES (1, 'hunter2')", "test_items_late_sku_key"),
    ],
)
async def test_domain_can_answer_its_constraint_with_an_error_of_its_own(
    client: AsyncClient, sql: Sql, change: str, constraint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    problem = assert_problem(await client.post("/test-write-item", content=change), SkuTaken.status)
    assert problem["detail"] == SkuTaken.detail
    assert constraint in capsys.readouterr().out
    await assert_nothing_is_stored(client, sql)


async def test_other_constraints_and_errors_are_answered_as_they_are(client: AsyncClient) -> None:
    change = "INSERT INTO test_items (id, shelf) VALUES (1, 2)"
    assert_problem(await client.post("/test-write-item", content=change), 409)
    assert_problem(await client.post("/test-write-item", content="SELECT 1 / 0"), 500)


@pytest.mark.parametrize("path", ["/test-write-in-task", "/test-write-with-task"])
async def test_violation_in_a_task_group_is_answered_like_any_other(
    client: AsyncClient, sql: Sql, path: str
) -> None:
    change = "INSERT INTO test_items (id, sku) VALUES (1, 'hunter2')"
    assert_problem(await client.post(path, content=change), SkuTaken.status)
    change = "INSERT INTO test_items (id, shelf) VALUES (1, 2)"
    assert_problem(await client.post(path, content=change), 409)
    assert_problem(await client.post(path, content="SELECT 1 / 0"), 500)
    await assert_nothing_is_stored(client, sql)


async def test_violation_does_not_hide_another_error_of_the_task_group(
    client: AsyncClient, sql: Sql, capsys: pytest.CaptureFixture[str]
) -> None:
    for change in (
        "INSERT INTO test_items (id, sku) VALUES (1, 'hunter2')",
        "INSERT INTO test_items (id, shelf) VALUES (1, 2)",
    ):
        assert_problem(await client.post("/test-write-with-bug", content=change), 500)
        assert "RuntimeError" in capsys.readouterr().out
    await assert_nothing_is_stored(client, sql)


async def test_error_of_a_domain_may_be_raised_within_the_transaction(
    settings: Settings, sql: Sql
) -> None:
    async with Database(settings) as database:
        with pytest.raises(SkuTaken):
            async with (
                database.transaction() as transaction,
                constraint_errors(test_items_sku_key=SkuTaken),
            ):
                await execute(transaction, "INSERT INTO test_items (id, sku) VALUES (1, 'hunter2')")
    assert await sql.fetchval("SELECT array_agg(id) FROM test_items") == [0]
