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
from urllib.request import urlopen

import psutil

from benchmarks.programs import Program

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
def running(command: list[str], url: str, **environment: str) -> Iterator[Server]:
    """Run `command` until the block ends, with its output in a file, as a service manager would."""
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
            while not answers(url):
                if server.poll() is not None:
                    log.seek(0)
                    raise SystemExit(f"{' '.join(command)} ended:\n{log.read().decode()}")
                time.sleep(0.05)
            yield Server(url.rpartition("/")[0], psutil.Process(server.pid))
        finally:
            server.terminate()
            try:
                server.wait(timeout=20)
            except subprocess.TimeoutExpired:
                os.killpg(server.pid, 9)
                server.wait()


@contextmanager
def served(program: Program, **settings: object) -> Iterator[Server]:
    """Serve a program with `settings` (database_url, ...), all else being its own defaults."""
    port = free_port()
    command = [sys.executable, "-m", "uvicorn", program.app, "--port", str(port)]
    command += ["--no-access-log", "--log-level", "warning"]
    environment = {name.upper(): str(value) for name, value in settings.items()}
    url = f"http://127.0.0.1:{port}/notes?limit=1"
    with running(command, url, **program.environment, **environment) as server:
        server.url = f"http://127.0.0.1:{port}"
        yield server


@contextmanager
def upstream() -> Iterator[Server]:
    """Serve the stub, which answers after as many seconds as `PUT /pause` says."""
    port = free_port()
    command = [sys.executable, "-m", "uvicorn", "benchmarks.upstream:app", "--port", str(port)]
    command += ["--no-access-log", "--log-level", "warning", "--lifespan", "off"]
    root = str(Path(__file__).parent.parent)
    with running(command, f"http://127.0.0.1:{port}/", PYTHONPATH=root) as server:
        yield server
