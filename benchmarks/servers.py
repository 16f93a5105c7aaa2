"""Programs, served: one uvicorn process each, with the same flags."""

import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.error import URLError
from urllib.request import Request, urlopen

import psutil

from benchmarks.programs import Program
from tests.choices import ROOT, TEMPLATES

LEFT = ("PATH", "HOME", "LANG", "TMPDIR")


@dataclass
class Server:
    url: str
    process: psutil.Process

    def cpu(self) -> float:
        """Tell how many seconds of CPU the process and its children have taken, in user and system."""
        times = [self.process, *self.process.children(recursive=True)]
        return sum(time.user + time.system for time in (each.cpu_times() for each in times))


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


def answers(url: str) -> bool:
    try:
        with urlopen(url, timeout=5):  # noqa: S310
            return True
    except (URLError, OSError):
        return False


@contextmanager
def running(command: list[str], port: int, **environment: str) -> Iterator[Server]:
    """Run what serves `port` until the block ends, with its output in a file, as systemd would."""
    url = f"http://127.0.0.1:{port}"
    kept = {name: value for name, value in os.environ.items() if name in LEFT}
    with tempfile.TemporaryFile() as log:
        server = subprocess.Popen(
            command,
            env={**kept, "PYTHONDONTWRITEBYTECODE": "1", **environment},
            cwd=Path(tempfile.gettempdir()),  # where there is no .env
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        try:
            deadline = time.monotonic() + 60
            while not answers(f"{url}/notes?limit=1"):
                if server.poll() is not None or time.monotonic() > deadline:
                    log.seek(0)
                    raise SystemExit(f"{' '.join(command)} does not answer:\n{log.read().decode()}")
                time.sleep(0.05)
            yield Server(url, psutil.Process(server.pid))
        finally:
            server.terminate()
            try:
                server.wait(timeout=20)
            except subprocess.TimeoutExpired:
                os.killpg(server.pid, 9)
                server.wait()


@contextmanager
def served(program: Program, watched: Path | None = None, **settings: object) -> Iterator[Server]:
    """Serve a program with `settings` (database_url, ...), all else being its own defaults.

    watched: the file to note in when a connection is lent and given back.
    """
    port = free_port()
    server = ["benchmarks.watched", str(watched)] if watched else ["uvicorn"]
    command = [sys.executable, "-m", *server, program.app, "--port", str(port)]
    command += ["--no-access-log", "--log-level", "warning"]
    with running(command, port, **program.environment, **environment(settings)) as server:
        yield server


@contextmanager
def deployed(program: Program, workers: int, **settings: object) -> Iterator[Server]:
    """Serve the service by gunicorn, as in production."""
    port = free_port()
    configuration = str(TEMPLATES / "common" / "deploy" / "gunicorn.conf.py")
    command = [sys.executable, "-m", "gunicorn", "--config", configuration]
    command += ["--bind", f"127.0.0.1:{port}", "--workers", str(workers), program.app]
    with running(command, port, **program.environment, **environment(settings)) as server:
        yield server


def environment(settings: dict[str, object]) -> dict[str, str]:
    return {name.upper(): str(value) for name, value in settings.items()}


def pause(upstream: Server, seconds: float) -> None:
    """Let the upstream take so long from now on."""
    with urlopen(Request(f"{upstream.url}/{seconds}", method="PUT"), timeout=5):  # noqa: S310
        pass


@contextmanager
def upstream() -> Iterator[Server]:
    """Serve the stub of the upstream."""
    port = free_port()
    command = [sys.executable, "-m", "uvicorn", "benchmarks.upstream:app", "--port", str(port)]
    command += ["--no-access-log", "--log-level", "warning", "--lifespan", "off"]
    command += ["--timeout-keep-alive", "120"]  # longer than any client keeps one
    with running(command, port, PYTHONPATH=str(ROOT)) as server:
        yield server
