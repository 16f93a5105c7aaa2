"""What `make run`, `make migrate` and `make migration` do.

They use DATABASE_URL where the environment or .env sets it, else a PostgreSQL of their own, whose
data stay in .postgres.
"""

import argparse
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dotenv import dotenv_values

from scripts.postgres import free_port, postgres

APP = "{{ cookiecutter.package_name }}.main:app"
PYTHON = [sys.executable, "-m"]


@contextmanager
def database(url: str | None) -> Iterator[str]:
    """Give the URL that is set, or that of a server of our own."""
    if url:
        yield url
    else:
        with postgres(Path(".postgres")) as url:
            print(f"PostgreSQL, with its data in .postgres: {url}", flush=True)
            yield url


@contextmanager
def upstream(url: str | None) -> Iterator[str]:
    """Give the URL that is set, or that of the stub."""
    if url:
        yield url
        return
    port = free_port()
    command = [*PYTHON, "uvicorn", "scripts.upstream:app", "--port", str(port), "--lifespan", "off"]
    stub = subprocess.Popen([*command, "--log-level", "warning"])
    try:
        print(f"Stub of the upstream: http://127.0.0.1:{port}", flush=True)
        yield f"http://127.0.0.1:{port}"
    finally:
        stub.terminate()
        stub.wait()


def alembic(*arguments: str) -> None:
    done = subprocess.run([*PYTHON, "alembic", *arguments])
    if done.returncode:
        raise SystemExit(done.returncode)


def serve(port: int) -> None:
    print(f"Serving until Ctrl-C: http://127.0.0.1:{port}/docs", flush=True)
    command = [*PYTHON, "uvicorn", APP, "--port", str(port)]
    server = subprocess.Popen([*command, "--reload", "--reload-dir", "src"])
    try:
        if server.wait():
            raise SystemExit(server.returncode)
    finally:
        server.terminate()
        server.wait()


def main() -> None:
    parser = argparse.ArgumentParser()
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("run").add_argument("--port", type=int, default=8000)
    commands.add_parser("migrate")
    commands.add_parser("migration").add_argument("message")
    arguments = parser.parse_args()
    if arguments.command == "migration" and not arguments.message:
        raise SystemExit('Say what changed: make migration m="add tags to notes"')

    # As settings.py reads them: what is empty is not set.
    environment = {name: value for name, value in os.environ.items() if value}
    given = {**dotenv_values(".env"), **environment}
    with database(given.get("DATABASE_URL")) as os.environ["DATABASE_URL"]:
        alembic("upgrade", "head")
        if arguments.command == "migration":
            alembic("revision", "--autogenerate", "--message", arguments.message)
        elif arguments.command == "run":
            with upstream(given.get("UPSTREAM_URL")) as os.environ["UPSTREAM_URL"]:
                os.environ["LOG_FORMAT"] = given.get("LOG_FORMAT") or "console"
                serve(arguments.port)


if __name__ == "__main__":
    # What was started ends with us, also where make is told to end or runs in the background.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    try:
        main()
    except KeyboardInterrupt:
        raise SystemExit(130) from None
