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
    "fastapi-core-asyncpg": (1285, 1442, 1650, 1905),
    "fastapi-core-databases": (1689, 1942, 2475, 3087),
    "fastapi-orm-asyncpg": (1702, 2070, 2632, 3349),
    "fastapi-orm-databases": (1947, 2957, 2710, 3579),
    "starlette-core-asyncpg": (819, 918, 1313, 1283),
    "starlette-core-databases": (1223, 1418, 2138, 2465),
    "starlette-orm-asyncpg": (1236, 1546, 2295, 2727),
    "starlette-orm-databases": (1481, 2433, 2373, 2957),
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
