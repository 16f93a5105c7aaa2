"""Faults of PostgreSQL itself: killed, stopped, failed over, read-only."""

import asyncio

from tests.choices import TEMPLATES
from tests.faults.fault_injection import TERMINATE, Environment
from tests.faults.users import Users


async def postgresql_is_killed_and_started_again(environment: Environment, users: Users) -> None:
    await environment.server.kill()
    await environment.start_database()


async def postgresql_is_restarted_quickly(environment: Environment, users: Users) -> None:
    await environment.server.stop()
    await environment.start_database()


async def postgresql_is_stopped_for_long(environment: Environment, users: Users) -> None:
    environment.network.refuse()
    await environment.server.stop()
    await asyncio.sleep(60 if environment.long else 2)
    await environment.start_database()


async def postgresql_starts_after_the_service(environment: Environment, users: Users) -> None:
    await users.pause()
    await environment.server.stop()
    environment.network.refuse()
    await environment.restart_service()
    users.reconnect()
    connection = users.connection()
    assert (await connection.ask("GET", "/health/live")).status == 200
    assert (await connection.ask("GET", "/health/ready")).status == 503
    users.resume()
    await environment.last(0.5)
    await environment.start_database()


async def every_connection_is_terminated_again_and_again(
    environment: Environment, users: Users
) -> None:
    for _ in range(5):
        await environment.server.execute(TERMINATE)
        await environment.last(0.2)


async def the_database_fails_over_to_another_server(environment: Environment, users: Users) -> None:
    standby = await environment.server.start_standby()
    await environment.last(0.3)
    await environment.server.kill()
    await environment.server.remove()
    environment.server = standby
    await standby.execute("SELECT pg_promote()")
    await environment.start_database()


async def a_failover_leaves_the_old_server_read_only(
    environment: Environment, users: Users
) -> None:
    """Connections that are open still lead to the old server."""
    old, standby = environment.server, await environment.server.start_standby()
    await environment.last(0.3)
    await old.configure(default_transaction_read_only="on")
    await users.pause()  # a transaction that has begun on the old server may still commit
    await standby.execute("SELECT pg_promote()")
    environment.server = standby
    await environment.start_database()
    users.resume()
    environment.old_servers.append(old)


async def the_server_is_read_only(environment: Environment, users: Users) -> None:
    await environment.server.configure(default_transaction_read_only="on")
    await asyncio.sleep(0.3)  # until all connections have the setting
    acknowledged = len(users.acknowledged)
    await environment.last(1)
    assert len(users.acknowledged) == acknowledged
    assert not users.reads_refused
    answer = await users.connection().ask("POST", "/notes", {"title": "no"})
    assert "read-only" in answer.json()["detail"]
    await environment.server.configure(default_transaction_read_only=None)


async def four_processes_migrate_at_once(environment: Environment, users: Users) -> None:
    service = environment.service
    await environment.server.execute("DROP DATABASE IF EXISTS fresh", "CREATE DATABASE fresh")
    before = service.log().count("Running upgrade")
    url = service.environment["DATABASE_URL"].replace("/postgres?", "/fresh?")
    processes = [service.start_migration(DATABASE_URL=url) for _ in range(4)]
    waiting = (asyncio.to_thread(process.wait) for process in processes)
    assert await asyncio.gather(*waiting) == [0, 0, 0, 0], service.log()
    applied = service.log().count("Running upgrade") - before
    assert applied == len(list((TEMPLATES / "common/migrations/versions").glob("*.py")))
    environment.needs_no_refusal = True


SERVER_FAULTS = [
    postgresql_is_killed_and_started_again,
    postgresql_is_restarted_quickly,
    postgresql_is_stopped_for_long,
    postgresql_starts_after_the_service,
    every_connection_is_terminated_again_and_again,
    the_database_fails_over_to_another_server,
    a_failover_leaves_the_old_server_read_only,
    the_server_is_read_only,
    four_processes_migrate_at_once,
]
