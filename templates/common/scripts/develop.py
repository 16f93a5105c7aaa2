"""The commands behind `make run`, `make migrate` and `make migration`.

They use the database that DATABASE_URL names in the environment or in `.env`. Without it they start
a PostgreSQL server of their own, which keeps its data in `.postgres`. Other settings that are not
set are taken from `.env.development`.
"""

import argparse
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread

import uvicorn
from dotenv import dotenv_values

from service.settings import InvalidSettings

from scripts.postgres import postgres
from scripts.upstream import start_upstream  # The example
from scripts.variables import read_variables

APP = "{{ cookiecutter.package_name }}.main:app"


@contextmanager
def database(url: str | None) -> Iterator[str]:
    """Yield the URL that is set, or that of a server of our own."""
    if url:
        yield url
    else:
        with postgres(Path(".postgres")) as url:
            print(f"Started PostgreSQL, with its data in .postgres: {url}", flush=True)
            yield url


def stop_at_signals() -> None:
    """Let both signals raise KeyboardInterrupt, so that each block stops what it started.

    A shell makes its background jobs ignore SIGINT, and `kill` sends SIGTERM.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)


def alembic(*arguments: str) -> None:
    # Imported here, because the server imports this module at each reload and does not need alembic.
    from alembic.config import main

    main(argv=arguments)
    # migrations/env.py handles SIGTERM itself. When it is done, the signal would end this process.
    stop_at_signals()


def serve(port: int) -> None:
    print(f"Serving until Ctrl-C: http://127.0.0.1:{port}/docs", flush=True)
    # Not the command `uvicorn`, which would go on serving if this process were killed.
    command = [sys.executable, "-m", "scripts.develop", "server", "--port", str(port)]
    server = subprocess.Popen(command)
    try:
        if server.wait():
            raise SystemExit(server.returncode)
    finally:
        server.terminate()
        server.wait()


def stop_with_parent() -> None:
    """Stop this process when its parent process is gone, even if that was killed."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os.kill(os.getpid(), signal.SIGTERM)

    Thread(target=watch, daemon=True).start()


def main() -> None:
    parser = argparse.ArgumentParser()
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("run").add_argument("--port", type=int, default=8000)
    commands.add_parser("server").add_argument("--port", type=int)  # what `run` starts
    commands.add_parser("migrate")
    commands.add_parser("migration").add_argument("message")
    arguments = parser.parse_args()
    if arguments.command == "migration" and not arguments.message:
        raise SystemExit('A migration needs a message: make migration m="what changed"')
    if arguments.command in ("run", "server"):
        stop_with_parent()
    if arguments.command == "server":
        uvicorn.run(APP, port=arguments.port, reload=True, reload_dirs=["src"])
        return

    try:
        variables = read_variables()
    except InvalidSettings as error:
        raise SystemExit(str(error)) from None
    defaults = {name.upper(): value for name, value in dotenv_values(".env.development").items()}
    unset = {name: value for name, value in defaults.items() if value and name not in variables}
    os.environ.update(unset)
    variables = variables | unset
    with database(variables.get("DATABASE_URL")) as url:
        os.environ["DATABASE_URL"] = url
        alembic("upgrade", "head")
        if arguments.command == "migration":
            alembic("revision", "--autogenerate", "--message", arguments.message)
        elif arguments.command == "run":
            # The example: begin
            if not variables.get("UPSTREAM_URL"):
                os.environ["UPSTREAM_URL"] = start_upstream()
                print(f"Started a stub of the upstream: {os.environ['UPSTREAM_URL']}", flush=True)
            # The example: end
            os.environ["LOG_FORMAT"] = variables.get("LOG_FORMAT") or "console"
            serve(arguments.port)


if __name__ == "__main__":
    stop_at_signals()
    try:
        main()
    except KeyboardInterrupt:
        raise SystemExit(130) from None
