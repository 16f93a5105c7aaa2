"""The service, compared with its OpenAPI schema by schemathesis."""

import asyncio
import os
import sys
from asyncio.subprocess import PIPE, STDOUT
from pathlib import Path

import pytest

from tests.process import ServiceProcess
from tests.temporary_database import Sql

CONFIG = Path(__file__).with_name("schemathesis.toml")
# schemathesis builds tables of all characters, which the virtual environment keeps for the next run.
TABLES = Path(sys.prefix) / ".hypothesis"
SAME_FEW = ["--max-examples", "5", "--generation-deterministic"]


@pytest.fixture
def headers() -> dict[str, str]:
    """What every request sends, for example the Authorization of a user who may do everything."""
    return {}


async def test_service_behaves_as_its_schema_says(
    service_process: ServiceProcess, headers: dict[str, str], sql: Sql, tmp_path: Path
) -> None:
    """Send the same few requests every time, or SCHEMA_EXAMPLES new ones for each operation."""
    examples = os.environ.get("SCHEMA_EXAMPLES")
    command = [sys.executable, "-m", "schemathesis.cli", "--config-file", str(CONFIG), "run"]
    command += [f"{service_process.url}/openapi.json", "--no-color", "--continue-on-failure"]
    schemathesis = await asyncio.create_subprocess_exec(
        *command,
        *(f"--header={name}: {value}" for name, value in headers.items()),
        *(["--max-examples", examples, "--generation-database", "none"] if examples else SAME_FEW),
        cwd=tmp_path,
        env={"HYPOTHESIS_STORAGE_DIRECTORY": str(TABLES), **os.environ},
        stdout=PIPE,
        stderr=STDOUT,
    )
    async with asyncio.timeout(600):
        output, _ = await schemathesis.communicate()
    report = "\n".join(line[:500] for line in output.decode().splitlines())  # bodies can be long
    assert schemathesis.returncode == 0, report
