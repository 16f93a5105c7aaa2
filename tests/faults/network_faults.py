"""Faults of the network between the service and PostgreSQL, and of its callers' connections."""

import asyncio

from tests.faults.fault_injection import (
    POOL_SIZE,
    STATEMENT_TIMEOUT,
    WAITING_FOR_LOCK,
    Environment,
)
from tests.faults.users import HttpConnection, Users


async def the_network_drops_everything(environment: Environment, users: Users) -> None:
    environment.network.hold()
    await environment.last(4)
    environment.network.deliver()


async def a_firewall_forgets_every_connection(environment: Environment, users: Users) -> None:
    await environment.network.forget()


async def clients_hang_up_in_the_middle(environment: Environment, users: Users) -> None:
    for _ in range(3):
        await users.pause()
        async with (
            environment.locked("note_revisions") as session,
            asyncio.timeout(STATEMENT_TIMEOUT),
        ):
            connections = [HttpConnection(environment.service.port) for _ in range(POOL_SIZE)]
            for connection in connections:
                body = {"title": "abandoned", "body": users.doubtful_token()}
                await connection.send("POST", "/notes", body)
            while await session.fetchval(WAITING_FOR_LOCK) < POOL_SIZE:
                await session.execute("SELECT pg_stat_clear_snapshot()")
            for connection in connections:
                connection.close()
        users.resume()
        await environment.last(0.2)
    environment.needs_no_refusal = True


NETWORK_FAULTS = [
    the_network_drops_everything,
    a_firewall_forgets_every_connection,
    clients_hang_up_in_the_middle,
]
