"""How gunicorn serves. The environment decides, and gunicorn's own flags win over it."""

import asyncio
import atexit
import os
import shutil
import sys
import tempfile
from pathlib import Path
from secrets import token_hex
from typing import Any

import asyncpg
from gunicorn.arbiter import Arbiter
from gunicorn.errors import HaltServer
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn_worker import UvicornWorker

from service.settings import InvalidSettings, Settings

# Here, because a worker that cannot start would be started again for ever.
try:
    settings = Settings.load()
except InvalidSettings as error:
    if Arbiter.WORKERS:  # at a reload; plain SystemExit would leave these without a master
        raise HaltServer(f"Not reloaded: {error}", 1) from None
    raise SystemExit(f"Not started: {error}") from None
# Workers import the package themselves, so that a reload (SIGHUP) takes new code in.
package = Settings.__module__.partition(".")[0]
for name in [name for name in sys.modules if name.partition(".")[0] == package]:
    del sys.modules[name]

MAX_HEAD = 65_536  # bytes; nginx, where it is in front, is stricter
LINGER = 2  # seconds
PROBLEM = b"""{"type": "about:blank", "title": "Bad Request", "status": 400, \
"detail": "This is not valid HTTP, or its line and headers are too long."}"""
NOT_HTTP = b"""HTTP/1.1 400 Bad Request\r
Content-Type: application/problem+json\r
Content-Length: %d\r
X-Request-ID: %s\r
Connection: close\r
\r
%s"""


class Protocol(HttpToolsProtocol):
    """uvicorn's, with four things that it lacks."""

    head = 0

    def connection_made(self, transport: asyncio.Transport) -> None:
        super().connection_made(transport)
        # A socket's peer has no address; a name lets `Worker` trust it, and nobody else.
        self.client = self.client or ("unix", 0)

    def data_received(self, data: bytes) -> None:
        """Refuse a request whose line and headers have no end."""
        self.head += len(data)
        super().data_received(data)
        if self.head > MAX_HEAD and not self.transport.is_closing():
            self.send_400_response("Request line and headers are too long.")

    def on_headers_complete(self) -> None:
        self.head = 0
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self.head = 0
        super().on_body(body)

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP with a problem, like all else that is refused."""
        self.transport.write(NOT_HTTP % (len(PROBLEM), token_hex(16).encode(), PROBLEM))
        self.transport.close()

    def shutdown(self) -> None:
        """Let a request arrive whose connection has just been accepted: uvicorn would cut it."""
        if self.cycle is None:
            self.loop.call_later(LINGER, super().shutdown)
        else:
            super().shutdown()


class Worker(UvicornWorker):
    CONFIG_KWARGS = UvicornWorker.CONFIG_KWARGS | {"http": Protocol}

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        # Before gunicorn kills the worker, so that what still runs is rolled back in order.
        self.config.timeout_graceful_shutdown = self.cfg.graceful_timeout * 0.9
        trusted = self.cfg.forwarded_allow_ips
        self.config.forwarded_allow_ips = "*" if "*" in trusted else [*trusted, "unix"]

    async def _serve(self) -> None:
        self.living = asyncio.create_task(self.live())
        await super()._serve()

    async def live(self) -> None:
        """Tell the master of this worker as long as it runs: uvicorn stops when told to end.

        gunicorn would kill it in the middle of what it is to finish.
        """
        while True:
            self.notify()
            await asyncio.sleep(1)


bind = "127.0.0.1:8000"
workers = settings.web_concurrency
worker_class = Worker
graceful_timeout = settings.graceful_timeout
# Who may say in X-Forwarded-* where a request comes from, beside those who may open the socket.
forwarded_allow_ips = os.environ.get("FORWARDED_ALLOW_IPS", "")
keepalive = 75  # longer than nginx's 60: the side that sends requests should be first to hang up
control_socket_disable = True  # it would be made in the home folder
accesslog = None  # the service writes a line a request itself

# The workers count into files that whichever is asked adds up. A reload finds the variable set,
# and keeps the folder.
if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
    folder = tempfile.mkdtemp(prefix="metrics-")
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = folder
    atexit.register(shutil.rmtree, folder, ignore_errors=True)


async def connection_limit() -> int:
    """Ask the server how many connections it has for users that are not special."""
    connection = await asyncpg.connect(
        settings.dsn,
        timeout=settings.database_pool_timeout,
        command_timeout=settings.database_statement_timeout,
        statement_cache_size=0,  # PgBouncer would keep our statement's name for others to meet
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


def over_budget(server: Any) -> str | None:
    """Say so if the workers' pools would ask for more connections than the server has."""
    limit = settings.database_connection_limit
    if limit is None:
        try:
            limit = asyncio.run(connection_limit())
        except Exception as error:  # whatever it is, what serves should go on serving
            server.log.warning(
                "Could not ask the database for its connection limit: %s", type(error).__name__
            )
            return None
    needed = server.cfg.workers * settings.database_pool_size
    if needed <= limit:
        return None
    return (
        f"{server.cfg.workers} workers x DATABASE_POOL_SIZE {settings.database_pool_size} "
        f"= {needed} connections, but the database has {limit}: "
        "lower DATABASE_POOL_SIZE or WEB_CONCURRENCY, or set DATABASE_CONNECTION_LIMIT"
    )


def on_starting(server: Any) -> None:
    metrics = Path(os.environ["PROMETHEUS_MULTIPROC_DIR"])
    metrics.mkdir(parents=True, exist_ok=True)
    for file in metrics.glob("*.db"):
        file.unlink()
    if fault := over_budget(server):
        raise SystemExit(f"Not started: {fault}")


def on_reload(server: Any) -> None:
    if fault := over_budget(server):  # what serves should go on serving
        server.log.error("Reloaded, but %s", fault)


def post_fork(server: Any, worker: Any) -> None:
    atexit.unregister(shutil.rmtree)  # the folder is the master's to remove


def child_exit(server: Any, worker: Any) -> None:
    """Take the worker's gauges out of the sums."""
    from prometheus_client import multiprocess  # reads PROMETHEUS_MULTIPROC_DIR when imported

    multiprocess.mark_process_dead(worker.pid)
