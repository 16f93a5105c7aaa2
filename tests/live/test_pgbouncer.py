"""PgBouncer in transaction mode, between the service and PostgreSQL."""

import asyncio
import subprocess
from typing import Any

import asyncpg
import pytest

from tests.live.deployment import Deployment, migrate, refusal, start_and_fail
from tests.support.postgres import execute

pytestmark = pytest.mark.live


def test_second_start_behind_pgbouncer_checks_connections_too(
    default_deployment: Deployment,
) -> None:
    """A named prepared statement of the first start would still exist on PgBouncer's connection."""
    for _ in range(2):
        message = refusal(
            start_and_fail(
                default_deployment, DATABASE_CONNECTION_LIMIT="", DATABASE_POOL_SIZE="200"
            )
        )
        assert "the database has 297" in message


@pytest.mark.parametrize("timeout", ["statement_timeout", "idle_in_transaction_session_timeout"])
def test_role_has_the_timeouts_behind_pgbouncer(
    default_deployment: Deployment, timeout: str
) -> None:
    async def ask() -> Any:
        connection = await asyncpg.connect(
            default_deployment.environment["DATABASE_URL"], statement_cache_size=0
        )
        try:
            return await connection.fetchval(f"SHOW {timeout}")
        finally:
            await connection.close()

    assert asyncio.run(ask()) == "5s"


def test_user_may_ask_pgbouncer_for_its_pools(default_deployment: Deployment) -> None:
    url, _, _ = default_deployment.environment["DATABASE_URL"].rpartition("/")
    asyncio.run(execute(f"{url}/pgbouncer", "SHOW POOLS"))


def test_migrations_have_no_statement_timeout(default_deployment: Deployment) -> None:
    timeout = "ALTER ROLE service IN DATABASE slow SET statement_timeout = 1"  # millisecond
    administrator = default_deployment.direct_url.replace("service@", "postgres@")
    asyncio.run(execute(administrator, "CREATE DATABASE slow OWNER service", timeout))
    slow = default_deployment.direct_url.replace(default_deployment.folder.name, "slow")
    migrate(default_deployment, DATABASE_URL=slow)
    # Migrations must connect to PostgreSQL itself: PgBouncer refuses their settings.
    with pytest.raises(subprocess.CalledProcessError) as refused:
        migrate(default_deployment, DATABASE_URL=default_deployment.environment["DATABASE_URL"])
    assert "DATABASE_URL must name PostgreSQL itself" in refused.value.stdout
