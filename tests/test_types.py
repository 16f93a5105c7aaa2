"""The type checker refuses a query that writes on a connection without a transaction."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.choices import ROOT, Combination, combinations, name, python_path

WRITES = {
    "create": '"one", ""',
    "change": '1, "one", "", None',
    "remove": "1, None",
    "set_content": '1, 1, Content(title="one", body="")',
}
PROGRAM = """\
from service.database import Database
from service.notes import queries
from service.notes.schemas import Content

async def use(database: Database) -> None:
    async with database.{block}() as connection:
        await queries.get(connection, 1)
        {writes}
"""
MYPY = """
[mypy]
strict = true
plugins = pydantic.mypy
explicit_package_bases = true
"""


def check(layer: Combination, block: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run mypy on a program that reads and writes in a block of `database.connection`, or another."""
    writes = [f"await queries.{query}(connection, {values})" for query, values in WRITES.items()]
    program = folder / f"{block}.py"
    program.write_text(PROGRAM.format(block=block, writes="\n        ".join(writes)))
    (folder / "mypy.ini").write_text(MYPY)
    path = python_path({"framework": "starlette", **layer})
    cache = ROOT / ".mypy_cache" / os.environ.get("PYTEST_XDIST_WORKER", "alone")
    return subprocess.run(
        [sys.executable, "-m", "mypy", "--cache-dir", cache, program],
        cwd=folder,
        env={**os.environ, "MYPYPATH": path, "PYTHONPATH": path},
        capture_output=True,
        text=True,
    )


@pytest.mark.slow
@pytest.mark.parametrize("layer", combinations("sqlalchemy", "pool"), ids=name)
def test_queries_that_write_take_a_transaction(layer: Combination, tmp_path: Path) -> None:
    accepted = check(layer, "transaction", tmp_path)
    assert accepted.returncode == 0, accepted.stdout

    refused = check(layer, "connection", tmp_path)
    errors = re.findall(
        r'^\S+: error: Argument 1 to "(\w+)" .* expected "Transaction"', refused.stdout, re.M
    )
    assert errors == [*WRITES], refused.stdout
    assert f"Found {len(WRITES)} errors" in refused.stdout
