"""The service as a process of its own, served as in production, to be told bytes as they are."""

import asyncio
import os
import socket
import sys
from asyncio.subprocess import PIPE, STDOUT
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from httpx2 import Response

from scripts.postgres import free_port
from tests.serving import Settings

CONFIG = Path(__file__).parent.parent / "deploy" / "gunicorn.conf.py"
GUNICORN = [sys.executable, "-m", "gunicorn", "--config", str(CONFIG), "--workers", "1"]
APP = Settings.__module__.replace("settings", "main:app")


@dataclass(frozen=True)
class Process:
    port: int
    lines: list[str]  # all that it wrote, to either stream

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def tell(self, *parts: bytes) -> Response:
        """Send `parts` until they end or the connection does, and return what was answered."""
        loop = asyncio.get_running_loop()
        # Not asyncio's streams: they forget the answer where the service hangs up on what is sent.
        with socket.create_connection(("127.0.0.1", self.port)) as client:
            client.setblocking(False)
            async with asyncio.timeout(10), asyncio.TaskGroup() as tasks:
                sending = tasks.create_task(send(client, parts))
                answer = b""
                with suppress(ConnectionError):
                    while part := await loop.sock_recv(client, 65536):
                        answer += part
                sending.cancel()
        head, _, body = answer.partition(b"\r\n\r\n")
        status, *lines = head.split(b"\r\n")
        headers = [(name, value) for name, _, value in (line.partition(b": ") for line in lines)]
        return Response(int(status.split()[1]), headers=headers, content=body)


async def send(client: socket.socket, parts: Iterable[bytes]) -> None:
    with suppress(ConnectionError):
        for part in parts:
            await asyncio.get_running_loop().sock_sendall(client, part)


def request(method: str, target: str, *headers: str | bytes, body: bytes = b"") -> bytes:
    """Write down a request, which need not be what its headers say."""
    given = [line.encode() if isinstance(line, str) else line for line in headers]
    if not any(line.startswith(b"Host:") for line in given):
        given.append(b"Host: 127.0.0.1")
    first = f"{method} {target} HTTP/1.1".encode()
    return b"\r\n".join([first, b"Connection: close", *given, b"", body])


@asynccontextmanager
async def started(settings: Settings, folder: Path, **environment: str) -> AsyncIterator[Process]:
    """Run the service until the end of the block, on `settings` changed by `environment`."""
    process = Process(free_port(), [])
    given = {
        "DATABASE_URL": settings.dsn,
        "DATABASE_POOL_SIZE": str(settings.database_pool_size),
        "UPSTREAM_URL": settings.upstream_url,
        **environment,
    }
    running = await asyncio.create_subprocess_exec(
        *[*GUNICORN, "--bind", f"127.0.0.1:{process.port}", APP],
        cwd=folder,  # where no .env is
        env={**os.environ, **given},
        stdout=PIPE,
        stderr=STDOUT,
    )
    output = running.stdout
    assert output is not None
    ready = asyncio.Event()

    async def listen() -> None:
        async for line in output:
            process.lines.append(line.decode())
            if b"Application startup complete" in line:
                ready.set()
        ready.set()

    listening = asyncio.create_task(listen())
    try:
        async with asyncio.timeout(60):
            await ready.wait()
        assert not listening.done(), process.lines
        yield process
    finally:
        with suppress(ProcessLookupError):
            running.terminate()
        await listening
        await running.wait()
