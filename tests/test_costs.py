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
    "fastapi-core-asyncpg": (1073, 1382, 1734, 2008, 2708),
    "fastapi-core-databases": (1539, 2438, 2620, 3244, 4624),
    "fastapi-orm-asyncpg": (1246, 1679, 2566, 2914, 3956),
    "fastapi-orm-databases": (1814, 3629, 2871, 3752, 5447),
    "starlette-core-asyncpg": (630, 734, 1204, 1163, 1905),
    "starlette-core-databases": (1096, 1790, 2090, 2399, 3821),
    "starlette-orm-asyncpg": (813, 1041, 2046, 2079, 3173),
    "starlette-orm-databases": (1371, 2981, 2341, 2907, 4644),
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
