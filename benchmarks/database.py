"""A PostgreSQL server for the benchmark, started and migrated as rendered projects do it."""

import asyncio
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import asyncpg

from benchmarks.programs import SERVICES
from tests.choices import TEMPLATES

COMMON = TEMPLATES / "common"
sys.path.append(str(COMMON))  # for the modules below, which import `scripts`
FILL = """
    INSERT INTO notes (title, body, synchronized_at)
    SELECT 'Note ' || i, repeat('All work and no play. ', {}), now()
    FROM generate_series(1, {}) AS i
"""


def template_module(file: str) -> Any:
    """Import a file of the templates, whose packages have the same names as ours."""
    spec = spec_from_file_location(Path(file).stem, COMMON / file)
    assert spec is not None and spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@contextmanager
def postgres() -> Iterator[str]:
    """Run a server in a temporary folder and yield the URL of its migrated database."""
    with template_module("scripts/postgres.py").postgres() as url:
        migrate(url)
        yield url


def migrate(url: str) -> None:
    with tempfile.NamedTemporaryFile("w", suffix=".ini") as configuration:
        configuration.write(f"[alembic]\nscript_location = {COMMON}/migrations\n")
        configuration.flush()
        command = [sys.executable, "-m", "alembic", "--config", configuration.name]
        subprocess.run(
            [*command, "upgrade", "head"],
            env={**os.environ, **SERVICES[0].environment, "DATABASE_URL": url},
            cwd=Path(configuration.name).parent,  # a folder without .env
            check=True,
            capture_output=True,
        )


def execute(url: str, *statements: str) -> list[Any]:
    """Run statements, each in a transaction of its own, and return the rows of the last."""

    async def run() -> list[Any]:
        connection = await asyncpg.connect(url)
        try:
            for statement in statements:
                rows = await connection.fetch(statement)
            return rows
        finally:
            await connection.close()

    return asyncio.run(run())


def fill(url: str, notes: int, lines: int = 5) -> None:
    """Replace all notes by so many new ones, whose ids begin at 1, with bodies of some lines."""
    truncate = "TRUNCATE notes, note_revisions RESTART IDENTITY"
    execute(url, truncate, FILL.format(lines, notes), "VACUUM ANALYZE")
