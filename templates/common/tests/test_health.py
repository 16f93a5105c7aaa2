"""Health: whether the process serves, whether it reaches the database, and how its pool behaves."""

import asyncio
from itertools import count

import pytest
from httpx2 import AsyncClient
from pydantic import SecretStr
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tests.postgres_proxy import PostgresProxy
from tests.serving import Settings, assert_problem, serve
from tests.temporary_database import Sql


async def test_service_is_live_and_ready(client: AsyncClient) -> None:
    for path in ("/health/live", "/health/ready"):
        response = await client.get(path)
        assert (response.status_code, response.json()) == (200, {"status": "ok"})


async def test_service_starts_without_database_and_serves_when_it_comes(
    settings: Settings, postgres_proxy: PostgresProxy
) -> None:
    await postgres_proxy.stop()
    async with serve(settings, database_url=SecretStr(postgres_proxy.url)) as client:
        assert (await client.get("/health/live")).status_code == 200
        assert_problem(await client.get("/health/ready"), 503)
        await postgres_proxy.start()
        assert (await client.get("/health/ready")).status_code == 200


async def test_service_recovers_when_database_was_unreachable(
    settings: Settings, postgres_proxy: PostgresProxy
) -> None:
    async with serve(settings, database_url=SecretStr(postgres_proxy.url)) as client:
        assert (await client.get("/health/ready")).status_code == 200
        await postgres_proxy.stop()
        assert_problem(await client.get("/health/ready"), 503)
        await postgres_proxy.start()
        assert (await client.get("/health/ready")).status_code == 200


async def test_idle_connection_that_server_closed_is_not_used(
    client: AsyncClient, sql: Sql
) -> None:
    assert (await client.get("/health/ready")).status_code == 200
    await sql.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    await asyncio.sleep(0.1)  # until the service has noticed
    assert (await client.get("/health/ready")).status_code == 200


@pytest.mark.parametrize(("mode", "status"), [("prefer", 200), ("require", 503)])
async def test_sslmode_in_database_url_is_honoured(
    settings: Settings, postgres_proxy: PostgresProxy, mode: str, status: int
) -> None:
    """The proxy offers no TLS."""
    separator = "&" if "?" in postgres_proxy.url else "?"
    url = SecretStr(f"{postgres_proxy.url}{separator}sslmode={mode}")
    async with serve(settings, database_url=url) as client:
        assert (await client.get("/health/ready")).status_code == status


@pytest.mark.parametrize("pgbouncer", [False, True])
async def test_service_uses_only_what_pgbouncer_supports(
    settings: Settings, postgres_proxy: PostgresProxy, pgbouncer: bool
) -> None:
    """PgBouncer refuses a statement_timeout at startup.

    In its transaction mode the next transaction may run on another connection, where a named
    prepared statement does not exist.
    """
    url = SecretStr(postgres_proxy.url)
    async with serve(settings, database_url=url, database_pgbouncer=pgbouncer) as client:
        assert (await client.get("/health/ready")).status_code == 200
    [startup] = postgres_proxy.startup_messages
    assert (b"statement_timeout\x003000\0" in startup) == (not pgbouncer)
    assert not pgbouncer or postgres_proxy.prepared_names <= {""}


async def pool_metrics(client: AsyncClient) -> tuple[float, ...]:
    """Return the size of all pools, the connections in use, and the waiting requests."""
    text = (await client.get("/metrics")).text
    metrics = dict(line.rsplit(" ", 1) for line in text.splitlines())
    return tuple(float(metrics[f"database_pool_{name}"]) for name in ("size", "in_use", "waiting"))


async def test_pool_timeout_returns_503_and_metrics_show_the_waiting_request(
    settings: Settings, client: AsyncClient
) -> None:
    size, *_ = await pool_metrics(client)
    checked_out = asyncio.Event()

    async def hold(request: Request) -> Response:
        async with request.state.database.connection():
            checked_out.set()
            await asyncio.sleep(60)
        raise AssertionError("unreachable: the test cancels it")

    routes = [Route("/test-hold", hold)]
    async with serve(settings, routes=routes, database_pool_timeout=0.5) as client:
        holding = asyncio.create_task(client.get("/test-hold"))
        async with asyncio.timeout(3):
            await checked_out.wait()
        waiting = asyncio.create_task(client.get("/health/ready"))
        await asyncio.sleep(0.1)  # until it waits
        assert await pool_metrics(client) == (size + 1, 1, 1)
        assert "connection" in assert_problem(await waiting, 503)["detail"]
        holding.cancel()
        with pytest.raises(asyncio.CancelledError):
            await holding
        assert await pool_metrics(client) == (size + 1, 0, 0)
        assert (await client.get("/health/ready")).status_code == 200


async def test_waiting_requests_get_connections_in_their_order(settings: Settings) -> None:
    numbers, served = count(), []

    async def hold(request: Request) -> Response:
        number = next(numbers)
        async with request.state.database.connection():
            served.append(number)
            await asyncio.sleep(0.001)
        return Response()

    async def user(client: AsyncClient) -> None:
        for _ in range(10):
            await client.get("/test-hold")

    async with serve(settings, routes=[Route("/test-hold", hold)], database_pool_size=2) as client:
        # These open both connections, which can take longer than many requests.
        await asyncio.gather(*(client.get("/test-hold") for _ in range(2)))
        await asyncio.gather(*(user(client) for _ in range(20)))
    # The requests on two connections may change places with their neighbours.
    assert max(abs(place - number) for place, number in enumerate(served)) < 5
