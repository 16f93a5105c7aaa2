"""How gunicorn serves. The environment decides, and gunicorn's own flags win over it."""

import asyncio
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import asyncpg

from service.settings import InvalidSettings, Settings

# Here, because a worker that cannot start would be started again for ever.
try:
    settings = Settings.load()
except InvalidSettings as error:
    raise SystemExit(f"Not started: {error}") from None

bind = "127.0.0.1:8000"
workers = settings.web_concurrency
worker_class = "uvicorn_worker.UvicornWorker"
graceful_timeout = settings.graceful_timeout
control_socket_disable = True  # it would be made in the home folder
accesslog = None  # the service writes a line a request itself

# The workers count into files that whichever is asked adds up; `child_exit` and the emptied
# folder keep those of the dead out.
metrics = Path(os.environ.setdefault("PROMETHEUS_MULTIPROC_DIR", tempfile.mkdtemp()))


async def connection_limit() -> int:
    """Ask the server how many connections it has for this user."""
    connection = await asyncpg.connect(settings.dsn, timeout=settings.database_pool_timeout)
    try:
        limit: int = await connection.fetchval(
            """
            SELECT current_setting('max_connections')::int
                - current_setting('superuser_reserved_connections')::int
                - coalesce(current_setting('reserved_connections', true)::int, 0)
            """
        )
        return limit
    finally:
        await connection.close()


def on_starting(server: Any) -> None:
    """Refuse to start where the workers' pools would ask for more than the server has."""
    metrics.mkdir(parents=True, exist_ok=True)
    for file in metrics.glob("*.db"):
        file.unlink()
    limit = settings.database_connection_limit
    if limit is None:
        try:
            limit = asyncio.run(connection_limit())
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            server.log.warning(
                "Could not ask the database for its connection limit: %s", type(error).__name__
            )
            return
    needed = server.cfg.workers * settings.database_pool_size
    if needed > limit:
        raise SystemExit(
            f"Not started: {server.cfg.workers} workers x DATABASE_POOL_SIZE "
            f"{settings.database_pool_size} = {needed} connections, but the database has {limit}: "
            "lower DATABASE_POOL_SIZE or WEB_CONCURRENCY, or set DATABASE_CONNECTION_LIMIT"
        )


def child_exit(server: Any, worker: Any) -> None:
    """Take the worker's gauges out of the sums."""
    from prometheus_client import multiprocess  # reads PROMETHEUS_MULTIPROC_DIR when imported

    multiprocess.mark_process_dead(worker.pid)


def on_exit(server: Any) -> None:
    shutil.rmtree(metrics, ignore_errors=True)
