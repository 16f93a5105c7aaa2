"""`make demo`: render the defaults, serve them on an embedded PostgreSQL, and request a note."""

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.error import URLError
from urllib.request import Request, urlopen

from cookiecutter.main import cookiecutter

TEMPLATE = Path(__file__).parent
STARTED = time.monotonic()


def report(text: str) -> None:
    print(f"[{time.monotonic() - STARTED:4.0f} s] {text}", flush=True)


def free_port() -> int:
    """Return port 8000 if it is free, else another free port."""
    for candidate in (8000, 0):
        try:
            with socket.create_server(("127.0.0.1", candidate)) as server:
                port: int = server.getsockname()[1]
                return port
        except OSError:
            continue
    raise SystemExit("There is no free port on 127.0.0.1")


@contextmanager
def served(project: Path, url: str) -> Iterator[None]:
    """Run the project as its user would, until the block ends."""
    tools = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    # Without the settings of the caller, so that the demo is the same everywhere.
    environment = {
        name: value
        for name, value in os.environ.items()
        if name
        not in (
            "DATABASE_URL",
            "UPSTREAM_URL",
            "VIRTUAL_ENV",
            "PYTHONPATH",
            "MAKEFLAGS",
            "MAKELEVEL",
        )
    }
    environment |= {"PATH": tools, "UV_PYTHON": sys.executable}
    server = subprocess.Popen(
        ["make", "run", f"PORT={url.rpartition(':')[2]}"],
        cwd=project,
        env=environment,
        start_new_session=True,  # so that Ctrl-C reaches only this process, which then ends it
    )
    try:
        while not ready(url):
            if server.poll() is not None:
                raise SystemExit("The service did not start: see above")
            time.sleep(0.1)
        yield
    finally:
        os.killpg(server.pid, signal.SIGINT)
        try:
            server.wait(timeout=15)
        except subprocess.TimeoutExpired:
            os.killpg(server.pid, signal.SIGKILL)
            server.wait()


def ready(url: str) -> bool:
    try:
        with urlopen(f"{url}/health/ready", timeout=5):
            return True
    except (URLError, OSError):
        return False


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="demo-") as folder:
        report(f"Rendering the defaults into {folder}")
        project = Path(cookiecutter(str(TEMPLATE), no_input=True, output_dir=folder))
        report("Installing them, starting a PostgreSQL and the service: make run")
        url = f"http://127.0.0.1:{free_port()}"
        with served(project, url):
            note = json.dumps({"title": "It is in PostgreSQL"}).encode()
            headers = {"Content-Type": "application/json"}
            with urlopen(Request(f"{url}/notes", note, headers), timeout=10) as answer:
                location = answer.headers["Location"]
            with urlopen(f"{url}{location}", timeout=10) as answer:
                report(f"GET {url}{location} answered {answer.status}: {answer.read().decode()}")
            report(f"Open {url}/docs, or try:\n")
            print(f"    curl -i {url}{location}")
            print(f"    curl -i -X POST {url}{location}/synchronize\n")
            report("Ctrl-C stops the service and removes the folder")
            signal.pause()


if __name__ == "__main__":
    # Also for SIGINT, which a shell makes its background jobs ignore.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    try:
        main()
    except KeyboardInterrupt:
        report("Stopped: no process and no folder is left")
