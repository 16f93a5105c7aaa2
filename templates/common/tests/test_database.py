"""The connections of `Database`: shared fairly, fit for each request, and never lost."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import (
    AbstractAsyncContextManager,
    AsyncExitStack,
    asynccontextmanager,
    suppress,
)
from typing import Any, TypeAlias

import pytest
from pydantic import SecretStr

from service.database import Connection, Database
from service.errors import (
    DatabaseUnavailable,
    NestedCheckout,
    PoolExhausted,
    StatementTimeout,
    TransactionNotCommitted,
)

from tests.failing_writes import FailingWrites
from tests.postgres_proxy import PostgresProxy
from tests.raw_sql import USED_TOO_LATE, execute, fetch_value
from tests.serving import Settings, connections_in_use
from tests.temporary_database import Sql

Block: TypeAlias = Callable[[], AbstractAsyncContextManager[Connection]]

POOL_SIZE = 2
STATEMENT_TIMEOUT = 1.0  # second
PID = "SELECT pg_backend_pid()"
SESSIONS = "SELECT count(*) FROM pg_stat_activity WHERE pid = ANY($1::int[])"


@pytest.fixture
async def database(settings: Settings, sql: Sql) -> AsyncIterator[Database]:
    """A pool of two connections, both of which must be usable at the end of the test."""
    small = settings.model_copy(
        update={
            "database_pool_size": POOL_SIZE,
            "database_pool_timeout": 1.0,
            "database_statement_timeout": STATEMENT_TIMEOUT,
        }
    )
    await sql.execute("CREATE TABLE IF NOT EXISTS test_written (number int PRIMARY KEY)")
    await sql.execute("TRUNCATE test_written")
    async with Database(small) as database:
        yield database
        await assert_pool_is_whole(database)
    await sql.execute("DROP TABLE test_written")


async def assert_pool_is_whole(database: Database) -> set[int]:
    """Check out as many connections as the pool has, at once, and use each of them.

    Return the PIDs of the server's processes.
    """
    everybody_has_one = asyncio.Barrier(POOL_SIZE)

    async def use() -> int:
        async with database.connection() as connection:
            await everybody_has_one.wait()
            pid: int = await fetch_value(connection, PID)
            return pid

    async with asyncio.timeout(5):
        pids = await asyncio.gather(*(use() for _ in range(POOL_SIZE)))
    assert len(set(pids)) == POOL_SIZE
    assert connections_in_use() == 0
    return set(pids)


async def written(sql: Sql) -> list[int]:
    return [row["number"] for row in await sql.fetch("SELECT number FROM test_written ORDER BY 1")]


@pytest.fixture(params=["connection", "transaction"])
def block(request: pytest.FixtureRequest, database: Database) -> Block:
    """Each of the two ways to check out a connection."""
    method: Block = getattr(database, request.param)
    return method


async def test_connection_is_reused(database: Database) -> None:
    pids = set()
    for _ in range(10):
        async with database.connection() as connection:
            pids.add(await fetch_value(connection, PID))
        async with database.transaction() as transaction:
            pids.add(await fetch_value(transaction, PID))
    assert len(pids) == 1


async def test_transaction_is_committed_at_the_end_of_its_block(
    database: Database, sql: Sql
) -> None:
    async with database.transaction() as transaction:
        await execute(transaction, "INSERT INTO test_written VALUES (1)")
        assert await written(sql) == []
    assert await written(sql) == [1]


async def test_transaction_is_rolled_back_on_error(database: Database, sql: Sql) -> None:
    with pytest.raises(ZeroDivisionError):
        async with database.transaction() as transaction:
            await execute(transaction, "INSERT INTO test_written VALUES (1)")
            raise ZeroDivisionError
    assert await written(sql) == []


@pytest.mark.parametrize("level", ["serializable", "read uncommitted"])
async def test_transaction_has_the_isolation_level_of_the_server(
    settings: Settings, sql: Sql, level: str
) -> None:
    name = await sql.fetchval("SELECT current_database()")
    await sql.execute(f"ALTER DATABASE {name} SET default_transaction_isolation = '{level}'")
    try:
        async with Database(settings) as database, database.transaction() as transaction:
            shown = await fetch_value(transaction, "SHOW transaction_isolation")
    finally:
        await sql.execute(f"ALTER DATABASE {name} RESET default_transaction_isolation")
    # PostgreSQL treats "read uncommitted" as "read committed".
    assert shown.replace("uncommitted", "committed") == level.replace("uncommitted", "committed")


async def test_statement_on_a_connection_stands_alone(database: Database, sql: Sql) -> None:
    with pytest.raises(ZeroDivisionError):
        async with database.connection() as connection:
            await execute(connection, "INSERT INTO test_written VALUES (1)")
            raise ZeroDivisionError
    assert await written(sql) == [1]


async def test_nested_checkout_fails_at_once(database: Database, block: Block) -> None:
    for nested in (database.connection, database.transaction):
        with pytest.raises(NestedCheckout, match="already holds a connection"):
            async with block(), asyncio.timeout(0.5), nested():
                pass


async def test_task_started_in_a_block_may_check_out_a_connection(
    database: Database, block: Block
) -> None:
    async def other() -> int:
        async with database.connection() as connection:
            pid: int = await fetch_value(connection, PID)
            return pid

    async with block() as connection:
        pid = await fetch_value(connection, PID)
        assert await asyncio.create_task(other()) != pid


async def test_full_pool_is_reported_after_the_timeout(database: Database) -> None:
    async with hold(database), hold(database):
        with pytest.raises(PoolExhausted):
            async with asyncio.timeout(2), database.connection():
                pass


@asynccontextmanager
async def hold(database: Database) -> AsyncIterator[None]:
    """Let another task hold a connection during the block."""
    held, end = asyncio.Event(), asyncio.Event()

    async def holder() -> None:
        async with database.connection():
            held.set()
            await end.wait()

    task = asyncio.create_task(holder())
    await held.wait()
    try:
        yield
    finally:
        end.set()
        await task


async def test_slot_is_passed_on_when_a_waiting_task_is_cancelled(database: Database) -> None:
    async def use() -> None:
        async with database.connection() as connection:
            await fetch_value(connection, PID)

    async with hold(database), hold(database):
        waiting = [asyncio.create_task(use()) for _ in range(3)]
        await asyncio.sleep(0.01)
        waiting[1].cancel()
    waiting[0].cancel()  # at the moment when it gets the free slot
    async with asyncio.timeout(3):
        results = await asyncio.gather(*waiting, return_exceptions=True)
    assert isinstance(results[0], asyncio.CancelledError)
    assert isinstance(results[1], asyncio.CancelledError)
    assert results[2] is None


async def test_connection_used_after_its_block_raises_an_error(
    database: Database, block: Block
) -> None:
    async with block() as ended:
        await fetch_value(ended, PID)
    for following in (database.connection, database.transaction):
        async with following() as connection:
            with pytest.raises(USED_TOO_LATE):
                await fetch_value(ended, PID)
            await fetch_value(connection, PID)


async def test_transaction_begun_by_sql_is_rolled_back(database: Database, sql: Sql) -> None:
    async with database.connection() as connection:
        await execute(connection, "BEGIN")
        await execute(connection, "INSERT INTO test_written VALUES (1)")
    for _ in range(POOL_SIZE):
        async with database.connection() as connection:
            assert await fetch_value(connection, "SELECT count(*) FROM test_written") == 0
    assert await written(sql) == []


async def test_swallowed_error_does_not_commit(database: Database, sql: Sql) -> None:
    with pytest.raises(TransactionNotCommitted):
        async with database.transaction() as transaction:
            await execute(transaction, "INSERT INTO test_written VALUES (1)")
            with suppress(Exception):
                await execute(transaction, "SELECT 1 / 0")
    assert await written(sql) == []
    async with database.transaction() as transaction:
        await execute(transaction, "INSERT INTO test_written VALUES (2)")
    assert await written(sql) == [2]


async def test_error_of_the_driver_is_kept_as_the_cause(database: Database, block: Block) -> None:
    """The log line of a 503 names its SQLSTATE."""
    with pytest.raises(StatementTimeout) as raised:
        async with block() as connection:
            await fetch_value(connection, "SELECT pg_sleep(30)")
    assert getattr(raised.value.__cause__, "sqlstate", None) == "57014"


async def test_error_of_other_code_is_not_translated(database: Database, block: Block) -> None:
    for error in (FileNotFoundError, ConnectionRefusedError):
        with pytest.raises(error):
            async with block():
                raise error


@pytest.mark.parametrize("times", [1, POOL_SIZE + 1])
async def test_busy_connection_is_not_reused_after_an_error(
    database: Database, block: Block, times: int
) -> None:
    """`gather` raises as soon as one of its tasks does, and lets the others run on."""
    tasks = []
    for _ in range(times):
        with pytest.raises(ZeroDivisionError):
            async with block() as connection:
                slow = asyncio.create_task(fetch_value(connection, "SELECT pg_sleep(0.8)"))
                tasks.append(slow)
                await asyncio.gather(slow, fail())
        await assert_pool_is_whole(database)
    await asyncio.gather(*tasks, return_exceptions=True)


async def fail() -> None:
    await asyncio.sleep(0.1)
    raise ZeroDivisionError


async def test_only_the_busy_connection_is_replaced(database: Database, block: Block) -> None:
    before = await assert_pool_is_whole(database)
    with pytest.raises(ZeroDivisionError):
        async with block() as connection:
            slow = asyncio.create_task(fetch_value(connection, "SELECT pg_sleep(0.8)"))
            await asyncio.gather(slow, fail())
    await asyncio.gather(slow, return_exceptions=True)
    after = await assert_pool_is_whole(database)
    assert len(before & after) == POOL_SIZE - 1


async def test_task_that_was_not_awaited_affects_one_request_at_most(
    settings: Settings, sql: Sql
) -> None:
    patient = {"database_pool_size": POOL_SIZE, "database_statement_timeout": 30.0}
    async with Database(settings.model_copy(update=patient)) as database:
        async with database.connection() as connection:
            busy = await fetch_value(connection, PID)
            slow = asyncio.create_task(fetch_value(connection, "SELECT pg_sleep(20)"))
            await asyncio.sleep(0.1)
        failures = 0
        async with asyncio.timeout(5):  # nobody waits for the slow statement
            for _ in range(2 * POOL_SIZE):
                try:
                    async with database.connection() as connection:
                        assert await fetch_value(connection, PID) != busy
                except DatabaseUnavailable:
                    failures += 1
            assert failures <= 1
            await asyncio.gather(slow, return_exceptions=True)  # its connection was closed


async def test_statement_of_an_earlier_block_does_not_join_the_next_transaction(
    database: Database, sql: Sql
) -> None:
    async with database.connection() as connection:
        leftover = [
            asyncio.create_task(execute(connection, "SELECT pg_sleep(0.3)")),
            asyncio.create_task(execute(connection, "INSERT INTO test_written VALUES (1)")),
        ]
        await asyncio.sleep(0.1)
    with suppress(DatabaseUnavailable):
        async with database.transaction() as transaction:
            await execute(transaction, "SELECT 1")
    await asyncio.gather(*leftover, return_exceptions=True)
    assert await written(sql) == []


async def test_transaction_with_a_task_that_was_not_awaited_is_not_stored(
    database: Database, sql: Sql
) -> None:
    with pytest.raises(DatabaseUnavailable):
        async with database.transaction() as transaction:
            await execute(transaction, "INSERT INTO test_written VALUES (1)")
            slow = asyncio.create_task(fetch_value(transaction, "SELECT pg_sleep(0.8)"))
            await asyncio.sleep(0.1)
    assert await written(sql) == []
    await asyncio.gather(slow, return_exceptions=True)


async def test_statement_that_is_given_up_does_not_delay_the_next_request(
    settings: Settings, sql: Sql
) -> None:
    patient = settings.model_copy(update={"database_statement_timeout": 30.0})
    async with Database(patient) as database, asyncio.timeout(3):  # the pool has one connection
        for block in (database.connection, database.transaction):
            with suppress(StatementTimeout):
                async with block() as connection, asyncio.timeout(0.1):
                    await fetch_value(connection, "SELECT pg_sleep(20)")
            async with database.connection() as connection:
                await fetch_value(connection, PID)


async def test_cancelled_task_returns_its_connection(database: Database, block: Block) -> None:
    """At each step of the block, and when it is cancelled again while it cleans up."""

    async def use() -> None:
        async with block() as connection:
            await fetch_value(connection, "SELECT pg_sleep(0.001)")

    for again in (None, 0, 1, 3):  # steps until the second cancellation
        for steps in range(40):
            await cancel(use(), steps, again)
        await assert_pool_is_whole(database)


async def test_cancelled_task_returns_its_place_when_the_server_closed_its_connection(
    database: Database, block: Block, sql: Sql
) -> None:
    async def use() -> None:
        async with block() as connection:
            await fetch_value(connection, PID)

    errors = []  # while an exception exists, so do the objects in its traceback
    for steps in range(12):
        pids = list(await assert_pool_is_whole(database))
        await sql.execute("SELECT pg_terminate_backend(pid) FROM unnest($1::int[]) AS pid", pids)
        await assert_sessions_end(sql, pids)
        await asyncio.sleep(0.05)  # until the pool has noticed
        errors.append(await cancel(use(), steps))
    await assert_pool_is_whole(database)


async def assert_sessions_end(sql: Sql, pids: list[int]) -> None:
    for _ in range(500):
        if await sql.fetchval(SESSIONS, pids) == 0:
            return
        await asyncio.sleep(0.01)
    raise AssertionError("the sessions have not ended")


async def cancel(
    use: Coroutine[Any, Any, None], steps: int, again: int | None = None
) -> BaseException | None:
    """Run `use` for so many steps, cancel it, and cancel it again after so many more."""
    task = asyncio.create_task(use)
    await pass_steps(steps)
    task.cancel()
    if again is not None:
        await pass_steps(again)
        task.cancel()
    try:
        await task
    except BaseException as error:
        return error
    return None


@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize(
    "statement", ["BEGIN", "SELECT 1", "COMMIT", "ROLLBACK", "SELECT pg_advisory_unlock_all"]
)
async def test_task_cancelled_during_a_statement_returns_its_connection(
    settings: Settings, sql: Sql, statement: str, times: int
) -> None:
    """The last one is the first statement of a reset, which follows an error."""

    async def use() -> None:
        async with database.transaction() as transaction:
            await execute(transaction, "SELECT 1")
            if statement not in ("BEGIN", "COMMIT"):
                raise ZeroDivisionError

    def cancel(sent: str) -> None:
        if task and sent.startswith(statement):
            for number in range(times):
                asyncio.get_running_loop().call_later(number * 0.001, task.cancel)

    task = None
    proxy = PostgresProxy(settings.dsn, on_statement=cancel)
    await proxy.start()
    update = {"database_url": SecretStr(proxy.url), "database_pool_size": POOL_SIZE}
    async with Database(settings.model_copy(update=update)) as database:
        for _ in range(POOL_SIZE + 1):
            task = asyncio.create_task(use())
            await asyncio.gather(task, return_exceptions=True)
        assert any(sent.startswith(statement) for sent in proxy.statements)
        task = None
        await assert_pool_is_whole(database)
    await proxy.stop()


async def pass_steps(number: int) -> None:
    """Let the event loop run so many times."""
    for _ in range(number):
        await asyncio.sleep(0)


@pytest.mark.parametrize("sqlstate", ["23514", "40001", "57P01"])
async def test_failed_commit_stores_nothing_and_returns_the_connection(
    database: Database, sql: Sql, sqlstate: str
) -> None:
    failing_writes = FailingWrites(sql, "INSERT ON test_written")
    await failing_writes.start(sqlstate, at_commit=True)
    try:
        for _ in range(POOL_SIZE + 1):
            with pytest.raises(Exception) as raised:
                async with database.transaction() as transaction:
                    await execute(transaction, "INSERT INTO test_written VALUES (1)")
            assert isinstance(raised.value, DatabaseUnavailable) == (sqlstate != "23514")
    finally:
        await failing_writes.stop()
    assert await written(sql) == []


async def end_session(connection: Connection, sql: Sql) -> None:
    """Let the server close the connection."""
    pid = await fetch_value(connection, PID)
    await sql.execute("SELECT pg_terminate_backend($1)", pid)
    await asyncio.sleep(0.05)  # until the client has noticed


async def test_connection_lost_before_a_statement_is_replaced(
    database: Database, block: Block, sql: Sql
) -> None:
    for _ in range(POOL_SIZE + 1):
        with pytest.raises(DatabaseUnavailable):
            async with block() as connection:
                await end_session(connection, sql)
                await fetch_value(connection, PID)


async def test_connection_lost_before_a_rollback_is_replaced(
    database: Database, block: Block, sql: Sql
) -> None:
    for _ in range(POOL_SIZE + 1):
        with pytest.raises(ZeroDivisionError):
            async with block() as connection:
                await end_session(connection, sql)
                raise ZeroDivisionError


async def test_connection_lost_before_the_commit_is_replaced(database: Database, sql: Sql) -> None:
    for _ in range(POOL_SIZE + 1):
        with pytest.raises(DatabaseUnavailable):
            async with database.transaction() as transaction:
                await execute(transaction, "INSERT INTO test_written VALUES (1)")
                await end_session(transaction, sql)
    assert await written(sql) == []


async def test_block_may_end_in_another_task(database: Database, block: Block) -> None:
    """As in an async generator that nobody closes: asyncio closes it in a task of its own."""
    context = block()
    await fetch_value(await context.__aenter__(), PID)
    await asyncio.create_task(leave(context))
    async with block() as connection:
        await fetch_value(connection, PID)


async def leave(context: AbstractAsyncContextManager[Connection]) -> None:
    await context.__aexit__(None, None, None)


async def test_database_closes_in_time_while_a_connection_is_in_use(settings: Settings) -> None:
    brief = settings.model_copy(update={"database_statement_timeout": 0.5})
    async with asyncio.timeout(2), AsyncExitStack() as stack, Database(brief) as database:
        await stack.enter_async_context(hold(database))


async def test_server_that_does_not_answer_new_connections_is_given_up_in_time(
    settings: Settings,
) -> None:
    """The requests wait at the same time, and none of them for another to give up first."""
    proxy = PostgresProxy(settings.dsn, on_statement=lambda _: proxy.start_dropping())
    await proxy.start()
    update = {
        "database_url": SecretStr(proxy.url),
        "database_pool_size": 4,
        "database_pool_timeout": 0.5,
    }
    slow = settings.model_copy(update={**update, "database_statement_timeout": 0.5})

    async def use() -> None:
        async with database.connection() as connection:
            await fetch_value(connection, PID)

    async with Database(slow) as database, asyncio.timeout(4):
        results = await asyncio.gather(*(use() for _ in range(4)), return_exceptions=True)
    assert all(isinstance(result, DatabaseUnavailable) for result in results), results
    await proxy.stop()


async def test_database_closes_its_connections(settings: Settings, sql: Sql) -> None:
    async with Database(settings) as database, database.connection() as connection:
        pids = [await fetch_value(connection, PID)]
        assert await sql.fetchval(SESSIONS, pids) == 1
    await assert_sessions_end(sql, pids)
