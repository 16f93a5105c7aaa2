"""`Statement`: a Core statement that is compiled once, for asyncpg's methods."""

import enum
import re
from collections.abc import AsyncIterator
from typing import Any

import pytest
from sqlalchemy import (
    ARRAY,
    UUID,
    Column,
    Enum,
    Float,
    Integer,
    MetaData,
    Numeric,
    Table,
    Text,
    TypeDecorator,
    any_,
    bindparam,
    cast,
    func,
    insert,
    literal_column,
    select,
    type_coerce,
    update,
)
from sqlalchemy.dialects.postgresql import INT4RANGE, JSONB
from sqlalchemy.types import TypeEngine

from service.database import Connection, Database
from service.statement import Statement

from tests.serving import Settings
from tests.temporary_database import Sql


class Color(enum.Enum):
    RED = 1


class Reversed(TypeDecorator[str]):
    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Any) -> str:
        return (value or "")[::-1]

    def process_result_value(self, value: str | None, dialect: Any) -> str:
        return (value or "")[::-1]


things = Table(
    "test_things",
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
async def pool_connection(settings: Settings, sql: Sql) -> AsyncIterator[Connection]:
    await sql.execute(
        "CREATE TABLE test_things (id int PRIMARY KEY, count int, payload jsonb);"
        """INSERT INTO test_things VALUES (1, 1, '{"a": [1]}')"""
    )
    async with Database(settings) as database, database.connection() as connection:
        yield connection
    await sql.execute("DROP TABLE test_things")


@pytest.mark.parametrize("values", [{}, {"thing": 1}, {"thing_id": 1, "count": 1}])
def test_unknown_or_missing_name_is_refused(values: dict[str, int]) -> None:
    with pytest.raises(TypeError, match=r"takes \['thing_id'\], not"):
        GET(**values)


def test_constant_of_the_statement_cannot_be_bound() -> None:
    with pytest.raises(TypeError):
        INCREASE(thing_id=1, count_1=2)


def test_column_default_in_python_is_refused() -> None:
    table = Table("x", MetaData(), Column("a", Integer), Column("b", Integer, default=1))
    with pytest.raises(TypeError, match="use a server_default, or bind a value, for b: INSERT"):
        Statement(insert(table).values(a=bindparam("new_a")))
    Statement(insert(table).values(a=bindparam("new_a"), b=bindparam("new_b")))


@pytest.mark.parametrize("ids", [bindparam("ids", expanding=True), [1, 2]])
async def test_error_that_refuses_in_says_what_to_write(
    pool_connection: Connection, ids: Any
) -> None:
    query = select(things.c.id).where(things.c.id.in_(ids))
    way_out = r'== any_(cast(bindparam("values"), ARRAY(Integer())))'
    with pytest.raises(TypeError, match=re.escape(way_out)):
        Statement(query)
    array = cast(bindparam("values"), ARRAY(Integer()))
    statement = Statement(select(things.c.id).where(things.c.id == any_(array)))
    assert await pool_connection.fetchval(*statement(values=[2, 1])) == 1


def test_new_value_with_the_name_of_a_parameter_in_the_condition_is_refused() -> None:
    condition = things.c.payload.is_(None) | (things.c.count == bindparam("count"))
    change = update(things).values(count=bindparam("count"))
    with pytest.raises(TypeError, match="otherwise in the condition, such as `old_count`"):
        Statement(change.where(condition))
    Statement(change)
    Statement(change.where(things.c.count == bindparam("old_count")))


async def test_expression_may_use_a_parameter_of_the_condition(pool_connection: Connection) -> None:
    decrease = (
        update(things)
        .where(things.c.count >= bindparam("amount"))
        .values(count=things.c.count - bindparam("amount"))
        .returning(things.c.count)
    )
    assert await pool_connection.fetchval(*Statement(decrease)(amount=1)) == 0


@pytest.mark.parametrize(
    "column_type",
    [
        Enum(Color),
        ARRAY(Enum(Color)),
        Reversed(),
        Numeric(asdecimal=False),
        Float(asdecimal=True),
        UUID(as_uuid=False),
        INT4RANGE(),
    ],
    ids=repr,
)
def test_result_that_its_type_would_convert_is_refused(column_type: TypeEngine[Any]) -> None:
    table = Table("x", MetaData(), Column("a", column_type))
    way_out = "returns a as it is stored, .* select `type_coerce"
    for query in (
        select(table),
        insert(table).returning(table.c.a),
        update(table).returning(table),
    ):
        with pytest.raises(TypeError, match=way_out):
            Statement(query)
    Statement(select(type_coerce(table.c.a, Text)))


@pytest.mark.parametrize(
    "column_type",
    [Enum("red", name="color"), ARRAY(Integer), ARRAY(Text), Numeric(), Float(), UUID(), JSONB()],
    ids=repr,
)
def test_result_that_needs_no_conversion_is_accepted(column_type: TypeEngine[Any]) -> None:
    Statement(select(Table("x", MetaData(), Column("a", column_type))))


async def test_values_are_converted_by_their_types(pool_connection: Connection) -> None:
    stored = cast(type_coerce(bindparam("value"), Reversed()), Text)
    assert await pool_connection.fetchval(*Statement(select(stored))(value="abc")) == "cba"
    constant = cast(type_coerce("abc", Reversed()), Text)
    assert await pool_connection.fetchval(*Statement(select(constant))()) == "cba"


async def test_many_rows_are_bound_by_name(pool_connection: Connection) -> None:
    add = Statement(insert(things))
    rows = [{"payload": [n], "id": n, "count": None} for n in (2, 3)]
    await pool_connection.executemany(*add.many(rows))
    payloads = await pool_connection.fetch(
        "SELECT payload FROM test_things WHERE count IS NULL ORDER BY id"
    )
    assert [row["payload"] for row in payloads] == [[2], [3]]
    with pytest.raises(TypeError, match=r"takes \['count', 'id', 'payload'\], not \['id'\]"):
        add.many([*rows, {"id": 4}])


async def test_values_are_bound_for_each_call(pool_connection: Connection) -> None:
    one, two = GET(thing_id=1), GET(thing_id=2)
    assert await pool_connection.fetchrow(*two) is None
    row = await pool_connection.fetchrow(*one)
    assert row is not None
    assert row["id"] == 1


async def test_constants_of_the_statement_are_bound(pool_connection: Connection) -> None:
    assert await pool_connection.fetchval(*INCREASE(thing_id=1)) == 42
    assert await pool_connection.fetchval(*Statement(select(func.max(things.c.count)))()) == 42


async def test_json_columns_hold_python_values(pool_connection: Connection) -> None:
    row = await pool_connection.fetchrow(*GET(thing_id=1))
    assert row is not None
    assert row["payload"] == {"a": [1]}


@pytest.mark.parametrize("literal", ["'50%'", "'%s'", "'%%'"])
async def test_percent_sign_is_not_escaped(pool_connection: Connection, literal: str) -> None:
    query: Any = select(literal_column(literal)).where(things.c.id == bindparam("thing_id"))
    assert await pool_connection.fetchval(*Statement(query)(thing_id=1)) == literal[1:-1]
