"""The service of a combination, served by uvicorn or gunicorn before it is rendered."""

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import psutil

from tests.choices import TEMPLATES, Combination, python_path
from tests.support.network import free_port, get
from tests.support.waiting import until

PATIENCE = 20.0  # seconds


class Service:
    """A program with its settings. `folder` has its log, and may have the module of `app`."""

    def __init__(
        self, program: Combination, folder: Path, app: str = "service.main:app", **settings: str
    ) -> None:
        self.port = free_port()
        self.workers = 1
        self.folder = folder
        self.app = app
        self.environment = {
            "PATH": os.environ["PATH"],
            "TMPDIR": str(folder),
            "PYTHONPATH": python_path(program),
            **settings,
        }
        self._process: subprocess.Popen[bytes] | None = None

    def start_migration(self, **changes: str) -> "subprocess.Popen[bytes]":
        ini = self.folder / "alembic.ini"
        ini.write_text(f"[alembic]\nscript_location = {TEMPLATES / 'common/migrations'}\n")
        return self._run("alembic", "-c", ini, "upgrade", "head", **changes)

    async def migrate(self, **changes: str) -> None:
        migration = self.start_migration(**changes)
        assert await asyncio.to_thread(migration.wait) == 0, self.log()

    async def start(self, server: str = "uvicorn") -> None:
        if server == "gunicorn":
            configuration = TEMPLATES / "common/deploy/gunicorn.conf.py"
            arguments = ["-c", str(configuration), "--bind", f"127.0.0.1:{self.port}", self.app]
        else:
            arguments = ["--port", str(self.port), self.app]
        self.workers = 2 if server == "gunicorn" else 1
        started = self.workers_started() + self.workers
        process = self._run(server, *arguments, WEB_CONCURRENCY=str(self.workers))
        self._process = process
        await until(lambda: self.workers_started() >= started or process.poll() is not None, 60)
        assert process.poll() is None, self.log()
        await until(lambda: get(f"http://127.0.0.1:{self.port}/health/live"))

    def _run(
        self, module: str, *arguments: str | Path, **changes: str
    ) -> "subprocess.Popen[bytes]":
        with (self.folder / "service.log").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-W", "error", "-m", module, *arguments],
                cwd=self.folder,
                env=self.environment | changes,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    async def stop(self) -> None:
        if self._process:
            self._process.terminate()
            await asyncio.to_thread(self._process.wait, PATIENCE)
        self._process = None

    def workers_started(self) -> int:
        """Count the workers that have ever been ready."""
        return self.log().count("startup complete")

    def serving_processes(self) -> list[psutil.Process]:
        """Return the workers of gunicorn, or the one process of uvicorn."""
        assert self._process
        master = psutil.Process(self._process.pid)
        return master.children() or [master]

    def log(self) -> str:
        path = self.folder / "service.log"
        return path.read_text(errors="replace") if path.exists() else ""
