"""`Statement`: a Core statement that is compiled once, for asyncpg's methods."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from sqlalchemy import (
    Column,
    Integer,
    MetaData,
    Table,
    bindparam,
    func,
    insert,
    literal_column,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import JSONB

from service.database import Connection, Database
from service.statement import Statement

from tests.serving import Settings
from tests.temporary_database import Sql

things = Table(
    "things",
    MetaData(),
    Column("id", Integer, primary_key=True),
    Column("count", Integer),
    Column("payload", JSONB),
)
GET = Statement(select(things).where(things.c.id == bindparam("thing_id")))
INCREASE = Statement(
    update(things)
    .where(things.c.id == bindparam("thing_id"))
    .values(count=things.c.count + 41)
    .returning(things.c.count)
)


@pytest.fixture
async def connection(settings: Settings, sql: Sql) -> AsyncIterator[Connection]:
    await sql.execute(
        "CREATE TABLE things (id int PRIMARY KEY, count int, payload jsonb);"
        """INSERT INTO things VALUES (1, 1, '{"a": [1]}')"""
    )
    async with Database(settings) as database, database.connection() as connection:
        yield connection
    await sql.execute("DROP TABLE things")


@pytest.mark.parametrize("values", [{}, {"thing": 1}, {"thing_id": 1, "count": 1}])
def test_unknown_or_missing_name_is_refused(values: dict[str, int]) -> None:
    with pytest.raises(TypeError, match=r"takes \['thing_id'\], not"):
        GET(**values)


def test_constant_of_the_statement_cannot_be_bound() -> None:
    with pytest.raises(TypeError):
        INCREASE(thing_id=1, count_1=2)


@pytest.mark.parametrize(
    "statement",
    [
        insert(
            Table("x", MetaData(), Column("a", Integer), Column("b", Integer, default=1))
        ).values(a=bindparam("new_a")),
        select(things.c.id).where(things.c.id.in_(bindparam("ids", expanding=True))),
    ],
    ids=["Python default", "IN"],
)
def test_statement_that_must_be_compiled_for_each_call_is_refused(statement: Any) -> None:
    with pytest.raises(TypeError, match="cannot be compiled once: "):
        Statement(statement)


async def test_values_are_bound_for_each_call(connection: Connection) -> None:
    one, two = GET(thing_id=1), GET(thing_id=2)
    assert await connection.fetchrow(*two) is None
    row = await connection.fetchrow(*one)
    assert row is not None
    assert row["id"] == 1


async def test_constants_of_the_statement_are_bound(connection: Connection) -> None:
    assert await connection.fetchval(*INCREASE(thing_id=1)) == 42
    assert await connection.fetchval(*Statement(select(func.max(things.c.count)))()) == 42


async def test_json_columns_hold_python_values(connection: Connection) -> None:
    row = await connection.fetchrow(*GET(thing_id=1))
    assert row is not None
    assert row["payload"] == {"a": [1]}


@pytest.mark.parametrize("literal", ["'50%'", "'%s'", "'%%'"])
async def test_percent_sign_is_not_escaped(connection: Connection, literal: str) -> None:
    query: Any = select(literal_column(literal)).where(things.c.id == bindparam("thing_id"))
    assert await connection.fetchval(*Statement(query)(thing_id=1)) == literal[1:-1]
