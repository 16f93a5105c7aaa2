"""A user of a rendered project, who has make and a package manager and follows the README."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
from pip._internal.models.index import PyPI

from tests.support.network import get

BIN = Path(sys.executable).parent
PASSED_ON = ("HOME", "LANG", "TMPDIR", "REQUESTS_CA_BUNDLE")
PASSED_ON_PREFIXES = ("PIP_", "SSL_", "UV_", "http_", "https_", "no_", "HTTP_", "HTTPS_", "NO_")


def clean_environment(tools: Path) -> dict[str, str]:
    """Return an environment with Python, uv, Poetry and the network settings, and nothing else.

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
    passed_on = {
        name: value
        for name, value in os.environ.items()
        if name in PASSED_ON or name.startswith(PASSED_ON_PREFIXES)
    }
    return {
        **passed_on,
        "PATH": f"{tools}{os.pathsep}{os.defpath}",
        "UV_PYTHON": str(python),
        # Poetry asks pip's index, because a mirror may not offer the API that Poetry uses.
        "POETRY_PYPI_MIRROR_URL": PyPI.simple_url,
    }


class ProjectUser:
    def __init__(self, project: Path, environment: dict[str, str]) -> None:
        self.project = project
        self._environment = environment

    def readme_commands(self) -> list[str]:
        """Return the blocks of commands in the README."""
        readme = (self.project / "README.md").read_text()
        return re.findall(r"^```sh\n(.*?)^```$", readme, re.MULTILINE | re.DOTALL)

    def run(self, commands: str, **environment: str) -> str:
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
    def serve(self, commands: str, url: str, **environment: str) -> Iterator[None]:
        """Run the commands, which serve `url`, until the block ends; then press Ctrl-C."""
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
        # The database needs a moment longer than the service, for its last checkpoint.
        deadline = time.monotonic() + 10
        while processes := self.processes():
            assert time.monotonic() < deadline, processes
            time.sleep(0.1)

    def processes(self) -> list[str]:
        """Return the processes that run in the folder of the project."""
        return [
            f"{process.pid} {process.name()}"
            for process in psutil.process_iter(["cwd"])
            if process.info["cwd"] and Path(process.info["cwd"]).is_relative_to(self.project)
        ]
