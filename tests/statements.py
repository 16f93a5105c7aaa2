"""What `Statement` promises, asked of the data layer that PYTHONPATH names.

Run by test_statements.py, which leaves out what is marked with a choice that the layer is not.
"""

import enum
import os
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest
from sqlalchemy import (
    Column,
    Enum,
    Integer,
    MetaData,
    Table,
    bindparam,
    func,
    insert,
    inspect,
    literal_column,
    select,
    text,
    update,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.exc import InvalidRequestError
from sqlalchemy.sql.compiler import SQLCompiler

from service.database import Connection, Database, Statement
from service.notes import queries
from service.notes.schemas import Content
from service.settings import DatabaseSettings


class Colour(enum.Enum):
    RED = "r"
    BLUE = "b"


things = Table(
    "things",
    MetaData(),
    Column("id", Integer, primary_key=True),
    Column("count", Integer),
    Column("colour", Enum(Colour, name="colour")),
    Column("payload", JSONB),
)
DEFAULTED = Table(
    "defaulted", MetaData(), Column("id", Integer), Column("count", Integer, default=1)
)
CREATE = """
    CREATE TYPE colour AS ENUM ('RED', 'BLUE');
    CREATE TABLE things (id int PRIMARY KEY, count int, colour colour, payload jsonb);
    INSERT INTO things VALUES (1, 1, 'RED', '{"a": [1]}')
"""
GET = Statement(select(things.c.id, things.c.count).where(things.c.id == bindparam("thing_id")))
COUNT = Statement(
    update(things)
    .where(things.c.id == bindparam("thing_id"))
    .values(count=things.c.count + 41)
    .returning(things.c.count)
)


@pytest.fixture
async def connection() -> AsyncIterator[Connection]:
    """A connection to a database that has some things, and whose notes are empty."""
    url = os.environ["DATABASE_URL"]
    sql = await asyncpg.connect(url)
    await sql.execute("DROP TABLE IF EXISTS things; DROP TYPE IF EXISTS colour")
    await sql.execute(CREATE)
    await sql.execute("TRUNCATE notes RESTART IDENTITY CASCADE")
    await sql.close()
    async with (
        Database(DatabaseSettings.load(_env_file=None, database_url=url)) as database,
        database.connection() as connection,
    ):
        yield connection


async def fetch(connection: Any, bound: Any) -> Any:
    """Fetch a row in the way of the layer."""
    if hasattr(connection, "fetchrow"):
        return await connection.fetchrow(*bound)
    return await connection.fetch_one(bound)


@pytest.mark.parametrize("values", [{}, {"thing": 1}, {"thing_id": 1, "count": 1}])
def test_a_name_that_is_unknown_or_missing_is_refused(values: dict[str, int]) -> None:
    with pytest.raises(TypeError, match=r"takes \['thing_id'\], not"):
        GET(**values)


def test_a_value_of_the_statement_itself_cannot_be_given() -> None:
    with pytest.raises(TypeError):
        COUNT(thing_id=1, count_1=2)


@pytest.mark.parametrize(
    "statement",
    [
        insert(DEFAULTED).values(id=bindparam("new_id")),
        select(things.c.id).where(things.c.id.in_(bindparam("ids", expanding=True))),
    ],
)
def test_what_would_lose_something_is_refused(statement: Any) -> None:
    with pytest.raises(TypeError, match="cannot be compiled once: "):
        Statement(statement)


async def test_the_statement_brings_its_own_values(connection: Connection) -> None:
    assert (await fetch(connection, COUNT(thing_id=1)))["count"] == 42
    assert (await fetch(connection, Statement(select(func.max(things.c.count)))()))["max_1"] == 42


async def test_what_is_bound_at_one_call_is_not_at_the_next(connection: Connection) -> None:
    one, none = GET(thing_id=1), GET(thing_id=2)
    assert await fetch(connection, none) is None
    assert (await fetch(connection, one))["id"] == 1
    assert (await fetch(connection, one))["id"] == 1


async def test_no_query_is_compiled_when_it_is_run(
    connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    def compiled(*arguments: object, **options: object) -> None:
        raise AssertionError("compiled")

    monkeypatch.setattr(SQLCompiler, "__init__", compiled)
    note = await queries.create(connection, "one", "")
    await queries.get(connection, note.id)
    await queries.change(connection, note.id, "two", None, [1])
    await queries.set_content(connection, note.id, 2, Content(title="three", body=""))
    for synchronized in (None, True, False):
        await queries.page(connection, 0, 10, synchronized)
    assert len(await queries.history(connection, note.id, 10, 10)) == 3
    assert await queries.history(connection, note.id, 1, 10) == []
    await queries.remove(connection, note.id, None)


ADD = insert(things).returning(things)
BOUND = {name: bindparam(f"new_{name}") for name in ("id", "colour", "payload")}


@pytest.mark.databases
@pytest.mark.parametrize("payload", [{"a": [1, "%s"]}, [], "text", 1, None])
async def test_a_row_is_what_it_is_without_being_compiled_before(
    connection: Connection, payload: Any
) -> None:
    add = Statement(ADD.values(**BOUND))
    given = {"colour": Colour.BLUE, "payload": payload}
    row: Any = await connection.fetch_one(
        add(new_id=2, new_colour=given["colour"], new_payload=given["payload"])
    )
    usual: Any = await connection.fetch_one(ADD.values(id=3, **given))
    assert (row["id"], usual["id"]) == (2, 3)
    for name, value in given.items():
        assert row[name] == getattr(row, name) == row[things.c[name]] == usual[name] == value
        assert row._mapping[name] == usual._mapping[name]
    assert row[0] == 2
    assert row._mapping["colour"] == "BLUE"


@pytest.mark.databases
@pytest.mark.parametrize("sql", ["'50%'", "'%s'", "'%%'", "'%(thing_id)s'"])
async def test_a_percent_sign_stays_one(connection: Connection, sql: str) -> None:
    query = select(literal_column(sql).label("x"), things.c.id)
    get = Statement(query.where(things.c.id == bindparam("thing_id")))
    row: Any = await connection.fetch_one(get(thing_id=1))
    assert row["x"] == sql[1:-1]


@pytest.mark.databases
async def test_every_method_that_takes_one_query_takes_a_statement(connection: Connection) -> None:
    assert [row["id"] for row in await connection.fetch_all(GET(thing_id=1))] == [1]
    assert await connection.fetch_val(GET(thing_id=1), column="count") == 1
    assert await connection.execute(COUNT(thing_id=1)) == 42
    assert [row["id"] async for row in connection.iterate(GET(thing_id=1))] == [1]


@pytest.mark.databases
async def test_statements_that_are_none_of_ours_run_too(connection: Connection) -> None:
    one = select(things).where(things.c.id.in_([1, 2]))
    row: Any = await connection.fetch_one(one)
    assert (row["id"], row["payload"]) == (1, {"a": [1]})
    assert len(await connection.fetch_all(text("SELECT 1 AS x WHERE '%' = '%'"))) == 1
    row = await connection.fetch_one("SELECT count FROM things WHERE id = :id", {"id": 1})
    assert row["count"] == 1
    assert await connection.execute(insert(things).returning(things.c.id), {"id": 5}) == 5


@pytest.mark.databases
@pytest.mark.orm
async def test_an_object_is_as_a_session_leaves_it(connection: Connection) -> None:
    made = await queries.create(connection, "one", "two")
    [revision] = await queries.history(connection, made.id, 2, 1)
    for mapped, relationship in ((made, "revisions"), (revision, "note")):
        state: Any = inspect(mapped)
        assert state.detached
        assert not state.modified
        assert state.identity_key == (type(mapped), (1,) if mapped is made else (1, 1), None)
        assert state.unloaded == {relationship}
        assert state.attrs.title.history == ((), ["one"], ())
        with pytest.raises(InvalidRequestError, match="lazy='raise'"):
            getattr(mapped, relationship)
