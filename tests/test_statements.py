"""Statements that are compiled once are what they are when they are compiled at every run."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.database import migrate
from tests.choices import ROOT, Combination, combinations, name, rooms

PYTEST = """
[pytest]
addopts = -p no:schemathesis -p no:cacheprovider --strict-markers
asyncio_mode = auto
asyncio_default_fixture_loop_scope = function
filterwarnings = error
markers =
    databases
    orm
"""
LAYERS = [
    layer
    for layer in combinations("sqlalchemy", "pool")
    if any(
        "class Statement" in file.read_text()
        for room in rooms(layer)
        for file in room.glob("service/database.py")
    )
]


@pytest.mark.slow
@pytest.mark.parametrize("layer", LAYERS, ids=name)
def test_a_statement_is_compiled_once_and_loses_nothing(
    layer: Combination, database_url: str, tmp_path: Path
) -> None:
    migrate(database_url)
    (tmp_path / "pytest.ini").write_text(PYTEST)
    # Alone, or its tests would be of the package that these are.
    shutil.copy(ROOT / "tests" / "statements.py", tmp_path / "test_statements.py")
    marks = " and ".join(
        f"not {choice}" for choice in ("databases", "orm") if choice not in layer.values()
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "pytest", "-m", marks, tmp_path],
        cwd=tmp_path,
        env={
            **os.environ,
            "DATABASE_URL": database_url,
            "PYTHONPATH": os.pathsep.join(map(str, rooms(layer))),
        },
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
