"""`make demo`: render the defaults, serve them on an embedded PostgreSQL, and ask for a note."""

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


def say(text: str) -> None:
    print(f"[{time.monotonic() - STARTED:4.0f} s] {text}", flush=True)


def port() -> int:
    """Find a free port, 8000 if it is."""
    for wanted in (8000, 0):
        try:
            with socket.create_server(("127.0.0.1", wanted)) as server:
                found: int = server.getsockname()[1]
                return found
        except OSError:
            continue
    raise SystemExit("There is no free port on 127.0.0.1")


@contextmanager
def served(project: Path, url: str) -> Iterator[None]:
    """Run the project as its user would, until the block ends."""
    tools = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    # None of the caller's settings: the demo is to be the same everywhere.
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
        start_new_session=True,  # so that it ends when we say, not with the first Ctrl-C
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
        say(f"Rendering the defaults into {folder}")
        project = Path(cookiecutter(str(TEMPLATE), no_input=True, output_dir=folder))
        say("Installing them, starting a PostgreSQL and the service: make run")
        url = f"http://127.0.0.1:{port()}"
        with served(project, url):
            note = json.dumps({"title": "It is in PostgreSQL"}).encode()
            headers = {"Content-Type": "application/json"}
            with urlopen(Request(f"{url}/notes", note, headers), timeout=10) as answer:
                location = answer.headers["Location"]
            with urlopen(f"{url}{location}", timeout=10) as answer:
                say(f"GET {url}{location} answered {answer.status}: {answer.read().decode()}")
            say(f"Look at {url}/docs, or try:\n")
            print(f"    curl -i {url}{location}")
            print(f"    curl -i -X POST {url}{location}/synchronize\n")
            say("Ctrl-C ends it and removes the folder")
            signal.pause()


if __name__ == "__main__":
    # SIGINT too, which a shell has its background jobs ignore.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    try:
        main()
    except KeyboardInterrupt:
        say("Ended: no process and no folder is left")
