"""The schema, held against the service: schemathesis asks what it allows, and what it does not."""

import asyncio
import os
import sys
from asyncio.subprocess import PIPE, STDOUT
from pathlib import Path

from tests.databases import Sql
from tests.process import Process

CONFIG = Path(__file__).with_name("schemathesis.toml")
FEW = ["--max-examples", "5", "--generation-deterministic"]


async def test_the_service_does_what_its_schema_says(
    process: Process, sql: Sql, tmp_path: Path
) -> None:
    """Asked the same few things every time, or as many new ones as SCHEMA_EXAMPLES says."""
    many = os.environ.get("SCHEMA_EXAMPLES")
    asking = await asyncio.create_subprocess_exec(
        *[sys.executable, "-m", "schemathesis.cli", "--config-file", str(CONFIG)],
        *["run", f"{process.url}/openapi.json", "--no-color", "--continue-on-failure"],
        *(["--max-examples", many, "--generation-database", "none"] if many else FEW),
        cwd=tmp_path,
        stdout=PIPE,
        stderr=STDOUT,
    )
    async with asyncio.timeout(600):
        said, _ = await asking.communicate()
    found = "\n".join(line[:500] for line in said.decode().splitlines())  # some are a body long
    assert asking.returncode == 0, found
