"""Tests of a data layer alone: they import `service.database`, each layer its own."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from benchmarks.database import migrate
from tests.choices import ROOT, Combination, rooms

# What a test is marked with, it is for; others are for all layers.
MARKS = ("core", "orm", "asyncpg", "databases")
PYTEST = f"""
[pytest]
addopts = -p no:schemathesis -p no:cacheprovider --strict-markers
asyncio_mode = auto
asyncio_default_fixture_loop_scope = function
filterwarnings = error
markers = {"".join(f"{chr(10)}    {mark}" for mark in MARKS)}
"""


def check(layer: Combination, file: str, database_url: str, folder: Path) -> None:
    """Run the tests in `file`, beside this one, on the data layer and a migrated database."""
    migrate(database_url)
    (folder / "pytest.ini").write_text(PYTEST)
    # Alone, or its tests would be of the package that these are.
    shutil.copy(ROOT / "tests" / file, folder / f"test_{file}")
    marks = " and ".join(f"not {mark}" for mark in MARKS if mark not in layer.values())
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "pytest", "-m", marks, folder],
        cwd=folder,
        env={
            **os.environ,
            "DATABASE_URL": database_url,
            "PYTHONPATH": os.pathsep.join(map(str, rooms(layer))),
        },
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
