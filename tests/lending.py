"""What `Database` promises of the connections that it lends, asked of the layer that PYTHONPATH names.

Run by test_lending.py, which leaves out what is marked with a choice that the layer is not.
"""

import asyncio
import gc
import os
import weakref
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from typing import Any, TypeAlias

import asyncpg
import pytest
from asyncpg.pool import PoolConnectionHolder
from sqlalchemy import event, text
from sqlalchemy.exc import DBAPIError, InvalidRequestError
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.pool import Pool

from service import database as module
from service.database import Connection, Database
from service.notes import models, queries
from service.postgres import NotCommitted
from service.settings import DatabaseSettings

Sql: TypeAlias = Any


@pytest.fixture
async def sql() -> AsyncIterator[Sql]:
    """The test's own connection; the notes are empty."""
    connection = await asyncpg.connect(os.environ["DATABASE_URL"])
    await connection.execute("TRUNCATE notes RESTART IDENTITY CASCADE")
    yield connection
    await connection.close()


def pool_of_one() -> Database:
    settings = DatabaseSettings.load(
        _env_file=None, database_url=os.environ["DATABASE_URL"], database_pool_size=1
    )
    return Database(settings)


@pytest.fixture
async def database(sql: Sql) -> AsyncIterator[Database]:
    """A pool of one, whose connection is gone at the end."""
    loop = asyncio.get_running_loop()
    async with pool_of_one() as database:
        yield database
        stopped = loop.time()
    assert loop.time() < stopped + 1  # nobody was waited for
    ours = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'service'"
    for _ in range(300):
        if not await sql.fetchval(ours):
            break
        await asyncio.sleep(0.01)
    assert not await sql.fetchval(ours)


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """What the library's pool lends is noted here."""
    noted: list[str] = []
    acquire = PoolConnectionHolder.acquire

    async def note(holder: Any) -> Any:
        noted.append("asyncpg")
        return await acquire(holder)

    def checkout(*_: object) -> None:
        noted.append("SQLAlchemy")

    monkeypatch.setattr(PoolConnectionHolder, "acquire", note)
    event.listen(Pool, "checkout", checkout)
    yield noted
    event.remove(Pool, "checkout", checkout)


async def value(connection: Connection, statement: str) -> Any:
    lent: Any = connection
    if isinstance(lent, AsyncSession):
        return await lent.scalar(text(statement))
    return await (getattr(lent, "fetch_val", None) or lent.fetchval)(statement)


async def run(connection: Connection, statement: str) -> None:
    lent: Any = connection
    await lent.execute(text(statement) if isinstance(lent, AsyncSession) else statement)


async def read(database: Database) -> None:
    async with database.connection() as connection:
        assert await value(connection, "SELECT 1") == 1


async def keep_reading(database: Database, end: float) -> None:
    while asyncio.get_running_loop().time() < end:
        await read(database)


@pytest.mark.asyncpg
async def test_who_is_next_gets_the_connection_without_the_pool(
    database: Database, passes: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "KEPT", 60)
    for _ in range(20):
        await read(database)
    assert len(passes) == 1


@pytest.mark.asyncpg
async def test_it_is_the_pools_again_after_a_while(
    database: Database, passes: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which replaces what is too old or idle for too long: there must be an end to handing on."""
    monkeypatch.setattr(module, "KEPT", 0.1)
    loop = asyncio.get_running_loop()
    end = loop.time() + 1
    async with asyncio.TaskGroup() as users:  # somebody has it whenever one looks
        for _ in range(2):
            users.create_task(keep_reading(database, end))
    assert len(passes) > 2
    await read(database)
    before = len(passes)
    await asyncio.sleep(0.3)
    await read(database)
    assert len(passes) == before + 1


async def test_a_turn_is_not_lost_with_who_is_cancelled_as_it_comes(database: Database) -> None:
    async with database.connection():
        waiting = [asyncio.create_task(read(database)) for _ in range(3)]
        await asyncio.sleep(0.01)
        waiting[1].cancel()
    waiting[0].cancel()
    async with asyncio.timeout(3):
        ended = await asyncio.gather(*waiting, return_exceptions=True)
    cancelled = asyncio.CancelledError
    assert [type(end) for end in ended] == [cancelled, cancelled, type(None)]


async def test_reads_and_writes_take_turns(
    database: Database, sql: Sql, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "KEPT", 60, raising=False)
    for number in range(1, 4):
        await read(database)
        async with database.transaction() as connection:
            await queries.create(connection, "one", "")
        async with database.connection() as connection:
            assert (await queries.get(connection, number)).title == "one"
    assert await sql.fetchval("SELECT count(*) FROM notes") == 3


async def test_who_reads_next_reads_anew(database: Database, sql: Sql) -> None:
    async with database.transaction() as connection:
        await queries.create(connection, "one", "")
    async with database.connection() as connection:
        kept = await queries.get(connection, 1)
    await sql.execute("UPDATE notes SET title = 'two'")
    async with database.connection() as connection:
        note = await queries.get(connection, 1)
    assert (kept.title, note.title) == ("one", "two")


async def test_a_transaction_that_was_left_open_is_over(database: Database, sql: Sql) -> None:
    async with database.connection() as connection:
        await run(connection, "BEGIN")
        await run(connection, "INSERT INTO notes (title, body) VALUES ('one', '')")
    await read(database)
    async with database.connection() as connection:
        assert await value(connection, "SELECT count(*) FROM notes") == 0
    async with database.transaction() as connection:
        assert await value(connection, "SELECT count(*) FROM notes") == 0


async def test_an_error_that_is_swallowed_does_not_make_a_rollback_a_success(
    database: Database, sql: Sql
) -> None:
    """Asked for a COMMIT of what failed PostgreSQL makes a ROLLBACK, which is no error to asyncpg."""
    with pytest.raises(NotCommitted):
        async with database.transaction() as connection:
            await queries.create(connection, "one", "")
            with suppress(DBAPIError, asyncpg.PostgresError):
                await value(connection, "SELECT 1 / 0")
    assert await sql.fetchval("SELECT count(*) FROM notes") == 0
    async with database.transaction() as connection:
        await queries.create(connection, "two", "")
    assert await sql.fetchval("SELECT count(*) FROM notes") == 1


@pytest.mark.asyncpg
async def test_who_gives_up_on_a_statement_leaves_no_one_else_to_wait(
    database: Database, passes: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "KEPT", 60)
    async with database.connection() as connection:
        with suppress(TimeoutError):
            async with asyncio.timeout(0.05):
                await value(connection, "SELECT pg_sleep(30)")
    async with asyncio.timeout(3):
        await read(database)
    assert len(passes) == 2  # the pool waits for the end of a statement, or replaces the connection


@pytest.mark.databases
async def test_a_transaction_of_the_library_that_fails_costs_no_connection(
    database: Database, sql: Sql
) -> None:
    await sql.execute(
        "CREATE TABLE IF NOT EXISTS late (x int UNIQUE DEFERRABLE INITIALLY DEFERRED)"
    )
    with pytest.raises(asyncpg.UniqueViolationError):
        async with database.connection() as connection:
            lent: Any = connection
            async with lent.transaction():
                await lent.execute("INSERT INTO late VALUES (1), (1)")
    async with asyncio.timeout(3):
        await read(database)


@pytest.mark.core
@pytest.mark.asyncpg
async def test_a_pool_that_closes_gets_back_what_is_lent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "KEPT", 60)
    database = await pool_of_one().__aenter__()
    lent = database.connection()
    await lent.__aenter__()
    closing = asyncio.create_task(database.__aexit__(None, None, None))
    await asyncio.sleep(0.01)
    await lent.__aexit__(None, None, None)
    async with asyncio.timeout(3):
        await closing


async def test_a_connection_that_was_kept_beyond_its_block_is_refused(database: Database) -> None:
    """Or it would ask in the middle of somebody else's transaction."""
    refused = pytest.raises((asyncpg.InterfaceError, InvalidRequestError, AssertionError))
    for lend in (database.connection, database.transaction):
        async with lend() as kept:
            await value(kept, "SELECT 1")
        with refused:
            await value(kept, "SELECT 1")
        for lend_again in (database.connection, database.transaction):
            async with lend_again() as connection:
                with refused:
                    await value(kept, "SELECT 1")
                assert await value(connection, "SELECT 2") == 2


@pytest.mark.core
@pytest.mark.asyncpg
async def test_what_was_left_on_a_connection_is_gone(database: Database) -> None:
    async with database.connection() as connection:
        await connection.transaction().start()
        await connection.execute("COMMIT")
    async with database.transaction() as connection:
        assert connection.is_in_transaction()
    heard: list[object] = []
    with pytest.warns(asyncpg.InterfaceWarning, match="active notification listener"):
        async with database.connection() as connection:
            await connection.add_listener("news", lambda *what: heard.append(what))
    async with database.connection() as connection:
        await connection.execute("NOTIFY news")
        await connection.execute("SELECT 1")
    assert not heard


def stay(session: Any) -> None:
    """Leave a session as it is."""


def add(session: Any) -> None:
    session.add(models.Note(title="never flushed", body=""))


def tell(session: Any) -> None:
    session.info["tenant"] = "acme"


def turn_off(session: Any) -> None:
    session.sync_session.autoflush = False


async def fail(session: Any) -> None:
    session.add(models.Note(title="too long" * 100, body=""))
    with suppress(DBAPIError):
        await session.flush()


async def write(session: Any) -> None:
    session.add(models.Note(title="one", body=""))
    await session.flush()


async def translate(session: Any) -> None:
    connection = await session.connection()
    await connection.execution_options(schema_translate_map={None: "acme"})


async def commit(session: Any) -> None:
    await session.commit()


async def begin_again(session: Any) -> None:
    await session.commit()
    session.add(models.Note(title="never flushed", body=""))


def set_options(session: Any) -> None:
    session.execution_options = session.execution_options.union({"stream_results": True})


def listen(session: Any) -> None:
    event.listen(session.sync_session, "do_orm_execute", stay)


def bind_elsewhere(session: Any) -> None:
    session.sync_session.bind = None


def note_tenant(session: Any) -> None:
    session.sync_session.tenant = "acme"


async def show(session: Any) -> None:
    await session.connection()


def show_transaction(session: Any) -> None:
    session.get_transaction()


def lose(session: Any) -> None:
    session.sync_session.driver.terminate()


async def begin(session: Any) -> None:
    await session.execute(text("BEGIN"))


LEAVINGS = [
    stay,
    add,
    tell,
    turn_off,
    fail,
    write,
    translate,
    commit,
    begin_again,
    set_options,
    listen,
    bind_elsewhere,
    note_tenant,
    show,
    show_transaction,
    lose,
    begin,
]


@pytest.mark.orm
@pytest.mark.asyncpg
@pytest.mark.parametrize("leave", LEAVINGS)
async def test_who_reads_next_finds_a_session_as_new(
    database: Database, sql: Sql, leave: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "KEPT", 60)
    async with database.connection() as session:
        if waited := leave(session):
            await waited
        before = session.sync_session
    async with database.connection() as session:
        assert await queries.page(session, 0, 10, None) is not None
        assert (session.sync_session is before) == (leave in (stay, add))
        assert not session.info and not session.new and session.autoflush
        assert session.bind is not None
    assert await sql.fetchval("SELECT count(*) FROM notes") == (leave is write)


@pytest.mark.orm
@pytest.mark.asyncpg
async def test_what_listeners_make_of_info_is_not_told_to_the_next_reader(
    database: Database,
) -> None:
    def look(session: Any, *_: object) -> None:
        assert session.info is not None

    event.listen(AsyncSession.sync_session_class, "after_begin", look)
    try:
        for _ in range(2):
            async with database.connection() as session:
                assert not session.info
                tell(session)
    finally:
        event.remove(AsyncSession.sync_session_class, "after_begin", look)


@pytest.mark.orm
@pytest.mark.asyncpg
async def test_no_session_waits_for_the_garbage_collector(database: Database) -> None:
    gc.disable()
    try:
        async with database.transaction() as session:
            await queries.create(session, "one", "")
            written = weakref.ref(session.sync_session)
        del session
        assert written() is None
    finally:
        gc.enable()
