"""Programs that serve, each by one uvicorn process with the same flags."""

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
from urllib.request import Request, urlopen

import psutil

from benchmarks.programs import Program
from tests.choices import ROOT, TEMPLATES

PASSED_ON = ("PATH", "HOME", "LANG", "TMPDIR")  # variables of this environment


@dataclass
class Server:
    url: str
    process: psutil.Process

    def cpu(self) -> float:
        """Return the seconds of CPU, user and system, of the process and its children."""
        processes = [self.process, *self.process.children(recursive=True)]
        times = [process.cpu_times() for process in processes]
        return sum(each.user + each.system for each in times)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


def answers(url: str) -> bool:
    try:
        with urlopen(url, timeout=5):  # noqa: S310
            return True
    except OSError:
        return False


@contextmanager
def running(command: list[str], port: int, **environment: str) -> Iterator[Server]:
    """Run a server on `port` until the block ends. Its output goes to a file, as under systemd."""
    url = f"http://127.0.0.1:{port}"
    passed_on = {name: value for name, value in os.environ.items() if name in PASSED_ON}
    with tempfile.TemporaryFile() as log:
        server = subprocess.Popen(
            command,
            env={**passed_on, "PYTHONDONTWRITEBYTECODE": "1", **environment},
            cwd=Path(tempfile.gettempdir()),  # a folder without .env
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
def served(program: Program, pool_log: Path | None = None, **settings: object) -> Iterator[Server]:
    """Serve a program with `settings` (database_url, ...) and its defaults for all others.

    pool_log: the file that SQLAlchemy's pool reports to, see observed.py.
    """
    port = free_port()
    server = ["benchmarks.observed", str(pool_log)] if pool_log else ["uvicorn"]
    command = [sys.executable, "-m", *server, program.app, "--port", str(port)]
    command += ["--no-access-log", "--log-level", "warning"]
    with running(command, port, **program.environment, **environment(settings)) as serving:
        yield serving


@contextmanager
def deployed(program: Program, workers: int, **settings: object) -> Iterator[Server]:
    """Serve the service by gunicorn, as in production."""
    port = free_port()
    configuration = str(TEMPLATES / "common" / "deploy" / "gunicorn.conf.py")
    command = [sys.executable, "-m", "gunicorn", "--config", configuration]
    command += ["--bind", f"127.0.0.1:{port}", "--workers", str(workers), program.app]
    with running(command, port, **program.environment, **environment(settings)) as serving:
        yield serving


def environment(settings: dict[str, object]) -> dict[str, str]:
    return {name.upper(): str(value) for name, value in settings.items()}


@contextmanager
def upstream() -> Iterator[Server]:
    """Serve the stub of the upstream."""
    port = free_port()
    command = [sys.executable, "-m", "uvicorn", "benchmarks.upstream:app", "--port", str(port)]
    command += ["--no-access-log", "--log-level", "warning", "--lifespan", "off"]
    command += ["--timeout-keep-alive", "120"]  # longer than any client keeps a connection
    with running(command, port, PYTHONPATH=str(ROOT)) as serving:
        yield serving


def set_upstream_seconds(upstream: Server, seconds: float) -> None:
    """Let every call of the stub take so long from now on."""
    with urlopen(Request(f"{upstream.url}/{seconds}", method="PUT"), timeout=5):  # noqa: S310
        pass
