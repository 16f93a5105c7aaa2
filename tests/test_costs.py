"""No request calls more functions than when the benchmark was last run.

Unlike a time, a count of function calls, of Python and C, is the same on every machine. A change
that adds calls on purpose writes the new figures down here. So does one that saves calls, or the
saving could be lost again unnoticed.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from benchmarks.database import migrate
from benchmarks.servers import upstream
from tests.choices import PROGRAMS, ROOT, Combination, name, python_path

# Counted on Python 3.11. Other versions and later libraries differ by less than the margin.
REQUESTS = ("read one", "list 10", "create", "change", "synchronize")
CALLS = {
    "fastapi-core-asyncpg": (1028, 1324, 1669, 1962, 2640),
    "fastapi-core-databases": (1496, 2382, 2559, 3202, 4562),
    "fastapi-orm-asyncpg": (1182, 1602, 2493, 2860, 3876),
    "fastapi-orm-databases": (1771, 3573, 2810, 3710, 5400),
    "starlette-core-asyncpg": (601, 705, 1175, 1134, 1870),
    "starlette-core-databases": (1046, 1724, 2022, 2350, 3767),
    "starlette-orm-asyncpg": (780, 1008, 2013, 2046, 3115),
    "starlette-orm-databases": (1321, 2915, 2273, 2858, 4590),
}
MOST, LEAST = 1.05, 0.9


@pytest.fixture(scope="module")
def upstream_url() -> Iterator[str]:
    with upstream() as server:
        yield server.url


@pytest.mark.slow
@pytest.mark.parametrize("program", PROGRAMS, ids=name)
def test_request_calls_no_more_functions_than_before(
    program: Combination, database_url: str, upstream_url: str
) -> None:
    migrate(database_url)
    done = subprocess.run(
        [sys.executable, ROOT / "tests/count_calls.py", database_url, upstream_url],
        env={**os.environ, "PYTHONPATH": python_path(program)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    calls = json.loads(done.stdout.splitlines()[-1])
    known = dict(zip(REQUESTS, CALLS[name(program)], strict=True))
    assert calls.keys() == known.keys()
    more = {request: count for request, count in calls.items() if count > known[request] * MOST}
    assert not more, f"{more} calls instead of {known}: {calls}"
    fewer = {request: count for request, count in calls.items() if count < known[request] * LEAST}
    assert not fewer, f"{fewer} calls instead of {known}: write the new figures down, {calls}"
