"""No request takes more function calls than it did when the benchmark was last looked at.

Of Python and C functions. Unlike a time, that is the same on every machine; and unlike
instructions, it needs no tool and does not hang on how Python was built. What a change adds on
purpose is written down here, and so is what it saves: or it might be lost again unseen.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from benchmarks.database import migrate
from benchmarks.servers import upstream
from tests.choices import PROGRAMS, ROOT, Combination, name, rooms

# Counted on Python 3.11; others and later libraries differ by less than the margin.
REQUESTS = ("read one", "list 10", "create", "change", "synchronize")
CALLS = {
    "fastapi-core-asyncpg": (1070, 1224, 1485, 1746, 2314),
    "fastapi-core-databases": (1510, 1764, 2350, 2964, 4183),
    "fastapi-orm-asyncpg": (1617, 1990, 2592, 3299, 4741),
    "fastapi-orm-databases": (1768, 2779, 2585, 3456, 4989),
    "starlette-core-asyncpg": (585, 697, 1124, 1105, 1829),
    "starlette-core-databases": (1025, 1237, 1989, 2323, 3698),
    "starlette-orm-asyncpg": (1132, 1463, 2231, 2658, 4226),
    "starlette-orm-databases": (1283, 2252, 2224, 2815, 4474),
}
MOST, LEAST = 1.05, 0.9


@pytest.fixture(scope="module")
def upstream_url() -> Iterator[str]:
    with upstream() as server:
        yield server.url


@pytest.mark.slow
@pytest.mark.parametrize("program", PROGRAMS, ids=name)
def test_no_request_takes_more_function_calls_than_before(
    program: Combination, database_url: str, upstream_url: str
) -> None:
    migrate(database_url)
    done = subprocess.run(
        [sys.executable, ROOT / "tests" / "costs.py", database_url, upstream_url],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, rooms(program)))},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    counted = json.loads(done.stdout.splitlines()[-1])
    known = dict(zip(REQUESTS, CALLS[name(program)], strict=True))
    assert counted.keys() == known.keys()
    more = {request: calls for request, calls in counted.items() if calls > known[request] * MOST}
    assert not more, f"{more} calls instead of {known}: {counted}"
    less = {request: calls for request, calls in counted.items() if calls < known[request] * LEAST}
    assert not less, f"{less} calls instead of {known}: write the new figures down, {counted}"
