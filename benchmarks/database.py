"""A PostgreSQL of the benchmark's own, started and migrated as the projects do it."""

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
sys.path.append(str(COMMON))  # for what is loaded from there and imports `scripts`
# Every tenth note is still to be synchronized.
FILL = """
    INSERT INTO notes (title, body, synchronized_at)
    SELECT 'Note ' || i, repeat('All work and no play. ', {}), CASE WHEN i % 10 > 0 THEN now() END
    FROM generate_series(1, {}) AS i
"""


def load(file: str) -> Any:
    """Import a file of the templates, which share names with packages of ours."""
    spec = spec_from_file_location(Path(file).stem, COMMON / file)
    assert spec is not None and spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@contextmanager
def postgres() -> Iterator[str]:
    """Run a server on a temporary folder and give the URL of its migrated database."""
    with load("scripts/postgres.py").postgres() as url:
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
            cwd=Path(configuration.name).parent,  # where there is no .env
            check=True,
            capture_output=True,
        )


def execute(url: str, *statements: str) -> list[Any]:
    """Run statements, each by itself, and return the rows of the last."""

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
    """Replace what is there by so many notes, whose ids begin at 1, with bodies of some lines."""
    truncate = "TRUNCATE notes, note_revisions RESTART IDENTITY"
    execute(url, truncate, FILL.format(lines, notes), "VACUUM ANALYZE")
