"""Transactions of the handlers: a success is stored, a failure is not, a conflict is retried."""

from collections.abc import AsyncIterator

import pytest
from httpx2 import AsyncClient
from pydantic import SecretStr
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.database import Database
from service.errors import (
    CharacterNotAllowed,
    NumberOutOfRange,
    frames,
)
from service.notes import queries

from tests.failing_writes import FailingWrites
from tests.notes.upstream import Answer, Note, UpstreamStub
from tests.postgres_proxy import PostgresProxy
from tests.serving import Settings, assert_problem, serve
from tests.temporary_database import Sql

READS = [("GET", "/notes/1", None), ("GET", "/notes", None)]
WRITES = [
    ("POST", "/notes", {"title": "two"}),
    ("PATCH", "/notes/1", {"title": "two"}),
    ("POST", "/notes/1/synchronize", None),
    ("DELETE", "/notes/1", None),
]


@pytest.fixture
async def failing_writes(sql: Sql) -> AsyncIterator[FailingWrites]:
    failing_writes = FailingWrites(sql, "INSERT OR UPDATE ON notes")
    yield failing_writes
    await failing_writes.stop()


async def stored_notes(sql: Sql) -> list[tuple[int, int, str]]:
    rows = await sql.fetch("SELECT id, version, title FROM notes ORDER BY id")
    return [tuple(row) for row in rows]


@pytest.mark.parametrize(("method", "path", "body"), WRITES)
async def test_commit_comes_before_first_byte_of_response(
    settings: Settings, note: Note, sql: Sql, method: str, path: str, body: object
) -> None:
    stored_at_response = []

    def watch_response(app: ASGIApp) -> ASGIApp:
        async def watched_app(scope: Scope, receive: Receive, send: Send) -> None:
            async def watched_send(message: Message) -> None:
                if message["type"] == "http.response.start":
                    stored_at_response.append(await stored_notes(sql))
                await send(message)

            await app(scope, receive, watched_send)

        return watched_app

    before = await stored_notes(sql)
    async with serve(settings, wrap=watch_response) as client:
        assert (await client.request(method, path, json=body)).is_success
    assert stored_at_response == [await stored_notes(sql)] != [before]


@pytest.mark.parametrize(
    ("sqlstate", "status"),
    [("P0001", 500), ("23514", 422), ("23505", 409), ("40001", 503), ("53100", 503)],
)
@pytest.mark.parametrize(("method", "path", "body"), WRITES[:3])
async def test_failed_commit_returns_error_and_releases_connection(
    client: AsyncClient,
    note: Note,
    sql: Sql,
    failing_writes: FailingWrites,
    sqlstate: str,
    status: int,
    method: str,
    path: str,
    body: object,
) -> None:
    before = await stored_notes(sql)
    await failing_writes.start(sqlstate, at_commit=True)
    for _ in range(3):
        response = await client.request(method, path, json=body)
        assert_problem(response, status)
        assert "hunter2" not in response.text
    assert await failing_writes.attempts() == 3  # a COMMIT that was sent must not be retried
    assert await stored_notes(sql) == before
    await failing_writes.stop()
    assert (await client.request(method, path, json=body)).is_success


@pytest.mark.parametrize("sqlstate", ["40001", "40P01"])
@pytest.mark.parametrize(("method", "path", "body"), WRITES[:3])
async def test_conflicting_transaction_is_retried(
    client: AsyncClient,
    note: Note,
    upstream: UpstreamStub,
    sql: Sql,
    failing_writes: FailingWrites,
    sqlstate: str,
    method: str,
    path: str,
    body: object,
) -> None:
    await failing_writes.start(sqlstate, at_commit=False, times=2)
    assert (await client.request(method, path, json=body)).is_success
    assert await failing_writes.attempts() == 3
    assert len(upstream.received) == path.endswith("synchronize")  # the call is not retried


@pytest.mark.parametrize(("method", "path", "body"), WRITES[:3])
async def test_transaction_that_always_conflicts_returns_503(
    client: AsyncClient,
    note: Note,
    upstream: UpstreamStub,
    sql: Sql,
    failing_writes: FailingWrites,
    method: str,
    path: str,
    body: object,
) -> None:
    before = await stored_notes(sql)
    await failing_writes.start("40001", at_commit=False)
    assert_problem(await client.request(method, path, json=body), 503)
    assert await failing_writes.attempts() == 4
    assert len(upstream.received) == path.endswith("synchronize")
    assert await stored_notes(sql) == before


# Its binary format changes, too.
BINARY_TYPES = ("version TYPE bigint", "version TYPE integer")


@pytest.mark.parametrize("pgbouncer", [False, True])
@pytest.mark.parametrize(("method", "path", "body"), [*READS, *WRITES])
async def test_changed_column_type_fails_no_request(
    settings: Settings, note: Note, sql: Sql, method: str, path: str, body: object, pgbouncer: bool
) -> None:
    """Statements that were prepared before the change are prepared and run again."""
    async with serve(settings, database_pgbouncer=pgbouncer) as client:
        for new_type in ("title TYPE text", "title TYPE varchar(200)", *BINARY_TYPES):
            await sql.execute(f"ALTER TABLE notes ALTER COLUMN {new_type}")
            assert (await client.request(method, path, json=body)).is_success
            if method == "DELETE":  # the next one needs a note
                await sql.execute(
                    "INSERT INTO notes (id, title, body) OVERRIDING SYSTEM VALUE VALUES (1, 'x', '')"
                )


@pytest.mark.parametrize("pgbouncer", [False, True])
async def test_requests_execute_the_fewest_possible_statements(
    settings: Settings,
    note: Note,
    upstream: UpstreamStub,
    postgres_proxy: PostgresProxy,
    pgbouncer: bool,
) -> None:
    before_call: list[str] = []

    def executed() -> list[str]:
        """Return the first word of each statement since the last call."""
        words = [text.split(maxsplit=1)[0].rstrip(";") for text in postgres_proxy.statements]
        postgres_proxy.statements.clear()
        return words

    async def respond(note: Note) -> Answer:
        before_call[:] = executed()
        return 200, b'{"title": "ONE", "body": ""}'

    upstream.answer = respond
    url = SecretStr(postgres_proxy.url)
    async with serve(settings, database_url=url, database_pgbouncer=pgbouncer) as client:

        async def statements(method: str, path: str, body: object = None) -> str:
            executed()
            assert (await client.request(method, path, json=body)).is_success
            return " ".join(executed())

        for _ in range(2):  # in the first round asyncpg also looks up types
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
    assert before_call == ["SELECT"]
    # Behind PgBouncer the next transaction may run where a named statement was not prepared.
    assert not pgbouncer or postgres_proxy.prepared_names == {""}


async def test_value_that_its_column_cannot_hold_returns_422(settings: Settings) -> None:
    """The driver refuses it, PostgreSQL never sees it. The API has limits against it of its own."""
    async with Database(settings) as database:
        with pytest.raises(NumberOutOfRange):
            async with database.connection() as connection:
                await queries.history(connection, 1, 2**31, 1)
        with pytest.raises(CharacterNotAllowed):
            async with database.transaction() as transaction:
                await queries.create(transaction, "\ud800", "")


async def test_error_is_located_in_the_query_that_raised_it(
    settings: Settings, sql: Sql, failing_writes: FailingWrites
) -> None:
    """The log line of a 500 says so, however many frames the libraries have."""
    await failing_writes.start("P0001", at_commit=False)
    async with Database(settings) as database:
        with pytest.raises(Exception) as raised:
            async with database.transaction() as transaction:
                await queries.create(transaction, "one", "")
    assert any("queries.py" in frame and "create" in frame for frame in frames(raised.value))
