"""The sessions of `Database`: what they leave behind, and what they refuse."""

import asyncio
import gc
import weakref
from collections.abc import AsyncIterator
from contextlib import suppress

import asyncpg
import pytest
from pydantic import SecretStr
from sqlalchemy import String, select, text
from sqlalchemy.exc import (
    DBAPIError,
    InvalidRequestError,
    PendingRollbackError,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from service.constraints import constraint_errors
from service.database import Database, Transaction
from service.engine import ChangesNotStored, driver_error
from service.errors import (
    DatabaseUnavailable,
    ServiceError,
    TextTooLong,
)

from tests.serving import Settings
from tests.temporary_database import Sql, with_database


class Base(DeclarativeBase):
    """The service's own base would add the table to those that migrations create."""


class Jar(Base):
    __tablename__ = "test_jars"

    id: Mapped[int] = mapped_column(primary_key=True)
    label: Mapped[str] = mapped_column(String(8), unique=True)


class LabelTaken(ServiceError):
    status = 409
    detail = "There is a jar with this label."


async def create(transaction: Transaction, label: str) -> Jar:
    jar = Jar(label=label)
    transaction.add(jar)
    await transaction.flush()
    return jar


@pytest.fixture
async def database(settings: Settings, sql: Sql) -> AsyncIterator[Database]:
    await sql.execute(
        "CREATE TABLE test_jars (id serial PRIMARY KEY,"
        " label varchar(8) CONSTRAINT test_jars_label_key UNIQUE)"
    )
    async with Database(settings) as database:
        yield database
    await sql.execute("DROP TABLE test_jars")


async def test_objects_can_be_used_after_their_block(database: Database) -> None:
    async with database.transaction() as transaction:
        jar = await create(transaction, "one")
    assert (jar.id, jar.label) == (1, "one")


async def test_each_session_reads_anew(database: Database, sql: Sql) -> None:
    async with database.transaction() as transaction:
        await create(transaction, "one")
    async with database.connection() as connection:
        before = await connection.scalar(select(Jar))
    await sql.execute("UPDATE test_jars SET label = 'two'")
    async with database.connection() as connection:
        after = await connection.scalar(select(Jar))
    assert before and after and (before.label, after.label) == ("one", "two")


async def test_nothing_can_be_added_after_the_block(database: Database) -> None:
    """It would never be stored."""
    async with database.transaction() as transaction:
        await create(transaction, "one")
    with pytest.raises(InvalidRequestError, match="closed"):
        transaction.add(Jar(label="two"))


async def test_commit_flushes_what_was_added(database: Database, sql: Sql) -> None:
    async with database.transaction() as transaction:
        transaction.add(Jar(label="one"))
    assert await sql.fetchval("SELECT count(*) FROM test_jars") == 1


async def test_change_without_a_transaction_is_an_error(database: Database, sql: Sql) -> None:
    async with database.transaction() as transaction:
        jar = await create(transaction, "one")
    with pytest.raises(ChangesNotStored):
        async with database.connection() as connection:
            connection.add(Jar(label="two"))
    for use in ("flush", "commit", "query"):
        with pytest.raises(ChangesNotStored):
            async with database.connection() as connection:
                connection.add(Jar(label="two"))
                if use == "query":  # it would flush first
                    await connection.scalars(select(Jar))
                else:
                    await getattr(connection, use)()
    with pytest.raises(ChangesNotStored):
        async with database.connection() as connection:
            (await connection.get_one(Jar, jar.id)).label = "two"
    with pytest.raises(ChangesNotStored):
        async with database.connection() as connection:
            await connection.delete(await connection.get_one(Jar, jar.id))
    assert await sql.fetchval("SELECT array_agg(label) FROM test_jars") == ["one"]


async def test_error_of_a_flush_is_not_swallowed_by_the_commit(
    database: Database, sql: Sql
) -> None:
    with pytest.raises(TextTooLong):
        async with database.transaction() as transaction:
            transaction.add(Jar(label="too long" * 2))
    assert await sql.fetchval("SELECT count(*) FROM test_jars") == 0


@pytest.mark.parametrize("flush", [True, False])
async def test_domain_can_answer_a_violation_at_a_flush(
    database: Database, sql: Sql, *, flush: bool
) -> None:
    """Whether the handler flushes or the COMMIT does."""
    async with database.transaction() as transaction:
        await create(transaction, "one")
    with pytest.raises(LabelTaken):
        async with (
            constraint_errors(test_jars_label_key=LabelTaken),
            database.transaction() as transaction,
        ):
            transaction.add(Jar(label="one"))
            if flush:
                await transaction.flush()
    assert await sql.fetchval("SELECT array_agg(label) FROM test_jars") == ["one"]


async def test_swallowed_error_of_a_flush_fails_the_block(database: Database, sql: Sql) -> None:
    with pytest.raises(PendingRollbackError):
        async with database.transaction() as transaction:
            transaction.add(Jar(label="too long" * 2))
            with suppress(DBAPIError):
                await transaction.flush()
    assert await sql.fetchval("SELECT count(*) FROM test_jars") == 0


async def test_commit_is_refused_while_a_task_that_was_not_awaited_runs_its_statement(
    database: Database, sql: Sql
) -> None:
    with pytest.raises(DatabaseUnavailable):
        async with database.transaction() as transaction:
            not_awaited = asyncio.create_task(create(transaction, "one"))
            await asyncio.sleep(0)  # now its BEGIN is on its way
    await asyncio.gather(not_awaited, return_exceptions=True)
    assert await sql.fetchval("SELECT count(*) FROM test_jars") == 0


async def test_session_does_not_wait_for_the_garbage_collector(database: Database) -> None:
    gc.disable()
    try:
        async with database.transaction() as transaction:
            await create(transaction, "one")
            session = weakref.ref(transaction.sync_session)
        del transaction
        assert session() is None
    finally:
        gc.enable()


async def test_stream_cannot_be_read_after_its_block(database: Database) -> None:
    async with database.transaction() as transaction:
        rows = await transaction.stream(text("SELECT generate_series(1, 10000)"))
        await anext(rows)
    async with database.transaction() as transaction:
        await transaction.execute(text("SELECT 1"))
        with pytest.raises(asyncpg.InterfaceError):
            await rows.all()
        await transaction.execute(text("SELECT 1"))


async def test_refused_connection_is_reported_with_its_sqlstate(
    settings: Settings, database_url: str
) -> None:
    unknown = SecretStr(with_database(database_url, "unknown"))
    async with Database(settings.model_copy(update={"database_url": unknown})) as database:
        with pytest.raises(DatabaseUnavailable) as raised:
            await database.ping()
    assert getattr(raised.value.__cause__, "sqlstate", None) == "3D000"


def test_error_that_wraps_no_other_is_its_own_cause() -> None:
    error = DBAPIError("SELECT 1", None, None)  # type: ignore[arg-type]
    assert driver_error(error) is error
