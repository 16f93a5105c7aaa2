"""A user of a rendered project, who has make and a package manager and types what the README says."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.request import urlopen

import psutil
from pip._internal.models.index import PyPI

BIN = Path(sys.executable).parent
LEFT = ("HOME", "LANG", "TMPDIR", "REQUESTS_CA_BUNDLE")
LEFT_PREFIXES = ("PIP_", "SSL_", "UV_", "http_", "https_", "no_", "HTTP_", "HTTPS_", "NO_")


def clean_environment(tools: Path) -> dict[str, str]:
    """Leave of this environment how to reach the network; Python, uv and Poetry; nothing of ours.

    tools: an empty folder, for links to these programs.
    """
    python = Path(sys.executable).resolve()
    for program, path in {
        "python": python,
        "python3": python,
        "uv": BIN / "uv",
        "poetry": BIN.parent / "poetry" / "bin" / "poetry",
    }.items():
        (tools / program).symlink_to(path)
    kept = {
        name: value
        for name, value in os.environ.items()
        if name in LEFT or name.startswith(LEFT_PREFIXES)
    }
    return {
        **kept,
        "PATH": f"{tools}{os.pathsep}{os.defpath}",
        "UV_PYTHON": str(python),
        # Poetry asks pip's index, which a proxy or mirror may know better than Poetry's own API.
        "POETRY_PYPI_MIRROR_URL": PyPI.simple_url,
    }


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


def get(url: str) -> bytes | None:
    """Return what `url` answers, if it does and with success."""
    try:
        with urlopen(url, timeout=5) as answer:  # noqa: S310
            body: bytes = answer.read()
            return body
    except OSError:
        return None


class User:
    def __init__(self, project: Path, environment: dict[str, str]) -> None:
        self.project = project
        self._environment = environment

    def reads(self) -> list[str]:
        """List the commands in the README, block by block."""
        readme = (self.project / "README.md").read_text()
        return re.findall(r"^```sh\n(.*?)^```$", readme, re.MULTILINE | re.DOTALL)

    def types(self, commands: str, **environment: str) -> str:
        done = subprocess.run(
            ["sh", "-e", "-c", commands],
            cwd=self.project,
            env={**self._environment, **environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=600,
        )
        assert done.returncode == 0, f"{commands}\n{done.stdout}"
        return done.stdout

    @contextmanager
    def serves(self, commands: str, url: str, **environment: str) -> Iterator[None]:
        """Keep what serves `url` running for the block, then press Ctrl-C."""
        log = self.project.with_suffix(".log")
        with log.open("w") as output:
            server = subprocess.Popen(
                ["sh", "-e", "-c", commands],
                cwd=self.project,
                env={**self._environment, **environment},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        try:
            while get(url) is None:
                assert server.poll() is None, log.read_text()
                time.sleep(0.1)
            yield
        finally:
            if server.poll() is None:
                os.killpg(server.pid, signal.SIGINT)
                server.wait(timeout=30)
        # The database outlives the service by the moment that its last checkpoint takes.
        deadline = time.monotonic() + 10
        while left := self.processes():
            assert time.monotonic() < deadline, left
            time.sleep(0.1)

    def processes(self) -> list[str]:
        """List what runs in the project's folder."""
        return [
            f"{process.pid} {process.name()}"
            for process in psutil.process_iter(["cwd"])
            if process.info["cwd"] and Path(process.info["cwd"]).is_relative_to(self.project)
        ]
