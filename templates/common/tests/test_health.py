"""Health: of the process, and of its way to the database."""

import asyncio
from itertools import count

import pytest
from httpx2 import AsyncClient
from pydantic import SecretStr
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tests.databases import Sql
from tests.serving import Settings, problem, serve
from tests.wire import Wire


async def test_the_service_is_live_and_ready(client: AsyncClient) -> None:
    for path in ("/health/live", "/health/ready"):
        answer = await client.get(path)
        assert (answer.status_code, answer.json()) == (200, {"status": "ok"})


async def test_the_service_starts_without_its_database_and_serves_as_soon_as_it_comes(
    settings: Settings, wire: Wire
) -> None:
    await wire.stop()
    async with serve(settings, database_url=SecretStr(wire.url)) as client:
        assert (await client.get("/health/live")).status_code == 200
        problem(await client.get("/health/ready"), 503)
        await wire.start()
        assert (await client.get("/health/ready")).status_code == 200


async def test_a_connection_that_was_cut_is_replaced(settings: Settings, wire: Wire) -> None:
    async with serve(settings, database_url=SecretStr(wire.url)) as client:
        assert (await client.get("/health/ready")).status_code == 200
        await wire.stop()
        problem(await client.get("/health/ready"), 503)
        await wire.start()
        assert (await client.get("/health/ready")).status_code == 200


async def test_a_connection_that_the_server_ended_meanwhile_is_not_used(
    client: AsyncClient, sql: Sql
) -> None:
    assert (await client.get("/health/ready")).status_code == 200
    await sql.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    await asyncio.sleep(0.1)  # for the news to arrive
    assert (await client.get("/health/ready")).status_code == 200


@pytest.mark.parametrize(("mode", "status"), [("prefer", 200), ("require", 503)])
async def test_sslmode_in_the_url_is_honoured(
    settings: Settings, wire: Wire, mode: str, status: int
) -> None:
    """The wire offers no TLS."""
    url = SecretStr(f"{wire.url}?sslmode={mode}")
    async with serve(settings, database_url=url) as client:
        assert (await client.get("/health/ready")).status_code == status


@pytest.mark.parametrize("pgbouncer", [False, True])
async def test_behind_pgbouncer_nothing_is_asked_that_it_refuses(
    settings: Settings, wire: Wire, pgbouncer: bool
) -> None:
    """It takes no statement_timeout at the start, and the next transaction may be elsewhere."""
    url = SecretStr(wire.url)
    async with serve(settings, database_url=url, database_pgbouncer=pgbouncer) as client:
        assert (await client.get("/health/ready")).status_code == 200
    [startup] = wire.startups
    assert (b"statement_timeout\x003000\0" in startup) == (not pgbouncer)
    assert not pgbouncer or wire.prepared <= {""}


async def pool(client: AsyncClient) -> tuple[float, ...]:
    """Tell the size of the process's pools, and how many connections are in use and waited for."""
    text = (await client.get("/metrics")).text
    metrics = dict(line.rsplit(" ", 1) for line in text.splitlines())
    return tuple(float(metrics[f"database_pool_{name}"]) for name in ("size", "in_use", "waiting"))


async def test_who_gets_no_connection_in_time_is_told_so_and_it_shows_in_the_metrics(
    settings: Settings, client: AsyncClient
) -> None:
    size, *_ = await pool(client)
    held = asyncio.Event()

    async def hold(request: Request) -> Response:
        async with request.state.database.connection():
            held.set()
            await asyncio.sleep(60)
        raise AssertionError("unreachable: the test cancels it")

    routes = [Route("/hold", hold)]
    async with serve(settings, routes=routes, database_pool_timeout=0.5) as client:
        holder = asyncio.create_task(client.get("/hold"))
        async with asyncio.timeout(3):
            await held.wait()
        waiter = asyncio.create_task(client.get("/health/ready"))
        await asyncio.sleep(0.1)
        assert await pool(client) == (size + 1, 1, 1)
        assert "connection" in problem(await waiter, 503)["detail"]
        holder.cancel()
        with pytest.raises(asyncio.CancelledError):
            await holder
        assert await pool(client) == (size + 1, 0, 0)
        assert (await client.get("/health/ready")).status_code == 200


async def test_who_has_waited_longest_gets_the_next_connection(settings: Settings) -> None:
    numbers, served = count(), []

    async def hold(request: Request) -> Response:
        number = next(numbers)
        async with request.state.database.connection():
            served.append(number)
            await asyncio.sleep(0.001)
        return Response()

    async def user(client: AsyncClient) -> None:
        for _ in range(20):
            await client.get("/hold")

    async with serve(settings, routes=[Route("/hold", hold)], database_pool_size=2) as client:
        await asyncio.gather(*(user(client) for _ in range(20)))
    # Out of their order only the first few, whose connections had to be opened.
    assert max(abs(place - number) for place, number in enumerate(served)) < 5
