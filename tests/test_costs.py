"""No request takes more function calls than it did when the benchmark was last looked at.

Unlike a time, that is the same on every machine. What a change adds on purpose is written down here.
"""

import json
import os
import subprocess
import sys

import pytest

from benchmarks.database import migrate
from tests.choices import PROGRAMS, ROOT, Combination, name, rooms

# Counted on Python 3.11; others and later libraries differ by less than the margin.
REQUESTS = ("read one", "list 10", "create", "change")
CALLS = {
    "fastapi-core-asyncpg": (1070, 1224, 1485, 1746),
    "fastapi-core-databases": (1510, 1764, 2350, 2964),
    "fastapi-orm-asyncpg": (1617, 1990, 2592, 3299),
    "fastapi-orm-databases": (1768, 2779, 2585, 3456),
    "starlette-core-asyncpg": (585, 697, 1124, 1105),
    "starlette-core-databases": (1025, 1237, 1989, 2323),
    "starlette-orm-asyncpg": (1132, 1463, 2231, 2658),
    "starlette-orm-databases": (1283, 2252, 2224, 2815),
}
MARGIN = 1.05


@pytest.mark.slow
@pytest.mark.parametrize("program", PROGRAMS, ids=name)
def test_no_request_takes_more_function_calls_than_before(
    program: Combination, database_url: str
) -> None:
    migrate(database_url)
    done = subprocess.run(
        [sys.executable, ROOT / "tests" / "costs.py", database_url],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, rooms(program)))},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    counted = json.loads(done.stdout.splitlines()[-1])
    known = dict(zip(REQUESTS, CALLS[name(program)], strict=True))
    assert counted.keys() == known.keys()
    more = {request: calls for request, calls in counted.items() if calls > known[request] * MARGIN}
    assert not more, f"{more} calls instead of {known}: {counted}"
