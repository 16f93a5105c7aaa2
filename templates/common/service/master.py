"""gunicorn's master process: it checks the settings and the budget of connections."""

import asyncio
import atexit
import logging
import os
import shutil
import sys
import tempfile
from pathlib import Path

import asyncpg
from gunicorn.arbiter import Arbiter
from gunicorn.errors import HaltServer
from gunicorn.workers.base import Worker

from .connect_failures import explain
from .settings import InvalidSettings, Settings

log = logging.getLogger("gunicorn.error")  # which, despite its name, is gunicorn's whole log


def load_settings() -> Settings:
    """Read the settings, or end gunicorn with one line that names the wrong ones.

    The master must check them: if a worker exits because of a wrong setting, the master starts the
    next one, forever.
    """
    try:
        return Settings.load()
    except InvalidSettings as error:
        if Arbiter.WORKERS:  # This is a reload, and only HaltServer stops the workers as well.
            message = f"Stopped at a reload: {error}"
            raise HaltServer(message, 1) from None  # type: ignore[no-untyped-call]
        raise SystemExit(f"Not started: {error}") from None


async def connection_limit(settings: Settings) -> int:
    """Ask the server how many connections it has for ordinary users."""
    connection = await asyncpg.connect(
        settings.dsn,
        timeout=settings.connect_timeout,
        command_timeout=settings.database_statement_timeout,
        # Without named statements, because PgBouncer may give this connection to another client.
        statement_cache_size=0,
    )
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


def exceeded_budget(workers: int) -> str | None:
    """Return an error message if the workers' pools may need more connections than there are."""
    settings = load_settings()
    limit = settings.database_connection_limit
    if limit is None:
        try:
            limit = asyncio.run(connection_limit(settings))
        except Exception as error:  # The service must start, and reload, without its database.
            log.warning(
                "Could not ask the database for its connection limit: %s: %s",
                type(error).__name__,
                explain(error),
            )
            return None
    needed = workers * settings.database_pool_size
    if needed <= limit:
        return None
    return (
        f"{workers} workers x DATABASE_POOL_SIZE {settings.database_pool_size} "
        f"= {needed} connections, but the database has {limit}: "
        "lower DATABASE_POOL_SIZE or WEB_CONCURRENCY, or set DATABASE_CONNECTION_LIMIT"
    )


def prepare_metrics_folder() -> None:
    """Make PROMETHEUS_MULTIPROC_DIR an empty folder.

    The workers write their metrics into it, and whichever answers /metrics adds up all of them.
    """
    if folder := os.environ.get("PROMETHEUS_MULTIPROC_DIR"):
        Path(folder).mkdir(parents=True, exist_ok=True)
        for file in Path(folder).glob("*.db"):
            file.unlink()
    else:
        folder = os.environ["PROMETHEUS_MULTIPROC_DIR"] = tempfile.mkdtemp(prefix="metrics-")
        atexit.register(remove_metrics_folder, folder, os.getpid())


def remove_metrics_folder(folder: str, master: int) -> None:
    """Remove the folder in the master only. Workers are forked from it, so they call this, too."""
    if os.getpid() == master:
        shutil.rmtree(folder, ignore_errors=True)


def forget_package() -> None:
    """Forget the modules of this package, so that a reload takes in new code.

    Workers are forked from the master. Without this they would inherit the modules that it imported
    when it started, instead of importing them again.
    """
    package = __name__.partition(".")[0]
    for name in list(sys.modules):
        if name.partition(".")[0] == package:
            del sys.modules[name]


# gunicorn calls the functions below: https://gunicorn.org/reference/settings/#server-hooks


def on_starting(server: Arbiter) -> None:
    if server.cfg.preload_app:
        raise SystemExit("Not started: with --preload a reload would not take in new code")
    if problem := exceeded_budget(server.cfg.workers):
        raise SystemExit(f"Not started: {problem}")
    prepare_metrics_folder()
    forget_package()


def on_reload(server: Arbiter) -> None:
    if problem := exceeded_budget(server.cfg.workers):  # The service runs, so this must not end it.
        log.error("Reloaded, but %s", problem)
    forget_package()


def child_exit(server: Arbiter, worker: Worker) -> None:
    """Remove the gauges of a worker that has ended, so that sums do not include them."""
    # Importing prometheus_client reads PROMETHEUS_MULTIPROC_DIR, so this cannot be done earlier.
    from prometheus_client import multiprocess

    multiprocess.mark_process_dead(worker.pid)  # type: ignore[no-untyped-call]
