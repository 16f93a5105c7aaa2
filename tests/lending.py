"""What `Database` promises of the connections that it lends, asked of the layer that PYTHONPATH names.

Run by test_lending.py, which leaves out what is marked with a choice that the layer is not.
"""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any, TypeAlias

import asyncpg
import pytest
from asyncpg.pool import PoolConnectionHolder
from sqlalchemy import event, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.pool import Pool

from service import database as module
from service.database import Connection, Database
from service.notes import models, queries
from service.settings import DatabaseSettings

Sql: TypeAlias = Any


@pytest.fixture
async def sql() -> AsyncIterator[Sql]:
    """The test's own connection; the notes are empty."""
    connection = await asyncpg.connect(os.environ["DATABASE_URL"])
    await connection.execute("TRUNCATE notes RESTART IDENTITY CASCADE")
    yield connection
    await connection.close()


@pytest.fixture
async def database(sql: Sql) -> AsyncIterator[Database]:
    """A pool of one, whose connection is gone at the end."""
    settings = DatabaseSettings.load(
        _env_file=None, database_url=os.environ["DATABASE_URL"], database_pool_size=1
    )
    loop = asyncio.get_running_loop()
    async with Database(settings) as database:
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
def passes(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the library's pool lends is noted here."""
    noted: list[str] = []
    acquire = PoolConnectionHolder.acquire

    async def note(holder: Any) -> Any:
        noted.append("asyncpg")
        return await acquire(holder)

    monkeypatch.setattr(PoolConnectionHolder, "acquire", note)
    event.listen(Pool, "checkout", lambda *_: noted.append("SQLAlchemy"))
    return noted


async def value(connection: Connection, statement: str) -> Any:
    lent: Any = connection
    if isinstance(lent, AsyncSession):
        return await lent.scalar(text(statement))
    return await (getattr(lent, "fetch_val", None) or lent.fetchval)(statement)


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
async def test_it_is_the_pools_again_after_a_while(database: Database, passes: list[str]) -> None:
    """Which replaces what is too old or idle for too long: there must be an end to handing on."""
    loop = asyncio.get_running_loop()
    end = loop.time() + 0.3
    async with asyncio.TaskGroup() as users:  # somebody has it whenever one looks
        for _ in range(2):
            users.create_task(keep_reading(database, end))
    assert len(passes) > 2
    await read(database)
    before = len(passes)
    await asyncio.sleep(0.3)
    await read(database)
    assert len(passes) == before + 1


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


@pytest.mark.core
async def test_a_transaction_that_was_left_open_is_over(database: Database, sql: Sql) -> None:
    async with database.connection() as connection:
        await value(connection, "BEGIN")
        await value(connection, "INSERT INTO notes (title, body) VALUES ('one', '')")
    await read(database)
    async with database.connection() as connection:
        assert await value(connection, "SELECT count(*) FROM notes") == 0


@pytest.mark.core
async def test_a_connection_that_was_kept_beyond_its_block_is_refused(database: Database) -> None:
    """Or it would ask in the middle of somebody else's transaction."""
    async with database.connection() as kept:
        await value(kept, "SELECT 1")
    refused = pytest.raises((asyncpg.InterfaceError, AssertionError))
    with refused:
        await value(kept, "SELECT 1")
    async with database.transaction() as connection:
        with refused:
            await value(kept, "SELECT 1")
        assert await value(connection, "SELECT 2") == 2


@pytest.mark.orm
@pytest.mark.asyncpg
async def test_what_a_session_was_left_with_is_gone(database: Database, sql: Sql) -> None:
    async with database.connection() as session:
        session.add(models.Note(title="never flushed", body=""))
    async with database.connection() as session:
        session.add(models.Note(title="too long" * 100, body=""))
        with suppress(DBAPIError):
            await session.flush()
    async with database.connection() as session:
        await session.commit()  # its connection is the pool's again
    await read(database)
    assert await sql.fetchval("SELECT count(*) FROM notes") == 0
