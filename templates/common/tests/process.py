"""The service in a process of its own, under gunicorn, and requests sent to it byte by byte."""

import asyncio
import os
import socket
import sys
from asyncio.subprocess import PIPE, STDOUT
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from httpx2 import Response

from scripts.postgres import free_port
from tests.serving import Settings

CONFIG = Path(__file__).parent.parent / "deploy" / "gunicorn.conf.py"
GUNICORN = [sys.executable, "-m", "gunicorn", "--config", str(CONFIG), "--workers", "1"]
APP = Settings.__module__.replace("settings", "main:app")


@dataclass(frozen=True)
class ServiceProcess:
    port: int
    output: list[str] = field(default_factory=list)  # lines of stdout and stderr

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def send(self, *parts: bytes) -> Response:
        """Send the parts of one request and return the response.

        The service may respond, and close the connection, before all parts are sent.
        """
        loop = asyncio.get_running_loop()
        # A plain socket, because asyncio's streams lose a response that comes before the
        # connection is closed in the middle of the request.
        with socket.create_connection(("127.0.0.1", self.port)) as client:
            client.setblocking(False)
            async with asyncio.timeout(10), asyncio.TaskGroup() as tasks:
                sending = tasks.create_task(send_all(client, parts))
                received = b""
                with suppress(ConnectionError):
                    while data := await loop.sock_recv(client, 65536):
                        received += data
                sending.cancel()
        head, _, body = received.partition(b"\r\n\r\n")
        status_line, *lines = head.split(b"\r\n")
        headers = [(name, value) for name, _, value in (line.partition(b": ") for line in lines)]
        return Response(int(status_line.split()[1]), headers=headers, content=body)


async def send_all(client: socket.socket, parts: Iterable[bytes]) -> None:
    with suppress(ConnectionError):
        for part in parts:
            await asyncio.get_running_loop().sock_sendall(client, part)


def raw_request(method: str, target: str, *headers: str | bytes, body: bytes = b"") -> bytes:
    """Return the bytes of a request. The headers are sent as they are, even if they are wrong."""
    lines = [line.encode() if isinstance(line, str) else line for line in headers]
    if not any(line.startswith(b"Host:") for line in lines):
        lines.append(b"Host: 127.0.0.1")
    request_line = f"{method} {target} HTTP/1.1".encode()
    return b"\r\n".join([request_line, b"Connection: close", *lines, b"", body])


@asynccontextmanager
async def run_service(
    settings: Settings, folder: Path, app: str = APP, **environment: str
) -> AsyncIterator[ServiceProcess]:
    """Run the service until the block ends, with `environment` in addition to `settings`.

    folder: the working directory, which must contain no .env file.
    app: the application to load.
    """
    service = ServiceProcess(free_port())
    process = await asyncio.create_subprocess_exec(
        *[*GUNICORN, "--bind", f"127.0.0.1:{service.port}", app],
        cwd=folder,
        env={
            **os.environ,
            "DATABASE_URL": settings.dsn,
            "DATABASE_POOL_SIZE": str(settings.database_pool_size),
            **environment,
        },
        stdout=PIPE,
        stderr=STDOUT,
    )
    started = asyncio.Event()
    reading = asyncio.create_task(read_output(process, service.output, started))
    try:
        async with asyncio.timeout(60):
            await started.wait()
        assert not reading.done(), service.output
        yield service
    finally:
        with suppress(ProcessLookupError):
            process.terminate()
        await reading
        await process.wait()


async def read_output(
    process: asyncio.subprocess.Process, output: list[str], started: asyncio.Event
) -> None:
    """Read lines until the process ends. Set `started` when the service has started or ended."""
    assert process.stdout is not None
    async for line in process.stdout:
        output.append(line.decode())
        if b"Application startup complete" in line:
            started.set()
    started.set()
